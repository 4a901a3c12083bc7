public import ReplicationModel

/// One CopyData message from a walsender.
/// <https://www.postgresql.org/docs/15/protocol-replication.html#PROTOCOL-REPLICATION-XLOGDATA>
public enum StreamMessage: Equatable, Sendable {
  /// `w`: the payload begins at byte 25 of the message. `start` is the record's LSN; for a COMMIT its end.
  case data(start: LSN, walEnd: LSN)
  /// `k`: everything that was committed before `walEnd` has been sent.
  case keepalive(walEnd: LSN, replyRequested: Bool)

  /// The bytes before a data message's payload.
  public static let dataHeaderLength = 25

  public init(_ message: UnsafeRawBufferPointer) throws(MalformedStreamMessage) {
    func number(at offset: Int) -> UInt64 {
      UInt64(bigEndian: message.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    switch message.first {
    case UInt8(ascii: "w"):
      guard message.count >= Self.dataHeaderLength else {
        throw MalformedStreamMessage("XLogData of \(message.count) bytes, shorter than its header")
      }
      self = .data(start: LSN(number(at: 1)), walEnd: LSN(number(at: 9)))
    case UInt8(ascii: "k"):
      guard message.count == 18 else {
        throw MalformedStreamMessage("keepalive of \(message.count) bytes instead of 18")
      }
      self = .keepalive(walEnd: LSN(number(at: 1)), replyRequested: message[17] != 0)
    case let other?:
      throw MalformedStreamMessage("unknown stream message type \(other)")
    case nil:
      throw MalformedStreamMessage("empty stream message")
    }
  }
}

/// A message that the replication protocol does not know.
public struct MalformedStreamMessage: Error, Equatable, Sendable {
  public var reason: String
  public init(_ reason: String) { self.reason = reason }
}

/// `r`: what the receiver has, for the walsender.
/// <https://www.postgresql.org/docs/15/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE>
public struct StandbyStatusUpdate: Equatable, Sendable {
  public var received: LSN
  /// The slot's confirmed flush position moves here: nothing before it will ever be sent again.
  public var flushed: LSN
  /// Microseconds since 2000-01-01 UTC.
  public var clock: Int64

  public init(received: LSN, flushed: LSN, clock: Int64) {
    self.received = received
    self.flushed = flushed
    self.clock = clock
  }

  public var bytes: [UInt8] {
    var result: [UInt8] = [UInt8(ascii: "r")]
    result.reserveCapacity(34)
    for value in [received.rawValue, flushed.rawValue, flushed.rawValue, UInt64(bitPattern: clock)] {
      withUnsafeBytes(of: value.bigEndian) { result.append(contentsOf: $0) }
    }
    result.append(0)
    return result
  }
}
