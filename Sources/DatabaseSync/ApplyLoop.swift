import BlockingIO
import ChangeApply
import LogicalDecoding
import OriginSession
import ReplicationModel
import ReplicationStream

/// How far a worker is.
struct ApplyFigures {
  var position: LSN
  var durable: LSN
  var transactions: UInt64
  var changes: UInt64
  var missedRows: UInt64
  var goneRows: [String: UInt64]
  var changesPerSecond: Double
  var isCaughtUp: Bool
  var secondsBehind: Double?
}

/// The turns of the apply thread: take a chunk, apply it, commit when the queue is dry, confirm what is durable.
struct ApplyLoop<Parser: RecordParser> {
  /// How old the answer to how far the stream is behind may be: turns are short, and a timestamp is read character by
  /// character.
  private static var behindInterval: Duration { .milliseconds(100) }

  private let applier: ChangeApplier<Parser>
  private let feed: Feed
  /// What earlier attempts and workers had counted.
  private let base: WorkerSnapshot
  private var backlog = BacklogSense()
  private var schedule = ApplySchedule(now: .now())
  private var rate = RateMeter()
  private var behind: (seconds: Double?, until: Deadline) = (nil, .now())
  private(set) var hasApplied = false

  init(applier: ChangeApplier<Parser>, feed: Feed, base: WorkerSnapshot) {
    self.applier = applier
    self.feed = feed
    self.base = base
  }

  /// How far the stream has to be replayed strictly after a failure; nil where that would tell nothing.
  func replayEnd(after failure: ApplyFailure) -> LSN? { applier.replayEnd(after: failure) }

  /// One turn; false when the stream has ended and all of it is applied.
  mutating func turn() throws(ApplyFailure) -> Bool {
    let patience = schedule.patience(isBatching: applier.isBatching, isMidTransaction: applier.isMidTransaction)
    if let chunk = feed.queue.pop(until: .after(patience)) {
      feed.control.isIdle = false
      try apply(chunk)
      if feed.queue.isEmpty, schedule.settles(isBatching: applier.isBatching) { try applier.commitGroup() }
    } else if feed.queue.isClosed {
      try finish()
      return false
    } else {
      try applier.commitGroup()
      feed.control.isIdle = !applier.isMidTransaction
    }
    try housekeeping()
    rate.record(total: applier.counters.changes)
    if behind.until.hasPassed {
      behind = (applier.lastCommitTime.flatMap { secondsSince(timestamp: $0) }, .after(Self.behindInterval))
    }
    return true
  }

  private mutating func apply(_ chunk: StreamChunk) throws(ApplyFailure) {
    let applier = self.applier
    var schedule = self.schedule
    backlog.flow.record(bytes: chunk.byteCount)
    applier.hasBacklog = backlog.isThere(waiting: chunk.byteCount + feed.queue.byteCount, at: applier.progress)
    let storage = chunk.storage
    try chunk.forEach { item throws(ApplyFailure) in
      switch item {
      case .record(let lsn, let bytes):
        schedule.receivedRecord()
        try applier.apply(lsn: lsn, record: bytes, in: storage)
      case .keepalive(let walEnd, let isUrgent):
        schedule.receivedKeepalive(isUrgent: isUrgent)
        try applier.keepalive(walEnd, record: false)
      }
    }
    applier.endChunk()
    self.schedule = schedule
    hasApplied = true
  }

  private mutating func housekeeping() throws(ApplyFailure) {
    // Chunks end anywhere: with large transactions hardly ever between two of them.
    confirm()
    guard !applier.isMidTransaction else { return }
    let due = schedule.due(isQueueEmpty: feed.queue.isEmpty, now: .now())
    guard !due.isEmpty else { return }
    if due.contains(.record) { try applier.recordPosition() }
    if due.contains(.rest) { try applier.rest() }
    if due.contains(.flush) {
      try applier.makeDurable()
      confirm()
    }
    schedule.did(due, now: .now())
  }

  /// Tells the source what is known to be durable.
  private func confirm() {
    if let position = applier.confirm() { feed.control.confirm(position) }
  }

  /// Commits what is whole, and confirms it.
  func finish() throws(ApplyFailure) {
    try applier.commitGroup()
    guard !applier.isMidTransaction else { return }
    try applier.makeDurable()
    confirm()
  }

  var figures: ApplyFigures {
    let progress = applier.progress
    // The end of a pull is a keepalive too.
    let position = max(progress.recorded, progress.keepalive)
    let caughtUp = schedule.isCaughtUp && !applier.hasOpenGroup && position >= progress.sourceEnd
    return ApplyFigures(
      position: caughtUp ? position : progress.recorded, durable: progress.durable,
      transactions: base.transactions + applier.counters.transactions,
      changes: base.changes + applier.counters.changes, missedRows: base.missedRows + applier.counters.missedRows,
      goneRows: base.goneRows.merging(applier.counters.goneRows.map { ("\($0)", $1) }) { $0 + $1 },
      changesPerSecond: rate.perSecond, isCaughtUp: caughtUp,
      secondsBehind: caughtUp ? 0 : behind.seconds)
  }
}
