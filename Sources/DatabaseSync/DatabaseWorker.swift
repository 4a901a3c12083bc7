public import BlockingIO
import ChangeApply
import Glibc
public import Logging
import LogicalDecoding
import PostgresClient
public import ReplicationModel
import ReplicationStream
import Synchronization

/// One database's worker: streams its slot, decodes, applies, confirms; starts again after trouble that may pass;
/// parks this database alone when it cannot go on.
///
/// Two threads: one receives and answers the source, one applies; behind a backlog one or two more carry out batches. Killing the process at any moment is safe: the
/// target's replication origin says where to go on.
public final class DatabaseWorker: Sendable {
  public let assignment: WorkerAssignment
  private let logger: Logger
  private let status: Mutex<WorkerSnapshot>
  private let life = Life()
  private let orders = Mutex(Orders())
  private let snapshots = SnapshotDesk()

  private struct Orders {
    /// Records whose transactions are to be stepped over.
    var due: Set<LSN> = []
    var done: [SteppedOver] = []
  }

  /// - Parameter earlier: what a worker before this one had counted.
  public init(_ assignment: WorkerAssignment, earlier: WorkerSnapshot? = nil, logger: Logger) {
    self.assignment = assignment
    var logger = logger
    logger[metadataKey: "migration"] = "\(assignment.migration)"
    logger[metadataKey: "database"] = "\(assignment.database)"
    self.logger = logger
    var snapshot = WorkerSnapshot(migration: assignment.migration, database: assignment.database)
    if let earlier {
      snapshot.transactions = earlier.transactions
      snapshot.changes = earlier.changes
      snapshot.missedRows = earlier.missedRows
    }
    status = Mutex(snapshot)
  }

  public var snapshot: WorkerSnapshot { status.withLock { $0 } }

  public func start() {
    life.begin()
    startThread(name: "apply-\(assignment.database)") { self.run() }
  }

  /// Orders transactions to be stepped over, each named by one of its records. It is done only when the worker parks at
  /// just that record: an order for any other place changes nothing.
  public func stepOver(_ places: Set<LSN>) {
    let isNew = orders.withLock { orders in
      defer { orders.due = places }
      return !places.isSubset(of: orders.due)
    }
    if isNew { life.hurry() }
  }

  /// Whether orders are due.
  public var hasOrders: Bool { orders.withLock { !$0.due.isEmpty } }

  /// What has been stepped over since the last call; the target's progress is past all of it.
  public func takeSteppedOver() -> [SteppedOver] {
    orders.withLock { orders in
      defer { orders.done = [] }
      return orders.done
    }
  }

  /// Orders a snapshot of the target, or says that the order before is over. A worker that is parked or reconnects
  /// begins when it streams again.
  public func orderSnapshot(_ order: SnapshotOrder?) { snapshots.place(order) }

  public var hasSnapshotOrder: Bool { snapshots.order != nil }

  /// What has become of the order since the last call.
  public func takeSnapshotAnswer() -> (id: Int64, answer: SnapshotAnswer)? { snapshots.takeAnswer() }

  /// Asks the worker to finish the transaction in hand, confirm and disconnect.
  public func requestStop() {
    life.requestStop()
    snapshots.wake()
  }

  /// Waits for the worker's end on the calling thread; false when the deadline passed first.
  public func waitUntilStopped(until deadline: Deadline) -> Bool { life.waitForEnd(until: deadline) }

  // MARK: the apply thread

  /// How one attempt goes about it; what the attempt before had to do without is left out once it streams.
  private struct Manner {
    /// Up to here change by change.
    var strictUntil = LSN.invalid
    var pulls = true
    var secondSession = true
  }

  /// How long a parked worker waits before it looks again whether someone has mended the target.
  private static let parkedRetry = Duration.seconds(15)

