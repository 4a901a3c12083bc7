package import PostgresClient
package import StatementReplication

extension DDLTriggers {
  /// The schemas of any such triggers in a database.
  package static func present(_ session: PostgresSession) async throws -> [String] {
    try await session.query(
      "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname ~ '^pgconvoy_.*_(freeze|ddl)$'"
    ).rows.map { $0.string(0) }
  }
}
