import FoundationEssentials
import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

extension MigrationContext {
  /// What the sync process last wrote about this migration's databases.
  func recordedStatuses() async throws -> [RecordedStatus] {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.recordedStatuses(migration: name) }
  }
}

/// Says that the migration's workers shall run, and starts a process for them where none does.
func runWorkers(_ context: MigrationContext) async throws {
  let name = context.migrationName
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(.forward, migration: name)
  }
  guard try await !isSyncRunning(context) else { return }
  let environment = context.environment
  let log = environment.stateDirectory.path + "/sync.log"
  context.progress("starting the sync process, log in \(log)")
  try await startDetached(environment.program, environment.syncArguments, log: log)
}

func isSyncRunning(_ context: MigrationContext) async throws -> Bool {
  let directory = context.environment.stateDirectory
  return try await context.journal.perform { _ throws(ConvoyError) in
    try SyncProcessLock.status(stateDirectory: directory).running
  }
}

/// `start_sync`: the workers run in a process of their own, which outlives this one.
struct StartSyncStep: Step {
  let deadline: Duration

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let environment = context.environment
    return [
      .init(
        .command,
        shellQuoted([environment.program] + environment.syncArguments)),
      .init(.wait, "until every database's worker streams"),
    ]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    switch try await context.state() {
    case .cutOver, .finished: return true
    case .handedOff, .fenced, .drained: break
    default: return false
    }
    guard try await context.record()?.desiredSync == .forward, try await isSyncRunning(context) else { return false }
    return try await pending(context).isEmpty
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.completedHandOff()
    let began = Date()
    try await runWorkers(context)
    try await waitUntil(
      within: deadline,
      orThrow: {
        ConvoyError(
          "sync.not-streaming", "not every worker streams yet", at: context.place("start_sync"),
          hint: "look at 'pgconvoy status' and at sync.log in the state directory")
      }
    ) {
      let waiting = try await pending(context)
      // What a process before this one said may be mended since.
      for status in try await context.recordedStatuses()
      where status.status.phase == .parked && status.recorded > began {
        throw ConvoyError(
          "sync.parked", status.status.lastError ?? "parked",
          at: .database(migration: context.migrationName, name: status.status.database))
      }
      // The workers have said so too, so that 'status' shows what this step promises.
      let streaming = try await context.recordedStatuses().filter {
        [.streaming, .catchingUp].contains($0.status.phase) && $0.status.handOffLSN == record.handOffLSN
      }
      let silent = record.databases.contains { database in
        !streaming.contains { $0.status.database == database.name }
      }
      return waiting.isEmpty && !silent
    }
    return StepResult(changed: true, "\(record.databases.count) workers stream")
  }

  /// Databases whose slot no worker reads: asked of the source, the truth about it.
  private func pending(_ context: MigrationContext) async throws -> [String] {
    guard let record = try await context.record()?.handOff else { return [] }
    let active = Set(
      try await context.session(.source).query(
        "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE active"
      ).rows.map { $0.string(0) })
    return record.databases.filter { !active.contains($0.slotName) }.map(\.name)
  }
}

/// Starts a program in a session of its own, with its output appended to a log; it outlives this process.
func startDetached(_ program: String, _ arguments: [String], log: String) async throws {
  try await LocalHost().runChecked(
    .shell(
      """
      umask 077
      log=$1
      shift
      exec setsid -f "$@" >>"$log" 2>&1 </dev/null
      """, arguments: [log, program] + arguments, deadline: .seconds(30), label: program))
}