  private func run() {
    var backOff = BackOff()
    var secondLook = SecondLook()
    var manner = Manner()
    var steppingOver: SteppedOver?
    while !life.isStopRequested {
      let outcome = attempt(
        manner, steppingOver: &steppingOver, onStart: { (manner.pulls, manner.secondSession) = (true, true) },
        onProgress: { backOff.reset() })
      switch outcome {
      case .stopped: break
      case .withoutPulls(let message):
        // The same transaction would be given up again and again; a walsender waits for its target.
        logger.info("reading the backlog from a walsender", metadata: ["reason": "\(message)"])
        manner.pulls = false
      case .replayStrictly(let message, let end):
        // The same changes once more, one at a time: then it either goes through or names the change.
        logger.info("replaying one change at a time", metadata: ["reason": "\(message)", "until": "\(end)"])
        manner.strictUntil = end
        // It may have failed for what was beside it, and would again.
        manner.secondSession = false
      case .transient(let message):
        let pause = backOff.next()
        logger.warning("stream interrupted, next try in \(pause)", metadata: ["reason": "\(message)"])
        status.withLock {
          $0.lastError = message
          $0.changesPerSecond = 0
          $0.restarts += 1
        }
        life.pause(pause)
      case .parked(let message, let lsn, _, let mayBeStale, isStatement: true):
        steppingOver = nil
        // The next attempt is given the order.
        if let lsn, orders.withLock({ $0.due.contains(lsn) }) { continue }
        if mayBeStale, secondLook.isDue(after: lsn) { continue }
        park(message, lsn)
      case .parked(let message, let lsn, let xid, let mayBeStale, _):
        if let lsn, let xid, orders.withLock({ $0.due.contains(lsn) }), steppingOver?.lsn != lsn {
          logger.warning(
            "stepping over a transaction, as ordered",
            metadata: ["xid": "\(xid)", "lsn": "\(lsn)", "reason": "\(message)"])
          steppingOver = SteppedOver(xid: xid, lsn: lsn)
          continue
        }
        steppingOver = nil
        if mayBeStale, secondLook.isDue(after: lsn) { continue }
        park(message, lsn)
      }
    }
    status.withLock {
      if $0.phase != .parked { $0.phase = .stopped }
      $0.changesPerSecond = 0
    }
    life.end()
  }

  private func park(_ message: String, _ lsn: LSN?) {
    logger.error("parked", metadata: ["reason": "\(message)"])
    status.withLock {
      $0.phase = .parked
      $0.lastError = message
      $0.parkedAt = lsn
      $0.hasCaughtUp = false
      $0.changesPerSecond = 0
    }
    life.pause(Self.parkedRetry)
  }

  private enum Outcome {
    case stopped
    case transient(String)
    /// The target is too slow for a backlog that is read by SQL.
    case withoutPulls(String)
    /// A batch failed; the stream is read again, up to here change by change.
    case replayStrictly(String, until: LSN)
    case parked(String, LSN?, xid: UInt32?, mayBeStale: Bool, isStatement: Bool = false)
  }

  private func attempt(
    _ manner: Manner, steppingOver: inout SteppedOver?, onStart: () -> Void, onProgress: () -> Void
  ) -> Outcome {
    do {
      try stream(manner, steppingOver: &steppingOver, onStart: onStart, onProgress: onProgress)
      return .stopped
    } catch let error as BatchFailure {
      return .replayStrictly("\(error.failure)", until: error.end)
    } catch let error as ConvoyError {
      return .parked(error.description, nil, xid: nil, mayBeStale: false)
    } catch let error as ApplyFailure {
      if case .postgres(let cause) = error.reason, cause.reason == .cancelled, life.isStopRequested { return .stopped }
      if error.isTransient { return .transient("\(error)") }
      return .parked("\(error)", error.lsn, xid: error.xid, mayBeStale: true, isStatement: error.isStatement)
    } catch let error as PostgresError {
      if error.reason == .cancelled && life.isStopRequested { return .stopped }
      let text = "\(error.server): \(error)"
      return error.isTransient ? .transient(text) : .parked(text, nil, xid: nil, mayBeStale: false)
    } catch StreamFailure.postgres(let error) {
      let text = "\(error.server): \(error)"
      return error.isTransient ? .transient(text) : .parked(text, nil, xid: nil, mayBeStale: false)
    } catch StreamFailure.pullGivenUp(let message) {
      return .withoutPulls(message)
    } catch StreamFailure.malformed(let error) {
      return .parked("the source sent a message outside the protocol: \(error.reason)", nil, xid: nil, mayBeStale: true)
    } catch {
      return .parked("\(error)", nil, xid: nil, mayBeStale: false)
    }
  }

