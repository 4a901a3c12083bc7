import OriginSession
import ReplicationModel

/// The transaction that an operator wants left out: which one it is, and what of it has come in.
struct SteppingOver {
  /// It has a `commit` when progress is past it.
  private(set) var order: SteppedOver?
  /// Whether it is the transaction in hand.
  private(set) var isInHand = false
  private var hasSeenNamedRecord = false

  init(_ order: SteppedOver?) { self.order = order }

  mutating func begin(xid: UInt32?) {
    isInHand = order.map { $0.xid == xid && $0.commit == nil } ?? false
    hasSeenNamedRecord = false
  }

  /// A record of it, which is left out whatever it says.
  mutating func leaveOut(_ lsn: LSN) { hasSeenNamedRecord = hasSeenNamedRecord || lsn == order?.lsn }

  mutating func count(_ relation: RelationName) { order?.changes[relation, default: 0] += 1 }

  /// Its COMMIT. Throws where the record that was named is none of its own: the order was for another one.
  mutating func end(_ lsn: LSN) throws(ApplyFailure) {
    guard hasSeenNamedRecord || lsn == order?.lsn else {
      throw ApplyFailure(.unreadable, "the transaction that was to be stepped over is another one now")
    }
    isInHand = false
  }

  /// Progress is past it.
  mutating func committed(_ lsn: LSN) { order?.commit = lsn }
}
