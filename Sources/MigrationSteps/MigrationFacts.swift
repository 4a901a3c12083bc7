import Inventory
import Journal
import PostgresClient
import ReplicationModel

/// What the steps remember from one to the next, in the journal. None of it is a secret, none of it is the truth about
/// progress.
enum FactKey {
  /// Bool: the target's PostgreSQL ran before it was replaced.
  static let targetWasRunning = "target_was_running"
  /// ServerDirectories: where the target's server lives, for a run that finds it down.
  static let targetDirectories = "target_directories"
  /// ServerDirectories: where the source's server lives, while it is restarted.
  static let sourceRestart = "source_restart"
  /// String: where the old data directory went, on the target.
  static let oldDataDirectory = "old_data_directory"
  /// String: the nonce whose slots are made, until its restore point.
  static let slotsMade = "slots_made"
  /// String: the nonce whose base backup is complete.
  static let backupComplete = "backup_complete"
  /// [String]: directories outside the copy's own that a base backup fills, on the target; they were empty before.
  static let copyPlaces = "copy_places"
  /// [SourcePreparation.Change]: settings of the source that were changed for the migration.
  static let sourceSettings = "source_settings"
  /// SourceRole.Change: pgconvoy's own role, which was made or given its rights for the migration.
  static let sourceRole = "source_role"
  /// [ReplicaIdentityStep.Change]: tables of the source that were given an identity.
  static let replicaIdentities = "replica_identities"
  /// [SubscriptionName]: what was disabled on the copy, which has the source's subscriptions.
  static let inheritedSubscriptions = "inherited_subscriptions"
  /// Milliseconds since 1970: when writers were first held up in the cutover or rollback at hand.
  static let downtimeBegan = "downtime_began_ms"
  /// Milliseconds since 1970: when the latest cutover or rollback was over.
  static let opened = "opened_ms"
  /// The report so far, filled in step by step.
  static let report = "report"
  /// WrittenReport: the last report that was written to a file.
  static let writtenReport = "written_report"
  /// [DrainMarker] by name: what the markers found.
  static let markers = "markers"
}

/// What a server that does not run cannot be asked.
struct ServerDirectories: Codable, Sendable, Equatable {
  var data: String
  var programs: String
  var configFile: String?
}

extension MigrationContext {
  func fact<Value: Codable & Sendable>(_ key: String, as type: Value.Type = Value.self) async throws -> Value? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in
      try file.fact(type, forKey: key, migration: name)
    }
  }

  func setFact(_ key: String, _ value: some Codable & Sendable) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in try file.setFact(value, forKey: key, migration: name) }
  }

  func removeFact(_ key: String) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in try file.removeFact(forKey: key, migration: name) }
  }

  func record() async throws -> MigrationRecord? {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.migration(name) }
  }

  func state() async throws -> MigrationState { try await record()?.state ?? .none }

  /// - Parameter direction: which way changes travel from now on; nil: as before.
  func setState(_ state: MigrationState, direction: StreamDirection? = nil) async throws {
    let name = migrationName
    try await journal.perform { file throws(ConvoyError) in
      try file.setState(state, of: name, direction: direction)
    }
  }

  /// The hand-off in hand; an error that says what to run first when there is none.
  func handOff() async throws -> HandOffRecord {
    guard let record = try await record()?.handOff else {
      throw ConvoyError(
        "migration.not-copied", "migration \(migrationName) has no base backup yet",
        hint: "run playbooks/migrate.yml first")
    }
    return record
  }

  @discardableResult
  func updateHandOff(_ change: @escaping @Sendable (inout HandOffRecord) -> Void) async throws -> HandOffRecord {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in
      try file.updateHandOff(migration: name, change)
    }
  }

  /// A hand-off whose target has been promoted at L.
  func completedHandOff() async throws -> (record: HandOffRecord, handOff: LSN) {
    let state = try await state()
    guard state != .finished else {
      throw ConvoyError(
        "migration.finished", "migration \(migrationName) is finished",
        hint: "give a new migration a name of its own, or a state directory of its own")
    }
    guard let record = try await record()?.handOff, let lsn = record.handOffLSN,
      [.handedOff, .fenced, .drained, .cutOver, .rolledBack].contains(state)
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
  struct ServerDatabase: Sendable, Equatable {
    var name: String
    var oid: UInt32
    var bytes: UInt64
  }

  /// The databases that the inventory selects: none that is a template or takes no connections.
  func selectedDatabases() async throws -> [ServerDatabase] {
    try await allDatabases(.source).filter { migration.databases.matches($0.name) }
  }

  func allDatabases(_ side: Side) async throws -> [ServerDatabase] {
    try await session(side).query(
      """
      SELECT datname, oid, pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database
       WHERE datallowconn AND NOT datistemplate ORDER BY datname
      """
    ).rows.map { row in
      ServerDatabase(name: row.string(0), oid: UInt32(row.string(1)) ?? 0, bytes: UInt64(row.string(2)) ?? 0)
    }
  }

  nonisolated func place(_ step: String, _ side: Side? = nil) -> ConvoyError.Place {
    .step(migration: migration.name, host: side.map { migration.host($0).name }, step: step)
  }
}
