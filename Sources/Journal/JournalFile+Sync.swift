import FoundationEssentials
import GRDB
public import ReplicationModel

/// What a play, the sync process and an operator tell each other.
extension JournalFile {
  /// Says which workers should run for a migration. The sync process sees it at its next look at the generation.
  public func setDesiredSync(_ desired: DesiredSync, migration name: String) throws(ConvoyError) {
    try write { database in
      guard try self.known(name, database).desiredSync != desired else { return }
      try database.execute(
        sql: "UPDATE migrations SET desired_sync = ? WHERE name = ?", arguments: [desired.rawValue, name])
      try Self.raiseGeneration(name, database)
    }
  }

  /// Makes the sync process look again although nothing else has changed: a parked database should be tried again.
  public func wakeSync(migration name: String) throws(ConvoyError) {
    try write { database in
      _ = try self.known(name, database)
      try Self.raiseGeneration(name, database)
    }
  }

  /// Every migration's generation; one small query, meant to be polled. A generation rises when the migration's
  /// hand-off, desired workers or orders to skip change, and never falls.
  public func generations() throws(ConvoyError) -> [String: Int64] {
    try read { database in
      let rows = try Row.fetchAll(database, sql: "SELECT name, generation FROM migrations")
      return try Dictionary(
        uniqueKeysWithValues: rows.map { (try $0.decode(forColumn: "name"), try $0.decode(forColumn: "generation")) })
    }
  }

  /// A database's entry in the current hand-off changes its state. By itself it does not raise the generation: it is
  /// mostly the sync process that says so.
  ///
  /// - Returns: false when the current hand-off, or the migration, does not have the database.
  @discardableResult
  public func setDatabaseState(
    _ state: HandOffDatabase.State, reason: String? = nil, database name: String, migration: String
  ) throws(ConvoyError) -> Bool {
    try write { database in
      try database.execute(
        sql: """
          UPDATE hand_off_databases SET state = ?, reason = ?
          WHERE name = ? AND nonce = (SELECT nonce FROM migrations WHERE name = ?)
          """,
        arguments: [state.rawValue, reason.map(redacted), name, migration])
      return database.changesCount > 0
    }
  }

  /// Orders a parked transaction to be stepped over. Ordering the same twice is one order.
  public func requestSkip(
    migration: String, database name: String, lsn: LSN, requestedBy: String? = nil
  ) throws(ConvoyError) {
    try write { database in
      _ = try self.known(migration, database)
      try database.execute(
        sql: """
          INSERT INTO skips (migration, database, lsn, requested_by, requested) VALUES (?, ?, ?, ?, ?)
          ON CONFLICT DO NOTHING
          """,
        arguments: [
          migration, name, lsn.description, requestedBy ?? userName() + "@" + hostName(), Moment.now,
        ])
      guard database.changesCount > 0 else { return }
      try Self.raiseGeneration(migration, database)
    }
  }

  /// The worker has stepped over it.
  ///
  /// - Parameter outcome: what was left out, for the report.
  public func skipDone(_ id: SkipRecord.ID, outcome: String? = nil) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: "UPDATE skips SET done = ?, outcome = ? WHERE id = ? AND done IS NULL",
        arguments: [Moment.now, outcome, id])
    }
  }

  /// The orders of a migration, oldest first; for the report all of them, for a worker those that are still due.
  public func skips(
    migration: String, database name: String? = nil, pendingOnly: Bool = false
  ) throws(ConvoyError) -> [SkipRecord] {
    try read { database in
      try SkipRecord.fetchAll(
        database,
        sql: """
          SELECT * FROM skips
          WHERE migration = ?1 AND (?2 IS NULL OR database = ?2) AND (NOT ?3 OR done IS NULL) ORDER BY id
          """,
        arguments: [migration, name, pendingOnly])
    }
  }

  /// Keeps the rows that `status` shows, for processes that do not sync. One transaction for all of them; a status is
  /// what the worker last knew, never a position to resume from.
  public func recordStatuses(_ statuses: [DatabaseStatus]) throws(ConvoyError) {
    try write { database in
      let now = Moment.now
      let encoder = JSONEncoder()
      for status in statuses {
        let text = String(decoding: try encoder.encode(status), as: UTF8.self)
        try database.execute(
          sql: """
            INSERT INTO database_statuses (migration, database, status, recorded) VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET status = excluded.status, recorded = excluded.recorded
            """,
          arguments: [status.migration, status.database, text, now])
      }
    }
  }

  /// The recorded rows, by migration and database.
  public func recordedStatuses(migration: String? = nil) throws(ConvoyError) -> [RecordedStatus] {
    try read { database in
      try RecordedStatus.fetchAll(
        database,
        sql: """
          SELECT status, recorded FROM database_statuses WHERE ?1 IS NULL OR migration = ?1
          ORDER BY migration, database
          """,
        arguments: [migration])
    }
  }
}
