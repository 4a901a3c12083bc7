import ChangeApply
package import Inventory
package import Journal
package import PostgresClient
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

  /// Statements of one transaction, as they are announced and run.
  package static func script(_ statements: [String]) -> String {
    "BEGIN; " + statements.joined(separator: ";\n") + "; COMMIT"
  }

  /// Makes them on the source of a migration, if the inventory wants any.
  package static func set(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    let mode = context.migration.ddl
    guard mode != .report else { return }
    for database in record.databases {
      try await run(context, .source, database.name) { session in
        let role = try await session.query("SELECT session_user").first ?? ""
        return statements(mode, record.names, role: role)
      }
    }
  }

  /// Takes them away from one side, whatever the inventory says by now.
  package static func lift(_ context: MigrationContext, _ side: Side, _ record: HandOffRecord) async throws {
    for database in record.databases {
      for mode in DDLMode.allCases {
        guard let schema = schema(mode, record.names) else { continue }
        try await remove(context, side, schema, in: database.name)
      }
    }
  }

  package static func remove(
    _ context: MigrationContext, _ side: Side, _ schema: String, in database: String
  ) async throws {
    try await run(context, side, database) { session in
      let present = try await session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [schema])
      return present.rowCount == 0 ? [] : removal(schema)
    }
  }

  /// The schemas of any such triggers in a database.
  package static func present(_ session: PostgresSession) async throws -> [String] {
    try await session.query(
      "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname ~ '^pgconvoy_.*_(freeze|ddl)$'"
    ).rows.map { $0.string(0) }
  }

  private static func run(
    _ context: MigrationContext, _ side: Side, _ database: String,
    _ statements: (PostgresSession) async throws -> [String]
  ) async throws {
    do {
      try await context.withNewSession(side, database: database) { session in
        let statements = try await statements(session)
        if !statements.isEmpty { try await session.script(script(statements)) }
      }
    } catch {
      throw (error as? PostgresError)?.convoyError(
        at: .database(migration: context.migrationName, name: database)) ?? error
    }
  }
}
