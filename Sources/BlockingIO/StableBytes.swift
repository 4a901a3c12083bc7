/// Bytes at an address that stays, for as long as anybody holds them.
///
/// `@unchecked Sendable`: one thread fills them, before it passes them on; afterwards nobody writes any more.
public final class StableBytes: @unchecked Sendable {
  public let base: UnsafeMutableRawPointer
  public let capacity: Int

  /// Not filled with anything.
  public init(capacity: Int) {
    base = UnsafeMutableRawPointer.allocate(byteCount: max(capacity, 1), alignment: 16)
    self.capacity = capacity
  }

  /// A copy.
  public convenience init(_ bytes: UnsafeRawBufferPointer, capacity: Int? = nil) {
    self.init(capacity: max(capacity ?? bytes.count, bytes.count))
    if let source = bytes.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
  }

  deinit {
    #if DEBUG
      // Whoever still reads it is to notice.
      base.initializeMemory(as: UInt8.self, repeating: 0xDD, count: capacity)
    #endif
    base.deallocate()
  }
}
