import BlockingIO
import ChangeApply
import LogicalDecoding
import ReplicationModel
import ReplicationStream

/// How far a worker is.
struct ApplyFigures {
  var position: LSN
  var durable: LSN
  var transactions: UInt64
  var changes: UInt64
  var missedRows: UInt64
  var changesPerSecond: Double
  var isCaughtUp: Bool
  var secondsBehind: Double?
}

/// The turns of the apply thread: take a chunk, apply it, commit when the queue is dry, confirm what is durable.
struct ApplyLoop<Parser: RecordParser> {
  /// How long an applied position may wait for its flush; each costs the target one.
  private static var durableInterval: Duration { .seconds(1) }
  /// How long an idle database's progress may lag behind its neighbours' WAL.
  private static var positionInterval: Duration { .seconds(10) }
  /// How old the answer to how far the stream is behind may be: turns are short, and a timestamp is read character by
  /// character.
  private static var behindInterval: Duration { .milliseconds(100) }
  /// How long a turn waits for something to do.
  private static var turnTime: Duration { .milliseconds(250) }
  /// How long a set-based group waits for more of the backlog: behind, fewer and larger groups are worth more than an
  /// early commit.
  private static var lingerTime: Duration { .milliseconds(20) }

  private let applier: ChangeApplier<Parser>
  private let feed: Feed
  /// What earlier attempts and workers had counted.
  private let base: WorkerSnapshot
  private var backlog: BacklogSense
  private var nextDurable = Deadline.after(durableInterval)
  private var nextPosition = Deadline.after(positionInterval)
  private var rate = RateMeter()
  private var behind: (seconds: Double?, until: Deadline) = (nil, .now())
  private var isCaughtUp = false
  private var isUrgent = false
  private var keepalivePosition = LSN.invalid
  private var confirmed = LSN.invalid
  private(set) var hasApplied = false

  /// How far what a failed batch held has to be replayed strictly.
  var replayEnd: LSN { applier.replayEnd }
  var isBatching: Bool { applier.isBatching }

  /// - Parameter sourceEnd: where the source's WAL ended when the stream was asked for.
  init(applier: ChangeApplier<Parser>, feed: Feed, base: WorkerSnapshot, sourceEnd: LSN) {
    backlog = BacklogSense(sourceEnd: sourceEnd)
    self.applier = applier
    self.feed = feed
    self.base = base
  }

  /// One turn; false when the stream has ended and all of it is applied.
  mutating func turn() throws(ApplyFailure) -> Bool {
    let patience = applier.isBatching && !applier.isMidTransaction ? Self.lingerTime : Self.turnTime
    if let chunk = feed.queue.pop(until: .after(patience)) {
      feed.control.isIdle = false
      try apply(chunk)
      if feed.queue.isEmpty && (!applier.isBatching || isCaughtUp) { try applier.commitGroup() }
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
    var caughtUp = isCaughtUp
    var urgent = isUrgent
    var position = keepalivePosition
    backlog.flow.record(bytes: chunk.byteCount)
    applier.hasBacklog = backlog.isThere(
      waiting: chunk.byteCount + feed.queue.byteCount,
      reached: max(applier.lastRecord, applier.recorded, keepalivePosition))
    let storage = chunk.storage
    try chunk.forEach { item throws(ApplyFailure) in
      switch item {
      case .record(let lsn, let bytes):
        caughtUp = false
        try applier.apply(lsn: lsn, record: bytes, in: storage)
      case .keepalive(let walEnd, let isUrgent):
        try applier.keepalive(walEnd, record: false)
        position = max(position, walEnd)
        caughtUp = true
        urgent = urgent || isUrgent
      }
    }
    applier.endChunk()
    isCaughtUp = caughtUp
    isUrgent = urgent
    keepalivePosition = position
    hasApplied = true
  }

  private mutating func housekeeping() throws(ApplyFailure) {
    // Chunks end anywhere: with large transactions hardly ever between two of them.
    confirm()
    guard !applier.isMidTransaction else { return }
    if isUrgent && feed.queue.isEmpty || nextPosition.hasPassed {
      try applier.recordPosition()
      if nextPosition.hasPassed, isCaughtUp { try applier.rest() }
      nextPosition = .after(Self.positionInterval)
    }
    if isUrgent && feed.queue.isEmpty || nextDurable.hasPassed {
      isUrgent = false
      try applier.makeDurable()
      confirm()
      nextDurable = .after(Self.durableInterval)
    }
  }

  /// Tells the source what is known to be durable.
  private mutating func confirm() {
    guard applier.durable > confirmed else { return }
    confirmed = applier.durable
    feed.control.confirm(confirmed)
  }

  /// Commits what is whole, and confirms it.
  mutating func finish() throws(ApplyFailure) {
    try applier.commitGroup()
    guard !applier.isMidTransaction else { return }
    try applier.makeDurable()
    confirm()
  }

  var figures: ApplyFigures {
    // The end of a pull is a keepalive too.
    let position = max(applier.recorded, keepalivePosition)
    let caughtUp = isCaughtUp && !applier.hasOpenGroup && position >= backlog.sourceEnd
    return ApplyFigures(
      position: caughtUp ? position : applier.recorded, durable: applier.durable,
      transactions: base.transactions + applier.counters.transactions,
      changes: base.changes + applier.counters.changes, missedRows: base.missedRows + applier.counters.missedRows,
      changesPerSecond: rate.perSecond, isCaughtUp: caughtUp,
      secondsBehind: caughtUp ? 0 : behind.seconds)
  }
}
