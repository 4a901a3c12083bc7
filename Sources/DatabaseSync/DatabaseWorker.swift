public import BlockingIO
public import Logging
public import ReplicationModel
import Synchronization

/// One database's worker: streams its slot, decodes, applies, confirms; starts again after trouble that may pass;
/// parks this database alone when it cannot go on.
///
/// Two threads: one receives and answers the source, one applies; behind a backlog one or two more carry out batches.
/// What is done after which failure is `RetryPolicy`'s to say. Killing the process at any moment is safe: the target's
/// replication origin says where to go on.
public final class DatabaseWorker: Sendable {
  public let assignment: WorkerAssignment
  let logger: Logger
  let status: Mutex<WorkerSnapshot>
  let lifecycle = WorkerLifecycle()
  let orders = Mutex(Orders())
  let snapshots = SnapshotMailbox()

  struct Orders {
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
      snapshot.goneRows = earlier.goneRows
    }
    status = Mutex(snapshot)
  }

  public var snapshot: WorkerSnapshot { status.withLock { $0 } }

  public func start() {
    lifecycle.begin()
    startThread(name: "apply-\(assignment.database)") { self.run() }
  }

  /// Orders transactions to be stepped over, each named by one of its records. It is done only when the worker parks at
  /// just that record: an order for any other place changes nothing.
  public func stepOver(_ places: Set<LSN>) {
    let isNew = orders.withLock { orders in
      defer { orders.due = places }
      return !places.isSubset(of: orders.due)
    }
    if isNew { lifecycle.hurry() }
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
    lifecycle.requestStop()
    snapshots.wake()
  }

  /// Waits for the worker's end on the calling thread; false when the deadline passed first.
  public func waitUntilStopped(until deadline: Deadline) -> Bool { lifecycle.waitForEnd(until: deadline) }

  // MARK: the apply thread

  /// How long a parked worker waits before it looks again whether someone has mended the target.
  private static let parkedRetry = Duration.seconds(15)

  private func run() {
    var policy = RetryPolicy()
    while !lifecycle.isStopRequested {
      do {
        try stream(&policy)
      } catch {
        let failure = AttemptFailure(error)
        let decision = policy.decide(
          after: failure, isStopRequested: lifecycle.isStopRequested, orders: orders.withLock { $0.due })
        obey(decision, after: failure)
      }
    }
    status.withLock {
      if $0.phase != .parked { $0.phase = .stopped }
      $0.changesPerSecond = 0
    }
    lifecycle.end()
  }

  private func obey(_ decision: RetryDecision, after failure: AttemptFailure) {
    let reason: Logger.MetadataValue = "\(failure)"
    switch decision {
    case .stop, .secondLook, .leaveStatementOut: break
    case .lookAgain(let pause):
      logger.debug("waiting for the end of a table", metadata: ["reason": reason])
      lifecycle.pause(pause)
    case .retryWithoutPulls: logger.info("reading the backlog from a walsender", metadata: ["reason": reason])
    case .replayStrictly(let end):
      logger.info("replaying one change at a time", metadata: ["reason": reason, "until": "\(end)"])
    case .stepOver(let order):
      logger.warning(
        "stepping over a transaction, as ordered",
        metadata: ["xid": "\(order.xid)", "lsn": "\(order.lsn)", "reason": reason])
    case .retry(let pause):
      logger.warning("stream interrupted, next try in \(pause)", metadata: ["reason": reason])
      status.withLock {
        $0.lastError = failure.description
        // Until someone has mended the target it stays parked, whatever keeps it from another try.
        if $0.phase != .parked { $0.phase = failure.isUnreachable ? .unreachable : .interrupted }
        $0.interruptedAt = $0.interruptedAt ?? millisecondsSince1970()
        $0.changesPerSecond = 0
        $0.restarts += 1
      }
      lifecycle.pause(pause)
    case .park(let lsn):
      logger.error("parked", metadata: ["reason": reason])
      status.withLock {
        $0.phase = .parked
        $0.lastError = failure.description
        $0.interruptedAt = $0.interruptedAt ?? millisecondsSince1970()
        $0.parkedAt = lsn
        $0.hasCaughtUp = false
        $0.changesPerSecond = 0
      }
      lifecycle.pause(Self.parkedRetry)
    }
  }
}
