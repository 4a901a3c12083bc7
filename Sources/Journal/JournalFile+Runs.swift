import FoundationEssentials
import GRDB
public import ReplicationModel

extension JournalFile {
  /// Opens a run of this process. Runs of this machine whose process is gone are closed as interrupted first, and
  /// their open steps with them; deeds of runs long past are deleted.
  ///
  /// - Parameter command: what the user typed; passwords in it are replaced before it is kept.
  public func beginRun(command: String) throws(ConvoyError) -> RunID {
    let me = ProcessIdentity.current()
    return try write { database in
      try Self.closeDeadRuns(database, observer: me)
      try Self.deleteOldDeeds(database)
      try database.execute(
        sql: """
          INSERT INTO runs (command, user, host, pid, boot, start_ticks, started) VALUES (?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [redacted(command), userName(), me.host, me.pid, me.boot, me.startTicks, Moment.now])
      return RunID(rawValue: database.lastInsertedRowID)
    }
  }

  /// Closes a run. What is still open of it was interrupted: nothing of a run that has ended stays open.
  public func endRun(_ run: RunID, outcome: RunOutcome) throws(ConvoyError) {
    try write { try Self.close(run, outcome, $0) }
  }

  /// The latest runs, newest first.
  public func runs(limit: Int = 20) throws(ConvoyError) -> [RunRecord] {
    try read { database in
      try RunRecord.fetchAll(database, sql: "SELECT * FROM runs ORDER BY id DESC LIMIT ?", arguments: [limit])
    }
  }

  /// - Parameter isUndo: whether it is the step's undoing that begins.
  public func beginStep(
    run: RunID, migration: String, name: String, isUndo: Bool = false, host: String? = nil
  ) throws(ConvoyError) -> StepID {
    try write { database in
      try database.execute(
        sql: "INSERT INTO steps (run, migration, name, is_undo, host, started) VALUES (?, ?, ?, ?, ?, ?)",
        arguments: [run.rawValue, migration, name, isUndo, host, Moment.now])
      return StepID(rawValue: database.lastInsertedRowID)
    }
  }

  /// - Parameters:
  ///   - summary: what it did, one line; passwords are replaced.
  ///   - error: what a person read when it failed; passwords are replaced.
  public func endStep(
    _ step: StepID, outcome: StepOutcome, summary: String? = nil, error: String? = nil
  ) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: "UPDATE steps SET ended = ?, outcome = ?, summary = ?, error = ? WHERE id = ?",
        arguments: [Moment.now, outcome.rawValue, summary.map(redacted), error.map(redacted), step.rawValue])
    }
  }

  /// The steps of a migration, or of a run, or of both, oldest first.
  public func steps(migration: String? = nil, run: RunID? = nil) throws(ConvoyError) -> [StepRecord] {
    try read { database in
      try StepRecord.fetchAll(
        database,
        sql: """
          SELECT * FROM steps WHERE (?1 IS NULL OR migration = ?1) AND (?2 IS NULL OR run = ?2) ORDER BY id
          """,
        arguments: [migration, run?.rawValue])
    }
  }

  private static func closeDeadRuns(_ database: Database, observer: ProcessIdentity) throws {
    let open = try Row.fetchAll(
      database, sql: "SELECT id, host, pid, boot, start_ticks FROM runs WHERE ended IS NULL")
    for row in open where try row.decoded(as: ProcessIdentity.self).life(seenFrom: observer) == .dead {
      try close(RunID(rawValue: row.decode(forColumn: "id")), .interrupted, database)
    }
  }

  private static func close(_ run: RunID, _ outcome: RunOutcome, _ database: Database) throws {
    let now = Moment.now
    try database.execute(
      sql: "UPDATE runs SET ended = ?, outcome = ? WHERE id = ? AND ended IS NULL",
      arguments: [now, outcome.rawValue, run.rawValue])
    for table in ["steps", "deeds"] {
      try database.execute(
        sql: "UPDATE \(table) SET ended = ?, outcome = ? WHERE run = ? AND ended IS NULL",
        arguments: [now, StepOutcome.interrupted.rawValue, run.rawValue])
    }
  }
}
