import ReplicationModel

/// Reads the rows of `COPY (SELECT lsn, data …) TO STDOUT (FORMAT binary)`, one message of the protocol at a time.
/// <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>
struct PulledRows {
  private var isFirst = true

  private static let signature: [UInt8] = [0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00]
  /// The signature, the flags, the length of an extension that no version has.
  private static let headerLength = 19
  /// A row's count of columns, the LSN with its length, the length of the data.
  private static let rowHeaderLength = 2 + 4 + 8 + 4

  init() {}

  mutating func read(
    _ message: UnsafeRawBufferPointer, into chunk: inout StreamChunk
  ) throws(MalformedStreamMessage) {
    var offset = 0
    if isFirst {
      guard message.count >= Self.headerLength, message.prefix(Self.signature.count).elementsEqual(Self.signature)
      else { throw MalformedStreamMessage("a binary COPY without its signature") }
      guard number(message, at: 11) == 0, number(message, at: 15) == 0 else {
        throw MalformedStreamMessage("a binary COPY with flags or an extension")
      }
      offset = Self.headerLength
      isFirst = false
    }
    while offset < message.count {
      guard offset + 2 <= message.count else { throw cut(message) }
      let columns = Int16(bigEndian: message.loadUnaligned(fromByteOffset: offset, as: Int16.self))
      if columns == -1 { return }
      guard columns == 2 else { throw MalformedStreamMessage("a row of \(columns) columns instead of 2") }
      guard offset + Self.rowHeaderLength <= message.count else { throw cut(message) }
      guard number(message, at: offset + 2) == 8 else { throw MalformedStreamMessage("an LSN that is not 8 bytes") }
      let lsn = UInt64(bigEndian: message.loadUnaligned(fromByteOffset: offset + 6, as: UInt64.self))
      let length = Int(number(message, at: offset + 14))
      let start = offset + Self.rowHeaderLength
      guard length >= 0, start + length <= message.count else { throw cut(message) }
      chunk.append(lsn: LSN(lsn), record: UnsafeRawBufferPointer(rebasing: message[start..<start + length]))
      offset = start + length
    }
  }

  private func number(_ message: UnsafeRawBufferPointer, at offset: Int) -> Int32 {
    Int32(bigEndian: message.loadUnaligned(fromByteOffset: offset, as: Int32.self))
  }

  private func cut(_ message: UnsafeRawBufferPointer) -> MalformedStreamMessage {
    MalformedStreamMessage("a row of the COPY is cut off after \(message.count) bytes")
  }
}
