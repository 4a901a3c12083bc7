import LogicalDecoding
import ReplicationModel

/// The markers that have come in, each with how many changes had been seen before it.
struct Markers {
  typealias Marker = (nonce: String, changes: UInt64)

  /// Of the transaction in hand.
  var inTransaction: [Marker] = []
  /// Of the open group: announced with its COMMIT.
  var inGroup: [Marker] = []

  mutating func endTransaction() {
    guard !inTransaction.isEmpty else { return }
    inGroup += inTransaction
    inTransaction.removeAll()
  }
}

/// Messages by which somebody finds a point in the stream.
extension ChangeApplier {
  func announcement(_ marker: Markers.Marker, at position: LSN) -> String {
    MarkerAnnouncement(nonce: marker.nonce, lsn: position, changes: marker.changes, applier: identity).payload
  }

  /// Any role may emit a message with any content, so only what could be a nonce of ours is taken for one.
  func markerNonce(_ prefix: Span, _ content: Span, _ record: UnsafeRawBufferPointer) -> String? {
    guard prefix.count == Self.markerPrefix.utf8.count, (1...64).contains(content.count),
      record[prefix.start..<prefix.end].elementsEqual(Self.markerPrefix.utf8)
    else { return nil }
    let nonce = record[content.start..<content.end]
    let isHexadecimal = nonce.allSatisfy { byte in
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
    return isHexadecimal ? String(decoding: nonce, as: UTF8.self) : nil
  }
}
