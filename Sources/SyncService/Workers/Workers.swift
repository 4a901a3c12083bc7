package import FoundationEssentials
import HostAdmin
package import Journal
package import MigrationCore
import RemoteHost
package import ReplicationModel

extension MigrationContext {
  /// What the sync process last wrote about this migration's databases.
  package func recordedStatuses() async throws -> [RecordedStatus] {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.recordedStatuses(migration: name) }
  }
}

/// Says that the workers of a direction, and no others, shall run.
package func wantWorkers(_ context: MigrationContext, _ direction: StreamDirection) async throws {
  let name = context.migrationName
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(DesiredSync(direction), migration: name)
  }
}

/// Says that the workers of a direction, and no others, shall run, and starts a process for them where none does.
package func runWorkers(_ context: MigrationContext, _ direction: StreamDirection) async throws {
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
package func keepSyncAlive(_ context: MigrationContext) async throws {
  while true {
    // As long as a process that was just started may take to say that it is there.
    try await Task.sleep(for: .seconds(2))
    try await startSync(context)
  }
}

/// Says that no worker shall run, and waits until none reads the slots of a direction.
///
/// - Parameter mayBeDown: whether the server that they read from is allowed to be out of reach.
package func stopWorkers(
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
package func awaitWorkers(
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

package func isSyncRunning(_ context: MigrationContext) async throws -> Bool {
  let directory = context.environment.stateDirectory
  return try await context.journal.perform { _ throws(ConvoyError) in
    try SyncProcessLock.status(stateDirectory: directory).running
  }
}

/// A sync process in a session of its own, with its output appended to a log; it outlives this process.
package func startingSync(_ environment: RunEnvironment) -> Deed {
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

package func syncLog(_ environment: RunEnvironment) -> String { environment.stateDirectory.path + "/sync.log" }
