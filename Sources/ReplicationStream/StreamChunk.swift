public import BlockingIO
public import ReplicationModel

/// A run of stream records, packed into one allocation, on its way from the receiving to the applying thread.
public struct StreamChunk: Sendable {
  /// One thing in a chunk.
  public enum Item {
    /// A record of the output plugin; the bytes live as long as the chunk's `storage`.
    case record(lsn: LSN, bytes: UnsafeRawBufferPointer)
    /// Everything committed before this position stands in the chunks before and in this one so far.
    case keepalive(LSN, urgent: Bool)
  }

  /// Filled up to `byteCount`. It holds the records that `forEach` has shown: whoever keeps it keeps them.
  public private(set) var storage: StableBytes
  public private(set) var byteCount = 0
  public private(set) var recordCount = 0

  /// Eight bytes of LSN, four of length, one of kind.
  static let headerLength = 13
  private static let dataKind: UInt8 = 0
  private static let keepaliveKind: UInt8 = 1
  private static let urgentKeepaliveKind: UInt8 = 2

  public init(capacity: Int = 0) { storage = StableBytes(capacity: capacity) }

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
    if end > storage.capacity || !isKnownUniquelyReferenced(&storage) { makeRoom(for: end) }
    let place = storage.base + byteCount
    place.storeBytes(of: lsn.rawValue, as: UInt64.self)
    place.storeBytes(of: UInt32(record.count), toByteOffset: 8, as: UInt32.self)
    place.storeBytes(of: kind, toByteOffset: 12, as: UInt8.self)
    if let source = record.baseAddress {
      (place + Self.headerLength).copyMemory(from: source, byteCount: record.count)
    }
    byteCount = end
  }

  private mutating func makeRoom(for count: Int) {
    let isFull = count > storage.capacity
    storage = StableBytes(filled, capacity: isFull ? max(count, storage.capacity * 2) : storage.capacity)
  }

  private var filled: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: storage.base, count: byteCount) }

  /// Gives up room that is not filled: a queue counts what is in a chunk, not what it takes up.
  mutating func trim() {
    if storage.capacity > byteCount + byteCount / 4 { storage = StableBytes(filled) }
  }

  /// Bytes of memory that it takes up.
  var allocatedBytes: Int { storage.capacity }

  /// Calls the body for each item in order.
  public func forEach<Failure: Error>(_ body: (Item) throws(Failure) -> Void) throws(Failure) {
    defer { withExtendedLifetime(storage) {} }
    let buffer = filled
    var offset = 0
    while offset < buffer.count {
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
  }
}
