import BlockingIO
import DatabaseSync
package import Inventory
package import Journal
package import Logging
package import MigrationCore
import PostgresClient
import ReplicationModel
import StatementReplication

/// Runs the workers that the journal wants to run, until it is told to stop.
///
/// One supervisor works on a state directory (its process holds the sync lock). What should run is read from the
/// journal again whenever its generation has moved, so that a play in another process starts and stops workers by
/// writing there.
package actor SyncSupervisor {
  private let migrations: [Inventory.Migration]
  let journal: Journal
  private let environment: RunEnvironment
  let logger: Logger
  var running: [String: Convoy] = [:]
  private var generations: [String: Int64] = [:]
  /// Migrations whose workers could not be started, since a host that leads to PostgreSQL was out of reach.
  private var retries: [String: Deadline] = [:]
  private let follower: RecordFollower
  /// Migrations that another process has, and what it says of itself.
  private var heldElsewhere: [String: String] = [:]
  /// Until when the state directory is waited for whose workers nobody runs.
  private var idleOwners: [String: Deadline] = [:]
  /// Those among the running ones that another process has taken meanwhile.
  private var lost: Set<String> = []

  struct Convoy {
    var nonce: String
    var direction: StreamDirection
    /// Where its streams began: another beginning is another convoy.
    var start: LSN
    var workers: [DatabaseWorker]
    var keeper: Task<Void, Never>
    var hold: MigrationHold
    var holdKeeper: Task<Void, Never>
    var driftWatch: Task<Void, Never>
    var closedSide: Task<Void, Never>
    /// What differs between the schemas, by database, where that is known.
    var drift: [String: [String]] = [:]
    /// Holds the tunnels that the workers' connections go through.
    var context: MigrationContext

    var statuses: [DatabaseStatus] {
      workers.map { worker in
        var status = DatabaseStatus(worker.snapshot, worker.assignment)
        status.drift = drift[status.database]
        return status
      }
    }
  }

  package init(
    migrations: [Inventory.Migration], journal: Journal, environment: RunEnvironment, logger: Logger
  ) {
    self.migrations = migrations
    self.journal = journal
    self.environment = environment
    self.logger = logger
    follower = RecordFollower(migrations, journal: journal, environment: environment, logger: logger)
  }

  /// How often the journal is looked at; what a play waits for at most before a worker starts to stop.
  private static let pollInterval = Duration.milliseconds(50)
  private static let statusInterval = Duration.milliseconds(500)
  private static let holdInterval = Duration.seconds(5)
  private static let holdRetry = Duration.milliseconds(200)
  private static let ownersGrace = Duration.seconds(5)
  private static let driftWatchDelay = Duration.seconds(3)
  /// How long nothing may have been wanted before a process that was started for a migration ends by itself.
  private static let idleGrace = Duration.seconds(20)

  /// Runs until the task is cancelled, or, when asked to, until nothing is left to do.
  package func run(exitWhenDone: Bool) async throws {
    var nextStatus = Deadline.now()
    await follower.start()
    var idleSince: Deadline?
    do {
      while !Task.isCancelled {
        try await adjust()
        try await recordSnapshots()
        if nextStatus.hasPassed {
          try await recordSkips()
          try await passOnSnapshots()
          try await recordStatuses()
          nextStatus = .after(Self.statusInterval)
        }
        if running.isEmpty && retries.isEmpty {
          let since = idleSince ?? .after(Self.idleGrace)
          idleSince = since
          if exitWhenDone && since.hasPassed {
            logger.info("nothing left to synchronise")
            break
          }
        } else {
          idleSince = nil
        }
        try await Task.sleep(for: Self.pollInterval)
      }
    } catch is CancellationError {
      // Asked to stop: the ordinary end of a service.
    } catch {
      await follower.stop()
      await stopAll()
      throw error
    }
    await follower.stop()
    await stopAll()
  }

  /// The workers' own words, for tests and for a live view in the same process.
  var snapshots: [WorkerSnapshot] { running.values.flatMap { $0.workers.map(\.snapshot) } }

  // MARK: what should run

  private func adjust() async throws {
    let current = try await journal.perform { file throws(ConvoyError) in try file.generations() }
    for name in lost {
      lost.remove(name)
      generations[name] = nil
      if let convoy = running.removeValue(forKey: name) { try await end(convoy, of: name) }
    }
    for migration in migrations {
      guard let generation = current[migration.name], generations[migration.name] != generation else { continue }
      if let retry = retries[migration.name], !retry.hasPassed { continue }
      guard await follower.mayRun(migration.name) else { continue }
      let record = try await journal.perform { [name = migration.name] file throws(ConvoyError) in
        try file.migration(name)
      }
      guard let record else { continue }
      do {
        retries[migration.name] = nil
        try await adjust(migration, to: record)
      } catch let error as ConvoyError where error.code.rawValue.hasPrefix("ssh.") {
        logger.warning("workers not started, trying again in a minute: \(error)")
        retries[migration.name] = .after(.seconds(60))
        continue
      }
      if let convoy = running[migration.name] {
        try await passOnSkips(migration.name, to: convoy.workers)
        try await passOnSnapshots(migration.name, to: convoy.workers)
      }
      if retries[migration.name] == nil { generations[migration.name] = generation }
    }
  }

  private func end(_ convoy: Convoy, of migration: String) async throws {
    await stop(convoy)
    try await recordLast(convoy)
    // Behind the last word, which whoever takes the migration over reads.
    await convoy.hold.release()
    logger.info("workers stopped", metadata: ["migration": "\(migration)"])
  }

  private func adjust(_ migration: Inventory.Migration, to record: MigrationRecord) async throws {
    let direction = StreamDirection(record.desiredSync)
    let context = MigrationContext(
      migration: migration, journal: journal, environment: environment, logger: logger, progress: { _ in })
    let turn = try await context.workersTurn()
    var wanted = direction == nil ? nil : record.handOff
    switch turn {
    case .mine: idleOwners[migration.name] = nil
    case .hosted: wanted = nil
    // Ours until somebody else has claimed them.
    case .another: if running[migration.name] != nil { wanted = nil }
    }
    if let convoy = running[migration.name],
      convoy.nonce != wanted?.names.nonce || convoy.direction != direction
        || convoy.start != direction.flatMap({ wanted?.start($0) })
    {
      running[migration.name] = nil
      try await end(convoy, of: migration.name)
    }
    guard running[migration.name] == nil, let direction, let handOff = wanted, let start = handOff.start(direction),
      let timeline = handOff.targetTimeline
    else { return }
    var from = try await context.parameters(direction.from)
    var to = try await context.parameters(direction.to)
    // By which another machine tells them from a play's.
    from.applicationName = MigrationHold.workerName(migration.name)
    to.applicationName = from.applicationName
    if case .another(let owner) = turn {
      guard try await isAway(owner, from: migration.name, context, handOff) else { return await context.close() }
      try await context.claimWorkers()
    }
    guard let hold = await take(MigrationHold(context, handOff), of: migration.name) else {
      await context.close()
      return
    }
    let (sourceTimeline, targetTimeline) = (Int(handOff.sourceTimeline), Int(timeline))
    let earlier = try await context.recordedStatuses()
    let workers = handOff.databases.map { database in
      DatabaseWorker(
        WorkerAssignment(
          migration: migration.name, database: database.name, databaseOID: database.oid,
          direction: direction, from: from.database(database.name), to: to.database(database.name),
          slot: handOff.slot(database, direction), origin: handOff.origin(database, direction),
          statements: direction == .forward ? StatementRecorder.table(handOff.names.statementSchema) : nil,
          handOff: start,
          systemIdentifier: String(handOff.sourceSystemIdentifier),
          fromTimeline: direction == .forward ? sourceTimeline : targetTimeline,
          toTimeline: direction == .forward ? targetTimeline : sourceTimeline),
        earlier: earlier.first { word in
          let status = word.status
          return status.database == database.name && status.handOffLSN == start && status.direction == direction
        }
        .map { WorkerSnapshot($0.status) },
        logger: logger)
    }
    try await passOnSkips(migration.name, to: workers)
    try await passOnSnapshots(migration.name, to: workers)
    for worker in workers { worker.start() }
    let keeper = Task { [logger] in
      // Not while a rollback could still be called off: then the way back would go on from where its slots were.
      if direction == .forward && record.direction == .forward {
        await keepReverseSlots(context, handOff, logger: logger)
      }
    }
    let name = migration.name
    let driftWatch = Task { [logger] in
      // Both schemas have been compared by whoever made the workers start; for now these need the servers themselves.
      try? await Task.sleep(for: Self.driftWatchDelay)
      await DriftWatch(
        context: context, databases: handOff.databases.map(\.name), logger: logger,
        progress: { database in
          guard context.carriesDDL(direction) else { return nil }
          return workers.first { $0.assignment.database == database }
            .flatMap { $0.snapshot.phase == .parked ? nil : $0.snapshot.position }
        },
        report: { database, drift in await self.note(drift, of: database, in: name) }
      ).run()
    }
    let holdKeeper = Task {
      while (try? await Task.sleep(for: Self.holdInterval)) != nil {
        // Not cut off in the middle, which would let it go.
        if case .elsewhere(let who) = await Task(operation: { await hold.take() }).value { self.lose(name, to: who) }
      }
    }
    let closedSide = Task { [logger] in await ClosedSideKeeper(context: context, logger: logger).run() }
    running[migration.name] = Convoy(
      nonce: handOff.names.nonce, direction: direction, start: start, workers: workers, keeper: keeper, hold: hold,
      holdKeeper: holdKeeper, driftWatch: driftWatch, closedSide: closedSide, context: context)
    logger.info(
      "workers started",
      metadata: [
        "migration": "\(migration.name)", "databases": "\(workers.count)", "direction": "\(direction.rawValue)",
      ])
  }

  /// Nil where another process has it: tried again in a moment.
  private func take(_ hold: MigrationHold, of migration: String) async -> MigrationHold? {
    guard case .elsewhere(let who) = await hold.take() else {
      heldElsewhere[migration] = nil
      return hold
    }
    retries[migration] = .after(Self.holdRetry)
    note(who, has: migration)
    return nil
  }

  private func note(_ who: String, has migration: String) {
    guard heldElsewhere.updateValue(who, forKey: migration) != who else { return }
    logger.warning(
      "another sync process has the migration: waiting until it has ended",
      metadata: ["migration": "\(migration)", "process": "\(who)"])
  }

  /// Whether nobody has run the workers for a while that are another state directory's: it may be gone for good.
  private func isAway(
    _ owner: String, from migration: String, _ context: MigrationContext, _ handOff: HandOffRecord
  ) async throws -> Bool {
    retries[migration] = .after(Self.holdRetry)
    if let who = try await MigrationHold.holder(context, handOff) {
      idleOwners[migration] = nil
      note(who, has: migration)
      return false
    }
    let deadline = idleOwners[migration] ?? .after(Self.ownersGrace)
    idleOwners[migration] = deadline
    guard deadline.hasPassed else { return false }
    logger.info(
      "nobody runs the workers: taking them over", metadata: ["migration": "\(migration)", "from": "\(owner)"])
    return true
  }

  private func lose(_ migration: String, to who: String) {
    guard running[migration] != nil, lost.insert(migration).inserted else { return }
    logger.warning(
      "another sync process has taken the migration", metadata: ["migration": "\(migration)", "process": "\(who)"])
  }

  private func note(_ drift: [String], of database: String, in migration: String) {
    running[migration]?.drift[database] = drift
  }

  // MARK: the end

  private func stop(_ convoy: Convoy) async {
    let besides = [convoy.keeper, convoy.driftWatch, convoy.closedSide, convoy.holdKeeper]
    for task in besides { task.cancel() }
    // Before the workers: when their slots are free, no slot for the way back is moved any more, and nothing is closed.
    for task in besides { await task.value }
    for worker in convoy.workers { worker.requestStop() }
    let workers = convoy.workers
    let ended = try? await onDedicatedThread("stop-workers") {
      let deadline = Deadline.after(.seconds(20))
      return workers.allSatisfy { $0.waitUntilStopped(until: deadline) }
    }
    if ended != true { logger.warning("some workers did not stop in time; their connections end with the process") }
    await convoy.context.close()
  }

  private func stopAll() async {
    let convoys = running
    running = [:]
    for convoy in convoys.values { await stop(convoy) }
    for convoy in convoys.values {
      try? await recordLast(convoy)
      await convoy.hold.release()
    }
  }

  // MARK: the journal

  private func recordStatuses() async throws {
    let statuses = running.values.flatMap(\.statuses)
    guard !statuses.isEmpty else { return }
    try await journal.perform { file throws(ConvoyError) in try file.recordStatuses(statuses) }
  }

  private func recordLast(_ convoy: Convoy) async throws {
    let statuses = convoy.statuses
    try await journal.perform { file throws(ConvoyError) in try file.recordStatuses(statuses) }
  }
}

/// Moves the slots for the way back along, so that the target does not keep WAL for them: nothing that they would
/// carry so far was written by anyone but our own workers.
private func keepReverseSlots(_ context: MigrationContext, _ handOff: HandOffRecord, logger: Logger) async {
  while !Task.isCancelled {
    for database in handOff.databases {
      do {
        try await context.withNewSession(.target, database: database.name) { session in
          _ = try await session.query(
            CutoverSQL.advanceSlotToEnd, [handOff.slot(database, .reverse)], within: .seconds(3600))
        }
      } catch {
        logger.debug("a slot for the way back was not advanced", metadata: ["error": "\(error)"])
      }
      if Task.isCancelled { return }
    }
    try? await Task.sleep(for: .seconds(30))
  }
}