/// `wait_for_lag`: nothing starts before every database is close enough, healthy, and the same as at the hand-off.
struct WaitForLagStep: Step {
  let deadline: Duration

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let limits = context.migration.cutover
    return [
      .init(
        .wait, "until every database lags by at most \(limits.maxLagBytes) bytes and \(limits.maxLag.milliseconds) ms"),
      .init(
        host: context.migration.source.name, .note,
        "refuse when a database was added, dropped or replaced since the hand-off"),
    ]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    [.fenced, .drained, .cutOver].contains(try await context.state())
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.completedHandOff()
    try await checkDrift(context, record)
    var worst = ""
    try await waitUntil(
      within: deadline,
      orThrow: {
        ConvoyError(
          "cutover.lag", "the lag is still too large: \(worst)", at: context.place("wait_for_lag"),
          hint: "wait for less load, or raise cutover.max_lag_bytes and max_lag_seconds")
      }
    ) {
      let statuses = try await LiveStatus.read(context)
      for status in statuses {
        if status.phase == .parked {
          throw ConvoyError(
            "cutover.parked", status.lastError ?? "parked",
            at: .database(migration: context.migrationName, name: status.database),
            hint: "mend the target so that the worker can go on, or give its transaction up with 'pgconvoy skip'; "
              + "then run the cutover again")
        }
        if status.missedRows > 0 {
          throw ConvoyError(
            "cutover.missed-rows", "\(status.missedRows) updates or deletes found no row on the target",
            at: .database(migration: context.migrationName, name: status.database),
            hint: "something else wrote to the target: this database needs a new hand-off")
        }
      }
      let late = statuses.filter { isLate($0, context.migration.cutover) }
      worst = late.map { "\($0.database) \($0.lagBytes.map(String.init) ?? "unknown") bytes, \($0.phase.rawValue)" }
        .joined(separator: "; ")
      return late.isEmpty && statuses.count == record.databases.count
    }
    return StepResult(changed: false, "every database is close enough")
  }

  private func isLate(_ status: DatabaseStatus, _ limits: CutoverSettings) -> Bool {
    guard status.phase == .streaming || status.phase == .catchingUp, let bytes = status.lagBytes else { return true }
    if bytes > limits.maxLagBytes { return true }
    return status.lagSeconds.map { Duration.seconds($0) > limits.maxLag } ?? (status.phase != .streaming)
  }

  private func checkDrift(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    let present = try await context.allDatabases(.source)
    for database in record.databases
    where !present.contains(where: { $0.oid == database.oid && $0.name == database.name }) {
      throw ConvoyError(
        "cutover.database-gone", "database \(database.name) was dropped, renamed or replaced since the hand-off",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "except it in the inventory and migrate anew, or restore it")
    }
    for database in present
    where context.migration.databases.matches(database.name)
      && !record.databases.contains(where: { $0.oid == database.oid })
    {
      throw ConvoyError(
        "cutover.new-database", "database \(database.name) was created after the hand-off and is not on the target",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "copy it by hand and except it in the inventory, or migrate anew")
    }
  }
}

/// `close_forward`: the workers end. From here on nothing moves from the source to the target.
struct CloseForwardStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    [.init(.note, "stop the sync workers of migration \(context.migrationName)")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.state() == .cutOver
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.completedHandOff()
    let name = context.migrationName
    try await noteAppliedCounts(context)
    try await context.journal.perform { file throws(ConvoyError) in
      try file.setDesiredSync(.stopped, migration: name)
    }
    let session = try await context.session(.source)
    try await waitUntil(
      within: .seconds(30), interval: .milliseconds(50),
      orThrow: {
        ConvoyError(
          "sync.not-stopped", "the sync workers did not stop", at: context.place("close_forward"),
          hint: "is the sync process that runs them using this state directory?")
      }
    ) {
      let active = try await session.query(
        "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE active AND slot_name = ANY ($1::name[])",
        ["{" + record.databases.map(\.slotName).joined(separator: ",") + "}"])
      return active.rowCount == 0
    }
    return StepResult(changed: true, "the workers have ended")
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    guard try await context.state() != .cutOver else { return .nothingToUndo }
    try await runWorkers(context)
    return .undone("let the workers run again")
  }

  private func noteAppliedCounts(_ context: MigrationContext) async throws {
    let statuses = try await context.recordedStatuses()
    try await context.updateReport { report in
      for index in report.databases.indices {
        guard let status = statuses.first(where: { $0.status.database == report.databases[index].name }) else {
          continue
        }
        report.databases[index].transactionsApplied = status.status.transactionsApplied
        report.databases[index].rowsApplied = status.status.rowsApplied
      }
    }
  }
}
