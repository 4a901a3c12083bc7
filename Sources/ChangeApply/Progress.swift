public import ReplicationModel

/// Every position of one stream that its worker knows, and how they stand to each other.
///
/// What always holds, whatever the source and the target say:
///
///     start ≤ confirmed ≤ durable ≤ recorded ≤ sent ≤ position ≤ received
///
/// and `position` and `lastRecord` are not beyond `replayEnd`. None of them ever goes back: what a peer says of an
/// earlier place changes nothing. `sourceEnd` and `strictUntil` were known before and stand anywhere. `lastRecord` may
/// be before `position`, or beyond it: the records of a transaction may stand before the COMMIT of another in the WAL. A
/// keepalive may be beyond `replayEnd`, for it moves nothing while a transaction comes in.
///
/// Written by `GroupMachine` alone; everybody else reads it.
public struct Progress: Sendable, Equatable {
  /// The origin's progress when the stream was asked for; everything else begins there.
  public let start: LSN
  /// Where the source's WAL ended then.
  public let sourceEnd: LSN
  /// Up to here every source transaction is applied on its own, change by change in the stream's order.
  public let strictUntil: LSN
  /// The furthest record that came in.
  public private(set) var lastRecord = LSN.invalid
  /// The furthest position that a keepalive named. It counts only where nothing before it is unapplied.
  public private(set) var keepalive = LSN.invalid
  /// Everything committed before it is in the target, under way there, in the open group, or was empty.
  public private(set) var position: LSN
  /// The progress of the last group that was closed: what the origin has when all is well with what is under way.
  public private(set) var sent: LSN
  /// What the origin has, or will have when the server's WAL is flushed.
  public private(set) var recorded: LSN
  /// The part of `recorded` that survives a crash of the target.
  public private(set) var durable: LSN
  /// What the source has been told: it throws away everything before it.
  public private(set) var confirmed: LSN

  public init(start: LSN, sourceEnd: LSN = .invalid, strictUntil: LSN = .invalid) {
    self.start = start
    self.sourceEnd = sourceEnd
    self.strictUntil = strictUntil
    (position, sent, recorded, durable, confirmed) = (start, start, start, start, start)
  }

  /// How far the stream has come, applied or not.
  public var received: LSN { max(start, lastRecord, keepalive) }

  /// Where a replay of the group in hand may send sets again: behind all that came in, and behind the transaction that
  /// is under way, whose records may stand before the last COMMIT in the WAL.
  public var replayEnd: LSN { max(lastRecord, LSN(position.rawValue == .max ? .max : position.rawValue + 1)) }

  /// Whether the stream has to be applied one transaction at a time still.
  var isStrict: Bool { position < strictUntil }

  // MARK: what happens

  @inline(__always)
  mutating func received(record lsn: LSN) { lastRecord = max(lastRecord, lsn) }

  mutating func received(keepalive walEnd: LSN) { keepalive = max(keepalive, walEnd) }

  /// Nothing that came in before `lsn` is left: it has been received as a COMMIT, or as a keepalive between two
  /// transactions.
  mutating func reached(_ lsn: LSN) { position = max(position, min(lsn, received)) }

  /// The open group is closed, with all that there is.
  mutating func closedGroup() { sent = position }

  mutating func committed(_ lsn: LSN) { recorded = max(recorded, min(lsn, sent)) }

  /// - Parameter lsn: what the target calls durable, which may be an answer of some time ago.
  mutating func flushed(_ lsn: LSN) { durable = max(durable, min(lsn, recorded)) }

  /// What the source is to be told now; nil where it knows.
  mutating func confirm() -> LSN? {
    guard durable > confirmed else { return nil }
    confirmed = durable
    return durable
  }

  // MARK: what holds

  /// The first rule that does not hold. There is none, whatever a peer has said: checked by tests, and by debug builds
  /// whenever something is closed, committed, flushed or confirmed.
  var breach: String? {
    let chain = [
      ("start", start), ("confirmed", confirmed), ("durable", durable), ("recorded", recorded), ("sent", sent),
      ("position", position), ("received", received),
    ]
    let pairs = Array(zip(chain, chain.dropFirst())) + [(chain[5], ("replayEnd", replayEnd))]
    for ((lower, one), (upper, other)) in pairs where one > other {
      return "\(lower) \(one) is beyond \(upper) \(other)"
    }
    return lastRecord > replayEnd ? "the last record \(lastRecord) is beyond replayEnd \(replayEnd)" : nil
  }
}
