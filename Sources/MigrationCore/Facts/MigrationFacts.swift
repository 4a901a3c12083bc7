package import Inventory
package import Journal
import PostgresClient
package import ReplicationModel

extension MigrationContext {
  package func record() async throws -> MigrationRecord? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.migration(name) }
  }

  package func state() async throws -> MigrationState { try await record()?.state ?? .none }

  /// Brings the migration to a phase, in the journal and in the servers' records.
  ///
  /// - Parameter direction: which way changes travel from now on; nil: as before.
  /// - Throws: `journal.state-conflict`; `truth.superseded` when a server has moved on by somebody else's hand.
  package func setState(_ state: MigrationState, direction: StreamDirection? = nil) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in
      try file.setState(state, of: name, direction: direction)
    }
    try await publishRecord()
  }

  /// The hand-off in hand; an error that says what to run first when there is none.
  package func handOff() async throws -> HandOffRecord {
    guard let record = try await record()?.handOff else {
      throw ConvoyError(
        "migration.not-copied", "migration \(migrationName) has no base backup yet",
        hint: "run playbooks/migrate.yml first")
    }
    return record
  }

  @discardableResult
  package func updateHandOff(_ change: @escaping @Sendable (inout HandOffRecord) -> Void) async throws -> HandOffRecord
  {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in
      try file.updateHandOff(migration: name, change)
    }
  }

  /// A hand-off whose target has been promoted at L.
  package func completedHandOff() async throws -> (record: HandOffRecord, handOff: LSN) {
    let state = try await state()
    guard state != .finished else {
      throw ConvoyError(
        "migration.finished", "migration \(migrationName) is finished",
        hint: "give a new migration a name of its own, or a state directory of its own")
    }
    guard let record = try await record()?.handOff, let lsn = record.handOffLSN, state.isReplicating
    else {
      throw ConvoyError(
        "migration.not-handed-off",
        "migration \(migrationName) "
          + (state == .none ? "has not begun" : "is at '\(state.rawValue)', not handed off yet"),
        hint: "run playbooks/migrate.yml first")
    }
    return (record, lsn)
  }

  // MARK: databases

  /// One database of a server, as the catalogs have it.
  package struct ServerDatabase: Sendable, Equatable {
    package var name: String
    package var oid: UInt32
    package var bytes: UInt64
  }

  /// The databases that the inventory selects: none that is a template or takes no connections.
  package func selectedDatabases() async throws -> [ServerDatabase] {
    try await allDatabases(.source).filter { migration.databases.matches($0.name) }
  }

  package func allDatabases(_ side: Side) async throws -> [ServerDatabase] {
    try await session(side).query(
      """
      SELECT datname, oid, pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database
       WHERE datallowconn AND NOT datistemplate ORDER BY datname
      """
    ).rows.map { row in
      ServerDatabase(name: row.string(0), oid: UInt32(row.string(1)) ?? 0, bytes: UInt64(row.string(2)) ?? 0)
    }
  }

  package nonisolated func place(_ step: String, _ side: Side? = nil) -> ConvoyError.Place {
    .step(migration: migration.name, host: side.map { migration.host($0).name }, step: step)
  }
}
