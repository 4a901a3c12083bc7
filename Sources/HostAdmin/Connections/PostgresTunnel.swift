import FoundationEssentials
package import Inventory
package import Logging
import RemoteHost
import ReplicationModel

/// A local port that leads to a host's PostgreSQL through SSH, for as long as it is wanted: when the SSH connection
/// is lost it is made anew, on the same port, so that workers and sessions find their way by connecting again.
package actor PostgresTunnel {
  private let host: Inventory.Host
  private let prompt: (@Sendable (String) -> [UInt8]?)?
  private let logger: Logger
  private var connection: SSHHost?
  private var port: UInt16 = 0
  private var opening: Task<Void, any Error>?
  private var keeper: Task<Void, Never>?

  /// - Parameter prompt: asks for an encrypted key's passphrase.
  package init(host: Inventory.Host, prompt: (@Sendable (String) -> [UInt8]?)?, logger: Logger) {
    self.host = host
    self.prompt = prompt
    self.logger = logger
  }

  deinit { keeper?.cancel() }

  /// The port on 127.0.0.1; the first call makes the connection.
  package func localPort() async throws -> Int {
    if connection?.isOpen != true { try await openOnce() }
    if keeper == nil {
      keeper = Task { [weak self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: .seconds(1))
          await self?.keep()
        }
      }
    }
    return Int(port)
  }

  package func close() async {
    keeper?.cancel()
    keeper = nil
    await connection?.close()
    connection = nil
  }

  /// However many ask at once.
  private func openOnce() async throws {
    if let opening { return try await opening.value }
    let task = Task { try await open() }
    opening = task
    defer { opening = nil }
    try await task.value
  }

  private func open() async throws {
    guard let remote = UInt16(exactly: host.postgres.port) else {
      throw ConvoyError("postgres.bad-port", "port \(host.postgres.port) is none", at: .host(host.name))
    }
    let made = try await connectBySSH(host, prompt: prompt)
    do {
      port = try await made.openTunnel(toHost: host.postgres.address, port: remote, localPort: port).localPort
    } catch {
      await made.close()
      throw error
    }
    connection = made
  }

  private func keep() async {
    guard keeper != nil, connection?.isOpen != true else { return }
    do {
      try await openOnce()
      logger.info("the tunnel is open again", metadata: ["host": "\(host.name)"])
    } catch {
      logger.warning("the tunnel is down: \(error)", metadata: ["host": "\(host.name)"])
    }
  }
}

/// libpq's password file, for a connection whose port is a tunnel's.
/// <https://www.postgresql.org/docs/15/libpq-pgpass.html>
package enum PasswordFile {
  /// The password of the server that the inventory names; nil when the file has none, or is none that libpq would trust.
  package static func password(
    for settings: PostgresSettings, database: String, _ variables: [String: String]
  ) throws -> String? {
    let path: String
    switch settings.password {
    case .passfile(let given): path = given
    case .none: path = variables["PGPASSFILE"] ?? (variables["HOME"] ?? "") + "/.pgpass"
    case .command, .environment, .inline: return nil
    }
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
      let mode = attributes[.posixPermissions] as? Int, mode & 0o077 == 0,
      let data = FileManager.default.contents(atPath: path)
    else { return nil }
    return password(
      in: String(decoding: data, as: UTF8.self), host: settings.address, port: settings.port, database: database,
      user: settings.user)
  }

  package static func password(in text: String, host: String, port: Int, database: String, user: String) -> String? {
    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
      let fields = fields(of: line)
      guard fields.count >= 5 else { continue }
      let wanted = [host, String(port), database, user]
      if zip(fields, wanted).allSatisfy({ $0 == "*" || $0 == $1 }) { return fields[4] }
    }
    return nil
  }

  /// Colons part the fields; a backslash takes what follows as it is.
  private static func fields(of line: Substring) -> [String] {
    var fields = [""]
    var isEscaped = false
    for character in line {
      if isEscaped {
        fields[fields.count - 1].append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == ":", fields.count < 5 {
        fields.append("")
      } else {
        fields[fields.count - 1].append(character)
      }
    }
    return fields
  }
}