  /// One connection's worth of work; returns when asked to stop.
  private func stream(
    _ manner: Manner, steppingOver: inout SteppedOver?, onStart: () -> Void, onProgress: () -> Void
  ) throws {
    let session = try openSession()
    life.attach(session.interrupts)
    defer {
      life.detach()
      session.close()
    }
    let start = try checkedStart()
    switch start.plugin {
    case .testDecoding:
      try stream(
        start, of: TestDecodingParser(), to: session, manner, steppingOver: &steppingOver,
        onStart: onStart, onProgress: onProgress)
    case .pgoutput:
      try stream(
        start, of: PgoutputParser(), to: session, manner, steppingOver: &steppingOver,
        onStart: onStart, onProgress: onProgress)
    }
  }

  private func stream(
    _ beginning: Beginning, of parser: some RecordParser, to session: ApplySession, _ manner: Manner,
    steppingOver: inout SteppedOver?, onStart: () -> Void, onProgress: () -> Void
  ) throws {
    let start = beginning.position
    var source = assignment.source
    source.settings.merge(canonicalTextSettings) { _, canonical in canonical }
    // What test_decoding prints is in the database's encoding anyway; pgoutput would convert it.
    source.settings["client_encoding"] = session.encoding
    let feed = Feed(startingAt: start)
    feed.start(
      SlotReader(
        source: source,
        request: StreamRequest(
          slot: assignment.slot, start: start,
          options: beginning.plugin.options(publication: assignment.publication), sourceEnd: beginning.sourceEnd),
        queue: feed.queue, control: feed.control, limits: manner.pulls ? PullLimits() : nil),
      name: "recv-\(assignment.database)")
    defer { feed.stop() }
    let applier = try ChangeApplier(
      session: session, parser: parser, start: start, sourceEnd: beginning.sourceEnd,
      identity: HandOffNames.random().nonce, strictUntil: manner.strictUntil, steppingOver: steppingOver,
      statements: assignment.statements, leavingOut: orders.withLock { $0.due }, usesSecondSession: manner.secondSession
    )
    defer { applier.end() }
    logger.info("streaming", metadata: ["from": "\(start)"])
    onStart()
    status.withLock {
      $0.phase = .catchingUp
      $0.position = start
      $0.durable = start
      $0.parkedAt = nil
      $0.hasCaughtUp = false
    }
    var loop = ApplyLoop(applier: applier, feed: feed, base: snapshot)
    let exports = SnapshotExport(desk: snapshots, target: assignment.target) { self.life.isStopRequested }
    while !life.isStopRequested {
      let more: Bool
      do {
        // Before anything else is said of this turn, and also when it fails behind the transaction.
        defer {
          take(&steppingOver, done: applier.steppedOver)
          takeStatements(applier.takeLeftOut(), carriedOut: applier.takeCarriedOut())
        }
        more = try turn(&loop, exports, applier)
      }
      if loop.hasApplied { onProgress() }
      publish(loop.figures, sourceEnd: beginning.sourceEnd)
      if !more {
        try feed.outcome()
        throw PostgresError(
          .connectionLost, message: "the source ended the stream", server: assignment.source.displayName)
      }
    }
    try loop.finish()
    publish(loop.figures, sourceEnd: beginning.sourceEnd)
  }

  /// Notes that progress has moved past a transaction, whatever comes after it in the same turn.
  private func take(_ steppingOver: inout SteppedOver?, done: SteppedOver?) {
    guard steppingOver != nil, let done, done.commit != nil else { return }
    orders.withLock {
      $0.done.append(done)
      $0.due.remove(done.lsn)
    }
    steppingOver = nil
  }

