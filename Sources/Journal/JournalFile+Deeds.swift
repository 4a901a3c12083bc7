package import FoundationEssentials
import GRDB
package import ReplicationModel

/// A deed's number in this journal, rising with time.
package struct DeedID: Hashable, Sendable, Codable, RawRepresentable {
  package var rawValue: Int64
  package init(rawValue: Int64) { self.rawValue = rawValue }
}

/// What became of a deed.
package enum DeedOutcome: String, Sendable, Codable, CaseIterable {
  case done, failed
  /// Cancelled, or its process is gone: whether it was done is not known.
  case interrupted
}

/// One thing that a step did: a command on a host, an SQL statement, a file change, a start or stop, a wait.
package struct DeedRow: Sendable, Codable, Equatable {
  /// Nil before it is kept.
  package var id: DeedID?
  /// Nil when no run did it.
  package var run: RunID?
  package var migration: String
  package var step: String
  /// Whether it belongs to the step's undoing.
  package var isUndo: Bool
  /// Nil: on this machine.
  package var host: String?
  /// `command`, `sql`, …: the writer's own word for it.
  package var kind: String
  /// The command, the statement, the file's path, the condition; passwords are taken out when it is kept.
  package var text: String
  package var began: Date
  /// Nil while it is under way.
  package var ended: Date?
  package var outcome: DeedOutcome?
  /// What a person read when it failed, passwords taken out.
  package var error: String?

  package init(
    run: RunID?, migration: String, step: String, isUndo: Bool = false, host: String? = nil, kind: String,
    text: String, began: Date = Date(), ended: Date? = nil, outcome: DeedOutcome? = nil, error: String? = nil
  ) {
    self.run = run
    self.migration = migration
    self.step = step
    self.isUndo = isUndo
    self.host = host
    self.kind = kind
    self.text = text
    self.began = began
    self.ended = ended
    self.outcome = outcome
    self.error = error
  }
}

/// What steps did, thing by thing. A row outlives this process, however that ends. It is not forced to the disk, so that
/// it costs next to nothing: a power failure may take the latest ones, and the next entry of another kind that is forced
/// there takes them along.
extension JournalFile {
  /// How many runs of a migration keep their deeds, and how many deeds of no run it keeps.
  package static let runsWithDeeds = 50
  package static let deedsOfNoRun = 1000

  /// Writes down that something is about to be done. A deed that is never ended is closed with its run, as interrupted.
  package func beginDeed(
    run: RunID?, migration: String, step: String, isUndo: Bool = false, host: String? = nil, kind: String,
    text: String
  ) throws(ConvoyError) -> DeedID {
    try recordDeed(
      DeedRow(run: run, migration: migration, step: step, isUndo: isUndo, host: host, kind: kind, text: text))
  }

  package func endDeed(
    _ deed: DeedID, outcome: DeedOutcome, error: String? = nil
  ) throws(ConvoyError) {
    try writeUnforced { database in
      try database.execute(
        sql: "UPDATE deeds SET ended = ?, outcome = ?, error = ? WHERE id = ?",
        arguments: [Moment.now, outcome.rawValue, error.map(redacted), deed.rawValue])
    }
  }

  /// Keeps a deed in one insert; mostly one that is over already.
  @discardableResult
  package func recordDeed(_ deed: DeedRow) throws(ConvoyError) -> DeedID {
    try writeUnforced { database in
      try database.execute(
        sql: """
          INSERT INTO deeds (run, migration, step, is_undo, host, kind, text, began, ended, outcome, error)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          deed.run?.rawValue, deed.migration, deed.step, deed.isUndo, deed.host, deed.kind, redacted(deed.text),
          Moment(deed.began), deed.ended.map(Moment.init), deed.outcome?.rawValue, deed.error.map(redacted),
        ])
      return DeedID(rawValue: database.lastInsertedRowID)
    }
  }

  /// The deeds of a migration, of a run, of a step, or of all that are given, oldest first.
  package func deeds(
    migration: String? = nil, run: RunID? = nil, step: String? = nil
  ) throws(ConvoyError) -> [DeedRow] {
    try read { database in
      try DeedRow.fetchAll(
        database,
        sql: """
          SELECT * FROM deeds
          WHERE (?1 IS NULL OR migration = ?1) AND (?2 IS NULL OR run = ?2) AND (?3 IS NULL OR step = ?3) ORDER BY id
          """,
        arguments: [migration, run?.rawValue, step])
    }
  }

  /// Deletes the deeds of runs that are older than the newest ones of their migration.
  static func deleteOldDeeds(_ database: Database) throws {
    try database.execute(
      sql: """
        DELETE FROM deeds WHERE id IN (
          SELECT id FROM (
            SELECT id, run, dense_rank() OVER (PARTITION BY migration ORDER BY run DESC) AS run_number,
              row_number() OVER (PARTITION BY migration, run ORDER BY id DESC) AS number
            FROM deeds)
          WHERE CASE WHEN run IS NULL THEN number > ? ELSE run_number > ? END)
        """,
      arguments: [deedsOfNoRun, runsWithDeeds])
  }
}
