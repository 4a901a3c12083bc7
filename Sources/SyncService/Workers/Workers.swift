package import FoundationEssentials
import HostAdmin
import Inventory
package import Journal
package import MigrationCore
import RemoteHost
package import ReplicationModel

extension MigrationContext {
  /// What the sync process last wrote about this migration's databases, wherever it runs.
  package func recordedStatuses() async throws -> [RecordedStatus] {
    try await exchange()
    return try await knownStatuses()
  }

  /// The same as far as this machine's journal has it.
  func knownStatuses() async throws -> [RecordedStatus] {
    let name = migrationName
    return try await journal.perform { file throws(ConvoyError) in try file.recordedStatuses(migration: name) }
  }
}

/// Says that the workers of a direction, and no others, shall run.
///
/// - Parameter takingOver: whether a process on a host that followed another state directory follows this one from now on.
package func wantWorkers(
  _ context: MigrationContext, _ direction: StreamDirection, takingOver: Bool = false
) async throws {
  let name = context.migrationName
  try await context.claimWorkers()
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(DesiredSync(direction), migration: name)
  }
  // The process that runs them may be another machine's.
  try await context.publishRecord()
  try await context.exchange(takingOver ? .takeOver : .order)
}

/// Says that the workers of a direction, and no others, shall run, and starts a process for them where none does.
package func runWorkers(_ context: MigrationContext, _ direction: StreamDirection) async throws {
  try await wantWorkers(context, direction)
  try await startSync(context)
}

/// For a play: workers that another machine runs are this one's from now on, since what they say is in its journal.
package func takeOverWorkers(_ context: MigrationContext) async throws {
  guard let record = try await context.record(), let direction = StreamDirection(record.desiredSync),
    case .another(let owner) = try await context.workersTurn()
  else { return }
  context.progress("the workers are those of \(owner): taking them over")
  let began = Date()
  try await runWorkers(context, direction)
  // Nothing that a step asks of them may change under it. One that sleeps is waited for until it is cut off.
  let databases = try await context.handOff().databases.map(\.name)
  do {
    try await waitUntil(
      within: .seconds(40), interval: .milliseconds(100),
      orThrow: {
        ConvoyError("sync.not-streaming", "the workers of \(owner) still run", hint: "end that sync process")
      }
    ) {
      let now = try await context.recordedStatuses().filter {
        $0.recorded > began && ($0.status.direction ?? .forward) == direction
      }
      return databases.allSatisfy { name in now.contains { $0.status.database == name } }
    }
  } catch let error as ConvoyError where error.code == "sync.not-streaming" {
    context.progress("\(error.message): going on without them")
  }
}

/// Starts a sync process where none runs.
private func startSync(_ context: MigrationContext) async throws {
  guard try await !isSyncRunning(context) else { return }
  let place = try await context.syncPlaces().current
  context.progress(startingWords(context, place))
  try await DeedPerformer(context, step: "start_sync").perform([startingSync(context, place)])
}

package func startingWords(_ context: MigrationContext, _ place: SyncPlace?) -> String {
  guard let place else { return "starting the sync process, log in \(syncLog(context.environment))" }
  let log = place.manager == .systemd ? "the journal of \(place.unit)" : place.log
  return "starting the sync process on \(place.host), log in \(log)"
}

/// What starts the process where it is to run.
package func startingSync(_ context: MigrationContext, _ place: SyncPlace?) -> Deed {
  guard let place else { return startingSync(context.environment) }
  return .hosted(place.host, SyncUnit(place, migration: context.migrationName).start)
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
/// - Parameters:
///   - mayBeDown: whether the server that they read from is allowed to be out of reach.
///   - goneHost: one that will not come back; a process there is told nothing.
package func stopWorkers(
  _ context: MigrationContext, _ record: HandOffRecord, _ direction: StreamDirection, at place: ConvoyError.Place,
  mayBeDown: Bool = false, goneHost: String? = nil
) async throws {
  let name = context.migrationName
  try await context.journal.perform { file throws(ConvoyError) in
    try file.setDesiredSync(.stopped, migration: name)
  }
  try await context.publishRecord()
  if try await context.syncPlaces().current?.host != goneHost || goneHost == nil { try await context.exchange(.order) }
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

/// Whether the process runs that the migration's workers belong to, wherever that is.
package func isSyncRunning(_ context: MigrationContext) async throws -> Bool {
  try await isSyncRunning(context, at: context.syncPlaces().current)
}

/// Whether one runs there that could take the migration's workers up; nil: on this machine.
package func isSyncRunning(_ context: MigrationContext, at place: SyncPlace?) async throws -> Bool {
  if let place {
    // Where nothing has been put yet, nothing runs.
    guard try await context.syncPlaces().current == place else { return false }
    return try await context.exchange(.look, with: place).running
  }
  let directory = context.environment.stateDirectory
  return try await context.journal.perform { _ throws(ConvoyError) in
    try SyncProcessLock.status(stateDirectory: directory).running
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

package func syncLog(_ environment: RunEnvironment) -> String { environment.stateDirectory.path + "/sync.log" }
