import BlockingIO

/// Bytes that are appended one after the other, without the checks that an array pays for each.
///
/// A copy of the value shares the bytes, so only one of them may go on writing.
struct ByteWriter: @unchecked Sendable {
  private var storage: StableBytes
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var count = 0

  init(capacity: Int = 0) {
    storage = StableBytes(capacity: capacity)
    base = storage.base
    self.capacity = storage.capacity
  }

  /// They live as long as the writer, and stay where they are until it grows.
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  mutating func removeAll() { count = 0 }

  /// Takes back what was written behind a place.
  mutating func cut(to count: Int) { self.count = min(self.count, count) }

  @inline(__always)
  mutating func append(contentsOf bytes: UnsafeRawBufferPointer) {
    if bytes.count > capacity &- count { grow(by: bytes.count) }
    if let source = bytes.baseAddress { (base + count).copyMemory(from: source, byteCount: bytes.count) }
    count &+= bytes.count
  }

  mutating func append(utf8 text: String) {
    var text = text
    text.withUTF8 { append(contentsOf: UnsafeRawBufferPointer($0)) }
  }

  /// In network order.
  @inline(__always)
  mutating func append<Number: FixedWidthInteger & BitwiseCopyable>(_ number: Number) {
    let size = MemoryLayout<Number>.size
    if size > capacity &- count { grow(by: size) }
    base.storeBytes(of: number.bigEndian, toByteOffset: count, as: Number.self)
    count &+= size
  }

  /// Writes a number, in network order, over bytes that are there.
  @inline(__always)
  mutating func replace<Number: FixedWidthInteger & BitwiseCopyable>(at offset: Int, by number: Number) {
    precondition(offset >= 0 && offset + MemoryLayout<Number>.size <= count)
    base.storeBytes(of: number.bigEndian, toByteOffset: offset, as: Number.self)
  }

  @inline(never)
  private mutating func grow(by more: Int) {
    storage = StableBytes(bytes, capacity: max(count + more, capacity + capacity / 2, 256))
    base = storage.base
    capacity = storage.capacity
  }
}
