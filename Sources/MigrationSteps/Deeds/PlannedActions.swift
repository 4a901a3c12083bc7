import Inventory
import Journal
import Playbook
import RemoteHost
import ReplicationModel

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
