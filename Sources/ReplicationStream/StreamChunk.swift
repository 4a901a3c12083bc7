public import ReplicationModel

/// A run of stream records, packed into one allocation, on its way from the receiving to the applying thread.
public struct StreamChunk: Sendable {
  /// One thing in a chunk.
  public enum Item {
    /// A record of the output plugin; the bytes live as long as the closure that sees them.
    case record(lsn: LSN, bytes: UnsafeRawBufferPointer)
    /// Everything committed before this position stands in the chunks before and in this one so far.
    case keepalive(LSN, urgent: Bool)
  }

  /// Filled up to `byteCount`: a record is copied into it, which appending one piece after the other does more slowly.
  private var bytes: [UInt8]
  public private(set) var byteCount = 0
  public private(set) var recordCount = 0

  /// Eight bytes of LSN, four of length, one of kind.
  private static let headerLength = 13
  private static let dataKind: UInt8 = 0
  private static let keepaliveKind: UInt8 = 1
  private static let urgentKeepaliveKind: UInt8 = 2

  public init(capacity: Int = 0) {
    bytes = [UInt8](repeating: 0, count: capacity)
  }

  public var isEmpty: Bool { byteCount == 0 }

  public mutating func append(lsn: LSN, record: UnsafeRawBufferPointer) {
    append(lsn: lsn, record: record, kind: Self.dataKind)
    recordCount += 1
  }

  public mutating func append(keepalive walEnd: LSN, urgent: Bool) {
    append(
      lsn: walEnd, record: UnsafeRawBufferPointer(start: nil, count: 0),
      kind: urgent ? Self.urgentKeepaliveKind : Self.keepaliveKind)
  }

  private mutating func append(lsn: LSN, record: UnsafeRawBufferPointer, kind: UInt8) {
    let end = byteCount + Self.headerLength + record.count
    if end > bytes.count { grow(toHold: end) }
    bytes.withUnsafeMutableBytes { buffer in
      buffer.storeBytes(of: lsn.rawValue, toByteOffset: byteCount, as: UInt64.self)
      buffer.storeBytes(of: UInt32(record.count), toByteOffset: byteCount + 8, as: UInt32.self)
      buffer[byteCount + 12] = kind
      UnsafeMutableRawBufferPointer(rebasing: buffer[(byteCount + Self.headerLength)..<end]).copyMemory(from: record)
    }
    byteCount = end
  }

  private mutating func grow(toHold count: Int) {
    var grown = [UInt8](repeating: 0, count: max(count, bytes.count * 2))
    grown.withUnsafeMutableBytes { $0.copyBytes(from: bytes[..<byteCount]) }
    bytes = grown
  }

  /// Gives up room that is not filled: a queue counts what is in a chunk, not what it takes up.
  mutating func trim() {
    if bytes.capacity > byteCount + byteCount / 4 { bytes = [UInt8](bytes[..<byteCount]) }
  }

  /// Bytes of memory that it takes up.
  var allocatedBytes: Int { bytes.capacity }

  /// Calls the body for each item in order.
  public func forEach<Failure: Error>(_ body: (Item) throws(Failure) -> Void) throws(Failure) {
    let outcome: Result<Void, Failure> = bytes.withUnsafeBytes { buffer in
      do throws(Failure) {
        var offset = 0
        while offset < byteCount {
          let lsn = LSN(buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
          let length = Int(buffer.loadUnaligned(fromByteOffset: offset + 8, as: UInt32.self))
          let kind = buffer[offset + 12]
          offset += Self.headerLength
          if kind == Self.dataKind {
            try body(.record(lsn: lsn, bytes: UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + length])))
          } else {
            try body(.keepalive(lsn, urgent: kind == Self.urgentKeepaliveKind))
          }
          offset += length
        }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
  }
}
