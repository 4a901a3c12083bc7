import Inventory
import Playbook
package import PostgresClient
package import ReplicationModel

/// How many databases a step works on at a time.
package let databasesAtATime = 8

extension MigrationContext {
  package nonisolated func place(ofDatabase name: String) -> ConvoyError.Place {
    .database(migration: migration.name, name: name)
  }

  /// Works on both sides of one database: the fenced side's kept session, which the markers have opened already, and
  /// the other's, where there was room to keep one. Errors of PostgreSQL get the database as their place.
  package nonisolated func withPair<Value: Sendable>(
    of database: String, _ direction: StreamDirection,
    _ body: @Sendable (PostgresSession, PostgresSession) async throws -> Value
  ) async throws -> Value {
    let source = try await session(direction.from, database: database)
    do {
      return try await withSession(direction.to, database: database) { try await body(source, $0) }
    } catch {
      throw (error as? PostgresError)?.convoyError(at: place(ofDatabase: database)) ?? error
    }
  }
}
