import RemoteHost

/// A server's pg_hba.conf on its host.
package struct HBAFile {
  package let server: ServerControl
  /// Absolute.
  package let path: String

  package init(server: ServerControl, path: String) {
    self.server = server
    self.path = path
  }

  package func read() async throws -> HostBasedAuthentication {
    HostBasedAuthentication(try await server.download(path))
  }

  /// Puts the block on top; owner and mode stay.
  package func fence(
    for role: String, note: String, disabling disabled: [HostBasedAuthentication.SubscriptionName] = []
  ) async throws {
    let fenced = try await read().fenced(for: role, note: note, disabling: disabled)
    try await server.remote.replace(path, with: Array(fenced.text.utf8), as: server.user)
  }

  /// Takes the block out again. Nothing happens when there is none.
  ///
  /// - Parameter known: the file's text, where it has just been read.
  package func lift(_ known: HostBasedAuthentication? = nil) async throws {
    let current = if let known { known } else { try await read() }
    guard current.isFenced else { return }
    try await server.remote.replace(path, with: Array(current.unfenced.text.utf8), as: server.user)
  }
}
