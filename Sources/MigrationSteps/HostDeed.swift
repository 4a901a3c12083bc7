import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// One thing that a step does to a host. The plan announces the very value that the run does.
enum HostDeed {
  case run(RemoteCommand)
  /// A file put in place whole, as the server's user, 0600.
  case write(path: String, text: String)
  /// A file's text changed, its owner and mode kept.
  case replace(path: String, old: String, new: String)
  /// PostgreSQL, and the wait for its end or its readiness.
  case stop
  case start

  func announcement(on server: ServerControl) async throws -> PlannedAction {
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

  func perform(on server: ServerControl) async throws {
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

extension PlannedAction {
  /// A command as it will run.
  init(host: String?, _ command: RemoteCommand) {
    self.init(host: host, .command, (command.user.map { "as \($0): " } ?? "") + command.text)
  }

  /// A statement as it will run, its parameters filled in.
  init(host: String, database: String, _ sql: String, _ values: [String] = []) {
    var text = sql
    for (index, value) in values.enumerated() {
      text = text.replacing("$\(index + 1)", with: quotedLiteral(value))
    }
    self.init(host: host, .sql(database: database), text)
  }
}

extension MigrationContext {
  /// The names of the hand-off in hand; before there is one, names that say where the nonce will stand.
  func plannedNames() async throws -> HandOffNames {
    try await record()?.handOff?.names ?? HandOffNames(nonce: "NONCE")
  }
}
