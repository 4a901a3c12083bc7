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

/// Says that the workers of a direction, and no others, shall run.
private func wantWorkers(_ context: MigrationContext, _ direction: StreamDirection) async throws {
  let name = context.migrationName
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(DesiredSync(direction), migration: name)
  }
}

/// Says that the workers of a direction, and no others, shall run, and starts a process for them where none does.
func runWorkers(_ context: MigrationContext, _ direction: StreamDirection) async throws {
  try await wantWorkers(context, direction)
  try await startSync(context)
}

/// Starts a sync process where none runs.
private func startSync(_ context: MigrationContext) async throws {
  guard try await !isSyncRunning(context) else { return }
  context.progress("starting the sync process, log in \(syncLog(context.environment))")
  try await DeedPerformer(context, step: "start_sync").perform([startingSync(context.environment)])
}

/// Starts another sync process whenever there is none, until it is cancelled: beside whoever waits for workers.
func keepSyncAlive(_ context: MigrationContext) async throws {
  while true {
    // As long as a process that was just started may take to say that it is there.
    try await Task.sleep(for: .seconds(2))
    try await startSync(context)
  }
}

/// Says that no worker shall run, and waits until none reads the slots of a direction.
///
/// - Parameter mayBeDown: whether the server that they read from is allowed to be out of reach.
func stopWorkers(
  _ context: MigrationContext, _ record: HandOffRecord, _ direction: StreamDirection, at place: ConvoyError.Place,
  mayBeDown: Bool = false
) async throws {
  let name = context.migrationName
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(.stopped, migration: name)
  }
  let way = Way(context: context, record: record, direction: direction)
  try await waitUntil(
    within: .seconds(30), interval: .milliseconds(50),
    orThrow: {
      ConvoyError(
        "sync.not-stopped", "the sync workers did not stop", at: place,
        hint: "is the sync process that runs them using this state directory?")
    }
  ) {
    do {
      return try await way.activeSlots().isEmpty
    } catch  where mayBeDown && saysThatAConnectionBroke(error) {
      return true
    }
  }
}

/// Waits until every database's slot is read by a worker.
func awaitWorkers(
  _ context: MigrationContext, _ record: HandOffRecord, _ direction: StreamDirection, since began: Date,
  within deadline: Duration, at place: ConvoyError.Place, alsoUntil condition: () async throws -> Bool = { true }
) async throws {
  let way = Way(context: context, record: record, direction: direction)
  let keeper = Task { try await keepSyncAlive(context) }
  defer { keeper.cancel() }
  try await waitUntil(
    within: deadline, interval: .milliseconds(100),
    orThrow: {
      ConvoyError(
        "sync.not-streaming", "not every worker streams yet", at: place,
        hint: "look at 'pgconvoy status' and at sync.log in the state directory")
    }
  ) {
    // What a process before this one said may be mended since.
    for status in try await context.recordedStatuses()
    where status.status.phase == .parked && status.recorded > began && status.status.direction == direction {
      throw ConvoyError(
        "sync.parked", status.status.lastError ?? "parked",
        at: .database(migration: context.migrationName, name: status.status.database))
    }
    guard try await way.idle().isEmpty else { return false }
    return try await condition()
  }
}

func isSyncRunning(_ context: MigrationContext) async throws -> Bool {
  let directory = context.environment.stateDirectory
  return try await context.journal.perform { _ throws(ConvoyError) in
    try SyncProcessLock.status(stateDirectory: directory).running
  }
}

/// `start_sync`: the workers run in a process of their own, which outlives this one.
struct StartSyncStep: DeedStep {
  let deadline: Duration

