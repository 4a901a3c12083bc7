public import BlockingIO
public import ReplicationModel

/// Decides when the walsender is told what, as a pure value.
///
/// What is told as flushed is only ever what the owner declared durable on the target: the server throws away
/// everything before it.
public struct FeedbackPolicy: Sendable {
  /// The last position that came in.
  public private(set) var received: LSN
  /// The last position that is durable on the target.
  public private(set) var durable: LSN
  private var reported: LSN
  private var replyRequested = false
  private var lastUpdate: Deadline
  /// Nanoseconds between updates when nothing changes.
  private let interval: UInt64
  /// Nanoseconds that a durable position may wait before it is told.
  private let patience: UInt64

  /// - Parameters:
  ///   - start: where the stream begins.
  ///   - durable: what the target has for certain.
  public init(
    start: LSN, durable: LSN, now: Deadline, interval: Duration = .seconds(5), patience: Duration = .milliseconds(500)
  ) {
    received = start
    self.durable = durable
    reported = durable
    lastUpdate = now
    self.interval = UInt64(interval / .nanoseconds(1))
    self.patience = UInt64(patience / .nanoseconds(1))
  }

  public mutating func receive(_ message: StreamMessage) {
    switch message {
    case .data(let start, _): received = max(received, start)
    case .keepalive(let walEnd, let wantsReply):
      received = max(received, walEnd)
      if wantsReply { replyRequested = true }
    }
  }

  /// Positions never go back; an older one changes nothing.
  public mutating func becameDurable(_ position: LSN) {
    durable = max(durable, position)
  }

  /// When the next update is due if nothing happens before.
  public var nextUpdate: Deadline {
    if replyRequested { return Deadline(nanoseconds: 0) }
    return Deadline(nanoseconds: lastUpdate.nanoseconds + (durable > reported ? patience : interval))
  }

  /// The update to send now, if one is due.
  public mutating func update(now: Deadline, clock: Int64) -> StandbyStatusUpdate? {
    guard now >= nextUpdate else { return nil }
    return forcedUpdate(now: now, clock: clock)
  }

  /// The update to send now, due or not (before the connection is closed).
  public mutating func forcedUpdate(now: Deadline, clock: Int64) -> StandbyStatusUpdate {
    replyRequested = false
    lastUpdate = now
    reported = durable
    return StandbyStatusUpdate(received: max(received, durable), flushed: durable, clock: clock)
  }
}
