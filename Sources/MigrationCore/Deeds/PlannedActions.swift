package import Playbook
package import RemoteHost
import ReplicationModel

extension PlannedAction {
  /// A command as it will run.
  package init(host: String?, _ command: RemoteCommand) {
    self.init(host: host, .command, (command.user.map { "as \($0): " } ?? "") + command.text)
  }

  /// A statement as it will run, its parameters filled in.
  package init(host: String, database: String, _ sql: String, _ values: [String] = []) {
    var text = sql
    for (index, value) in values.enumerated() {
      text = text.replacing("$\(index + 1)", with: quotedLiteral(value))
    }
    self.init(host: host, .sql(database: database), text)
  }
}
