import LogicalDecoding

/// The parameters of one statement in one reused buffer: C strings, or PostgreSQL's binary form.
struct ParameterBuffer: Sendable {
  private var bytes = ByteWriter()
  /// The start of each parameter in `bytes`; -1 for null.
  private var starts: [Int] = []
  /// The length of each binary parameter.
  private var lengths: [Int32] = []
  /// 1 for binary, 0 for text.
  private var formats: [Int32] = []
  private var scratch: [UInt8] = []

  /// Bytes of the parameters that were filled in last.
  var byteCount: Int { bytes.count }

  init(capacity: Int = 0) { bytes = ByteWriter(capacity: capacity) }

  mutating func reset() {
    bytes.removeAll()
    starts.removeAll(keepingCapacity: true)
    lengths.removeAll(keepingCapacity: true)
    formats.removeAll(keepingCapacity: true)
  }

  mutating func append(_ column: DecodedColumn, of record: UnsafeRawBufferPointer) {
    guard column.form != .null else { return appendNull() }
    scratch.removeAll(keepingCapacity: true)
    appendValue(column, of: record, to: &scratch)
    scratch.append(0)
    starts.append(bytes.count)
    scratch.withUnsafeBytes { bytes.append(contentsOf: $0) }
    lengths.append(0)
    formats.append(0)
  }

  mutating func append(text: String) {
    append(text: { bytes in
      bytes.append(utf8: text)
      bytes.append(UInt8(0))
    })
  }

  /// One parameter that the closure writes, its final NUL included.
  mutating func append(text write: (inout ByteWriter) -> Void) {
    starts.append(bytes.count)
    write(&bytes)
    lengths.append(0)
    formats.append(0)
  }

  /// One parameter in its type's binary form. When the closure returns false there is none.
  mutating func append(binary write: (inout ByteWriter) -> Bool) -> Bool {
    let start = bytes.count
    guard write(&bytes) else {
      bytes.cut(to: start)
      return false
    }
    starts.append(start)
    lengths.append(Int32(bytes.count - start))
    formats.append(1)
    return true
  }

  mutating func appendNull() {
    starts.append(-1)
    lengths.append(0)
    formats.append(0)
  }

  /// The parameters as libpq takes them; all pointers live as long as the call.
  struct View {
    var values: UnsafeBufferPointer<UnsafePointer<CChar>?>
    var lengths: UnsafePointer<Int32>?
    var formats: UnsafePointer<Int32>?
  }

  func withPointers<Result, Failure: Error>(
    _ body: (View) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(bytes) {} }
    let base = bytes.bytes.baseAddress
    let pointers = starts.map { start in
      start < 0 ? nil : base.map { ($0 + start).assumingMemoryBound(to: CChar.self) }
    }
    let outcome: Swift.Result<Result, Failure> = pointers.withUnsafeBufferPointer { values in
      lengths.withUnsafeBufferPointer { lengths in
        formats.withUnsafeBufferPointer { formats in
          do throws(Failure) {
            return .success(
              try body(View(values: values, lengths: lengths.baseAddress, formats: formats.baseAddress)))
          } catch {
            return .failure(error)
          }
        }
      }
    }
    return try outcome.get()
  }
}
