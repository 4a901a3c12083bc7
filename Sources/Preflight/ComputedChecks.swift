import Inventory
package import MigrationCore
import ReplicationModel
import Verification

/// What a database computes of its rows by functions that go by more than the row.
extension DatabaseChecks {
  @Sendable package static func computed(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      let found = database.computed.bySettings()
      let shown = 20
      return found.prefix(shown).map { function, reasons, values in
        Finding(
          .warning, "preflight.computed-by-settings", host: facts.name(.source), database: name,
          object: values[0].label,
          "function \(function) may go by a session's settings (\(words(reasons))), and these are made by it: "
            + shortList(values.map(\.label)),
          consequence: "rows are applied under the settings that the server, the database and the tables' owner have; "
            + "where a session sets others, what it wrote comes out otherwise on the target, or parks the database",
          remedy: "ALTER FUNCTION \(function) SET search_path = …, SET TimeZone = …, whatever it goes by; or have the "
            + "database set what sessions set: ALTER DATABASE \(quotedIdentifier(name)) SET …"
            + (found.count > shown ? "; so may \(found.count - shown) more functions" : ""))
      }
    }
  }

  @Sendable package static func movingChecks(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      let found = database.computed.movingChecks()
      guard let first = found.first else { return [] }
      return [
        Finding(
          .warning, "preflight.moving-check", host: facts.name(.source), database: name, object: first.value.label,
          "CHECKs that go by more than their row: "
            + shortList(found.map { "\($0.value.label) (\(words($0.reasons)))" }, limit: 20),
          consequence: "a row that was valid when it was written may be refused when it is applied, which parks the "
            + "database before it",
          remedy: "drop them before the copy, or do it in a trigger, which does not fire where rows are applied; "
            + "ADD … NOT VALID after the cutover")
      ]
    }
  }

  private static func words(_ reasons: [ComputingFunction.Reason]) -> String {
    var words: [String] = []
    for reason in reasons.map(\.words) where !words.contains(reason) { words.append(reason) }
    return words.joined(separator: "; ")
  }
}