  private func takeStatements(_ leftOut: [SteppedOver], carriedOut: [String]) {
    for statement in carriedOut { logger.info("carried out", metadata: ["statement": "\(statement)"]) }
    guard !leftOut.isEmpty else { return }
    for left in leftOut { logger.warning("left a statement out, as ordered", metadata: ["statement": "\(left)"]) }
    orders.withLock { orders in
      orders.done += leftOut
      orders.due.subtract(leftOut.map(\.lsn))
    }
  }

  /// A batch's failure names no change; anything but a passing trouble has to be replayed to find it.
  private func turn<Parser: RecordParser>(
    _ loop: inout ApplyLoop<Parser>, _ exports: SnapshotExport, _ applier: ChangeApplier<Parser>
  ) throws -> Bool {
    do throws(ApplyFailure) {
      // A gate ends the group in hand, which may fail as in any other turn.
      try exports.attend(applier)
      return try loop.turn()
    } catch {
      if let end = loop.replayEnd(after: error) { throw BatchFailure(failure: error, end: end) }
      throw error
    }
  }

  private struct BatchFailure: Error {
    var failure: ApplyFailure
    var end: LSN
  }

  private func openSession() throws -> ApplySession {
    do throws(PostgresError) {
      return try ApplySession.open(assignment.target, origin: assignment.origin)
    } catch {
      // The origin is gone: the rules say what that means, and which other one may be broken before it.
      if error.sqlState == .undefinedObject { _ = try checkedStart() }
      throw error
    }
  }

  /// Where and how the stream starts.
  private struct Beginning {
    var position: LSN
    /// Where the source's WAL ended just before.
    var sourceEnd: LSN
    var plugin: OutputPlugin
  }

  private func checkedStart() throws -> Beginning {
    let source = try PostgresConnection.connect(assignment.source)
    let target = try PostgresConnection.connect(assignment.target)
    let invariants = try StartInvariants.read(source: source, target: target, assignment: assignment)
    let position = try invariants.startPosition(for: assignment)
    guard let name = invariants.slot?.plugin, let plugin = OutputPlugin(rawValue: name) else {
      throw ConvoyError(
        "sync.slot-plugin", "slot \(assignment.slot) is of plugin \(invariants.slot?.plugin ?? "")",
        at: assignment.place, hint: "pgconvoy reads test_decoding and pgoutput; this slot is none of its own")
    }
    return Beginning(position: position, sourceEnd: invariants.sourceFlush, plugin: plugin)
  }

  private func publish(_ figures: ApplyFigures, sourceEnd: LSN) {
    status.withLock {
      $0.phase = figures.isCaughtUp ? .streaming : .catchingUp
      $0.position = figures.position
      $0.durable = figures.durable
      $0.transactions = figures.transactions
      $0.changes = figures.changes
      $0.missedRows = figures.missedRows
      $0.changesPerSecond = figures.changesPerSecond
      $0.secondsBehind = figures.secondsBehind
      if figures.isCaughtUp {
        $0.lastError = nil
        // A walsender may send a keepalive from anywhere on its way.
        $0.hasCaughtUp = $0.hasCaughtUp || figures.position >= sourceEnd
      }
    }
  }
}

/// The receiving thread of one connection, with its queue.
final class Feed: Sendable {
  /// Bytes that may wait between the two threads.
  static let queueBytes = 16 << 20

  let control = StreamControl()
  let queue: ByteBoundedQueue<StreamChunk>
  private let end = ThreadEnd()
  private let result = Mutex<StreamFailure?>(nil)

  init(startingAt start: LSN, capacity: Int = queueBytes) {
    queue = ByteBoundedQueue(capacity: capacity, roomWakeUp: control.wakeUp)
    control.confirm(start)
  }

  func start(_ reader: SlotReader, name: String) {
    startThread(name: name) {
      do throws(StreamFailure) {
        try reader.run()
      } catch {
        self.result.withLock { $0 = error }
      }
      self.queue.close()
      self.end.signal()
    }
  }

  /// Throws what ended the stream, if it was an error.
  func outcome() throws(StreamFailure) {
    if let failure = result.withLock({ $0 }) { throw failure }
  }

  func stop() {
    control.stop()
    queue.close()
    end.wait()
  }
}
