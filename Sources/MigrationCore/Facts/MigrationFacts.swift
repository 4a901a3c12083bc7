package import Inventory
package import Journal
import PostgresClient
package import ReplicationModel

/// What the steps remember from one to the next, in the journal. None of it is a secret, none of it is the truth about
/// progress.
package enum FactKey {
  /// Bool: the target's PostgreSQL ran before it was replaced.
  package static let targetWasRunning = "target_was_running"
  /// ServerDirectories: where the target's server lives, for a run that finds it down.
  package static let targetDirectories = "target_directories"
  /// ServerDirectories: where the source's server lives, while it is restarted.
  package static let sourceRestart = "source_restart"
  /// String: where the old data directory went, on the target.
  package static let oldDataDirectory = "old_data_directory"
  /// String: the nonce whose slots are made, until its restore point.
  package static let slotsMade = "slots_made"
  /// String: the nonce whose base backup is complete.
  package static let backupComplete = "backup_complete"
  /// [String]: directories outside the copy's own that a base backup fills, on the target; they were empty before.
  package static let copyPlaces = "copy_places"
  /// [SourcePreparation.Change]: settings of the source that were changed for the migration.
  package static let sourceSettings = "source_settings"
  /// SourceRole.Change: pgconvoy's own role, which was made or given its rights for the migration.
  package static let sourceRole = "source_role"
  /// [ReplicaIdentityStep.Change]: tables of the source that were given an identity.
  package static let replicaIdentities = "replica_identities"
  /// [SubscriptionName]: what was disabled on the copy, which has the source's subscriptions.
  package static let inheritedSubscriptions = "inherited_subscriptions"
  /// Milliseconds since 1970: when writers were first held up in the cutover or rollback at hand.
  package static let downtimeBegan = "downtime_began_ms"
  /// Milliseconds since 1970: when the latest cutover or rollback was over.
  package static let opened = "opened_ms"
  /// The report so far, filled in step by step.
  package static let report = "report"
  /// WrittenReport: the last report that was written to a file.
  package static let writtenReport = "written_report"
  /// [DrainMarker] by name: what the markers found.
  package static let markers = "markers"
}

extension MigrationContext {
  package func fact<Value: Codable & Sendable>(_ key: String, as type: Value.Type = Value.self) async throws -> Value? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in
      try file.fact(type, forKey: key, migration: name)
    }
  }

  package func setFact(_ key: String, _ value: some Codable & Sendable) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in try file.setFact(value, forKey: key, migration: name) }
  }

  package func removeFact(_ key: String) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in try file.removeFact(forKey: key, migration: name) }
  }

  package func record() async throws -> MigrationRecord? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.migration(name) }
  }

  package func state() async throws -> MigrationState { try await record()?.state ?? .none }

  /// - Parameter direction: which way changes travel from now on; nil: as before.
  package func setState(_ state: MigrationState, direction: StreamDirection? = nil) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in
      try file.setState(state, of: name, direction: direction)
    }
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
