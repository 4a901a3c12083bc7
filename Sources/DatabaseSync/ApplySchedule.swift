import BlockingIO

/// When the apply thread commits what it has, records its position, has it flushed, and how long it waits for more: a
/// pure value, to which the time comes in.
struct ApplySchedule {
  /// How long an applied position may wait for its flush; each costs the target one.
  static let durableInterval = Duration.seconds(1)
  /// How long an idle database's progress may lag behind its neighbours' WAL.
  static let positionInterval = Duration.seconds(10)
  /// How long a turn waits for something to do.
  static let turnTime = Duration.milliseconds(250)
  /// How long a set-based group waits for more of the backlog: behind, fewer and larger groups are worth more than an
  /// early commit.
  static let lingerTime = Duration.milliseconds(20)

  /// What is to be done between two source transactions.
  struct Due: OptionSet {
    let rawValue: UInt8
    /// Write the position to the origin.
    static let record = Due(rawValue: 1)
    /// Give up what only a backlog needs.
    static let rest = Due(rawValue: 2)
    /// Have the target flush what is recorded, and confirm it.
    static let flush = Due(rawValue: 4)
  }

  /// Whether a keepalive was the last that came in: the source has nothing more.
  private(set) var isCaughtUp = false
  /// Whether the source wants to hear where we are.
  private var isUrgent = false
  private var nextPosition: Deadline
  private var nextDurable: Deadline

  init(now: Deadline) {
    nextPosition = now + Self.positionInterval
    nextDurable = now + Self.durableInterval
  }

  @inline(__always)
  mutating func receivedRecord() { isCaughtUp = false }

  mutating func receivedKeepalive(isUrgent: Bool) {
    isCaughtUp = true
    self.isUrgent = self.isUrgent || isUrgent
  }

  /// How long to wait for more of the stream.
  func patience(isBatching: Bool, isMidTransaction: Bool) -> Duration {
    isBatching && !isMidTransaction ? Self.lingerTime : Self.turnTime
  }

  /// Whether a chunk that leaves the queue empty ends the group: a set-based one waits for more of the backlog, unless
  /// there is none.
  func settles(isBatching: Bool) -> Bool { !isBatching || isCaughtUp }

  func due(isQueueEmpty: Bool, now: Deadline) -> Due {
    let isAsked = isUrgent && isQueueEmpty
    var due: Due = []
    if isAsked || now >= nextPosition { due.insert(.record) }
    if now >= nextPosition, isCaughtUp { due.insert(.rest) }
    if isAsked || now >= nextDurable { due.insert(.flush) }
    return due
  }

  /// - Parameter now: when it was done, however long that took.
  mutating func did(_ due: Due, now: Deadline) {
    if due.contains(.record) { nextPosition = now + Self.positionInterval }
    guard due.contains(.flush) else { return }
    nextDurable = now + Self.durableInterval
    isUrgent = false
  }
}

extension Deadline {
  fileprivate static func + (moment: Deadline, span: Duration) -> Deadline {
    Deadline(nanoseconds: moment.nanoseconds &+ UInt64(clamping: Int64(span / .nanoseconds(1))))
  }
}
