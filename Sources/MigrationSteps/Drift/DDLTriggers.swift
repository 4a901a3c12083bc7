import Inventory
import Journal
import PostgresClient
import ReplicationModel
import StatementReplication

/// Where `DDLTriggers` are made and taken away: in the databases of a migration.
extension DDLTriggers {
  /// Makes them on the source of a migration, if the inventory wants any.
  static func set(_ context: MigrationContext, _ record: HandOffRecord) async throws {
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
  static func lift(_ context: MigrationContext, _ side: Side, _ record: HandOffRecord) async throws {
    for database in record.databases {
      for mode in DDLMode.allCases {
        guard let schema = schema(mode, record.names) else { continue }
        try await remove(context, side, schema, in: database.name)
      }
    }
  }

  static func remove(
    _ context: MigrationContext, _ side: Side, _ schema: String, in database: String
  ) async throws {
    try await run(context, side, database) { session in
      let present = try await session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [schema])
      return present.rowCount == 0 ? [] : removal(schema)
    }
  }

  /// The schemas of any such triggers in a database.
  static func present(_ session: PostgresSession) async throws -> [String] {
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
