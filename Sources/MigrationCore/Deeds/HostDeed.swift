package import HostAdmin
import Inventory
package import Playbook
package import RemoteHost

/// One thing that a step does to a host. The plan announces the very value that the run does.
package enum HostDeed {
  case run(RemoteCommand)
  /// A file put in place whole, as the server's user, 0600.
  case write(path: String, text: String)
  /// A file's text changed, its owner and mode kept.
  case replace(path: String, old: String, new: String)
  /// PostgreSQL, and the wait for its end or its readiness.
  case stop
  case start

  package func announcement(on server: ServerControl) async throws -> PlannedAction {
    let host = server.host.name
    switch self {
    case .run(let command): return PlannedAction(host: host, command)
    case .write(let path, let text):
      let old = try await server.exists(path) ? try await server.download(path) : nil
      return PlannedAction(host: host, .file(old: old, new: text), path)
    case .replace(let path, let old, let new): return PlannedAction(host: host, .file(old: old, new: new), path)
    case .stop: return PlannedAction(host: host, server.stopCommand())
    case .start: return PlannedAction(host: host, server.startCommand())
    }
  }

  package func perform(on server: ServerControl) async throws {
    switch self {
    case .run(let command): try await server.remote.runChecked(command)
    case .write(let path, let text): try await server.upload(text, to: path)
    case .replace(let path, _, let new):
      try await server.remote.replace(path, with: Array(new.utf8), as: server.user)
    case .stop: try await server.stop()
    case .start: try await server.start()
    }
  }
}