  var name: String { "start_sync" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard let record = try await context.record(), let handOff = record.handOff else { return false }
    switch record.state {
    case .finished: return true
    case .handedOff, .fenced, .drained, .rolledBack: break
    // Without a way back there is nothing to stream.
    case .cutOver: if handOff.start(.reverse) == nil { return true }
    default: return false
    }
    guard record.desiredSync == DesiredSync(record.direction), try await isSyncRunning(context) else { return false }
    return try await Way(context: context, record: handOff, direction: record.direction).idle().isEmpty
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let environment = context.environment
    let began = Found<Date>("start_sync.began", placeholder: "")
    return [
      .aside { found in
        let direction = try await direction(context)
        _ = try await context.travelling(direction)
        found[began] = Date()
        try await wantWorkers(context, direction)
      },
      // Where one runs already, it takes the workers up.
      .later(announced: { [startingSync(environment)] }) { _ in
        guard try await !isSyncRunning(context) else { return [] }
        return [.say("starting the sync process, log in \(syncLog(environment))"), startingSync(environment)]
      },
      .wait(nil, "until every database's worker streams") { found in
        let direction = try await direction(context)
        let (record, start) = try await context.travelling(direction)
        try await awaitWorkers(
          context, record, direction, since: found[began] ?? Date(), within: deadline, at: context.place(name)
        ) {
          // The workers have said so too, so that 'status' shows what this step promises.
          let streaming = try await context.recordedStatuses().filter {
            [.streaming, .catchingUp].contains($0.status.phase) && $0.status.handOffLSN == start
          }
          return record.databases.allSatisfy { database in streaming.contains { $0.status.database == database.name } }
        }
      },
    ]
  }

  private func direction(_ context: MigrationContext) async throws -> StreamDirection {
    try await context.record()?.direction ?? .forward
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "\(try await context.handOff().databases.count) workers stream")
  }
}

/// A sync process in a session of its own, with its output appended to a log; it outlives this process.
private func startingSync(_ environment: RunEnvironment) -> Deed {
  .command(
    nil,
    .shell(
      """
      umask 077
      log=$1
      shift
      exec setsid -f "$@" >>"$log" 2>&1 </dev/null
      """, arguments: [syncLog(environment), environment.program] + environment.syncArguments, deadline: .seconds(30),
      label: environment.program))
}

private func syncLog(_ environment: RunEnvironment) -> String { environment.stateDirectory.path + "/sync.log" }

/// `wait_for_lag`: nothing starts before every database is close enough, healthy, and the same as at the hand-off.
struct WaitForLagStep: DeedStep {
  var direction = StreamDirection.forward
  let deadline: Duration

  var name: String { "wait_for_lag" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isHeldUp(direction) { return true }
    return try await context.isOver(direction)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let limits = context.migration.cutover
    let (record, _) = try await context.travelling(direction)
    return [
      .look(
        direction.from,
        "refuse when a database was added, dropped or replaced since the hand-off, or when schemas differ"
      ) { _ in
        try await checkDrift(context, record)
        try await context.refuseDrift(record, direction)
        let servers = try await ServerDrift.between(context)
        if !servers.isEmpty { context.progress("not the same on both servers: \(few(servers, separator: "; "))") }
      },
      .wait(
        nil, "until every database lags by at most \(limits.maxLagBytes) bytes and \(limits.maxLag.milliseconds) ms"
      ) { _ in try await closeEnough(context, record) },
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: false, "every database is close enough")
  }

  private func closeEnough(_ context: MigrationContext, _ record: HandOffRecord) async throws {
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
            hint: "mend the \(direction.toName) so that the worker can go on, or give its transaction up with "
              + "'pgconvoy skip'; then run the \(direction.noun) again")
        }
        if status.missedRows > 0 {
          throw ConvoyError(
            "cutover.missed-rows",
            "\(status.missedRows) updates or deletes found no row on the \(direction.toName)",
            at: .database(migration: context.migrationName, name: status.database),
            hint: "something else wrote to the \(direction.toName): this database needs a new hand-off")
        }
      }
      let late = statuses.filter { isLate($0, context.migration.cutover) }
      worst = late.map { "\($0.database) \($0.lagBytes.map(String.init) ?? "unknown") bytes, \($0.phase.rawValue)" }
        .joined(separator: "; ")
      return late.isEmpty && statuses.count == record.databases.count
    }
  }

  private func isLate(_ status: DatabaseStatus, _ limits: CutoverSettings) -> Bool {
    guard status.phase == .streaming || status.phase == .catchingUp, let bytes = status.lagBytes else { return true }
    if bytes > limits.maxLagBytes { return true }
    return status.lagSeconds.map { Duration.seconds($0) > limits.maxLag } ?? (status.phase != .streaming)
  }

  private func checkDrift(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    let (from, to) = (direction.from, direction.toName)
    let present = try await context.allDatabases(from)
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
        "cutover.new-database", "database \(database.name) was created after the hand-off and is not on the \(to)",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "copy it by hand and except it in the inventory" + (from == .source ? ", or migrate anew" : ""))
    }
  }
}
