package import ReplicationModel

/// The event triggers that `ddl: freeze` or `ddl: replicate` puts into every database of the source, each kind in a
/// schema of its own.
///
/// They are made before the slots: a transaction that ran DDL before they were there has ended before the slots are made,
/// and is in the copy. The copy inherits them and loses them when it is promoted; the source keeps them until
/// `clean_up`.
package enum DDLTriggers {
  /// The schema that a mode puts its objects into; nil where it makes none.
  package static func schema(_ mode: DDLMode, _ names: HandOffNames) -> String? {
    switch mode {
    case .report: nil
    case .freeze: names.freezeSchema
    case .replicate: names.statementSchema
    }
  }

  /// What the inventory wants to be made in each database.
  ///
  /// - Parameter role: ours, whose sessions `freeze` lets go on.
  package static func statements(_ mode: DDLMode, _ names: HandOffNames, role: String) -> [String] {
    guard let schema = schema(mode, names) else { return [] }
    return removal(schema)
      + (mode == .freeze ? DDLFreeze.statements(schema, role: role) : StatementRecorder.statements(schema))
  }

  /// The triggers first: they would take part in what follows.
  package static func removal(_ schema: String) -> [String] {
    StatementRecorder.triggers.map { "DROP EVENT TRIGGER IF EXISTS \(quotedIdentifier(schema + $0))" }
      + ["DROP SCHEMA IF EXISTS \(quotedIdentifier(schema)) CASCADE"]
  }

  /// Statements as they are announced and run: sent as one, they are one transaction.
  package static func script(_ statements: [String]) -> String { statements.joined(separator: ";\n") }
}
