import LogicalDecoding

/// The parameters of one statement in one reused buffer: C strings, or PostgreSQL's binary form.
struct ParameterBuffer {
  private var bytes: [UInt8] = []
  /// The start of each parameter in `bytes`; -1 for null.
  private var starts: [Int] = []
  /// The length of each binary parameter.
  private var lengths: [Int32] = []
  /// 1 for binary, 0 for text.
  private var formats: [Int32] = []
  private var pointers: [UnsafePointer<CChar>?] = []

  /// Bytes of the parameters that were filled in last.
  var byteCount: Int { bytes.count }

  mutating func reset() {
    bytes.removeAll(keepingCapacity: true)
    starts.removeAll(keepingCapacity: true)
    lengths.removeAll(keepingCapacity: true)
    formats.removeAll(keepingCapacity: true)
  }

  mutating func append(_ column: DecodedColumn, of record: UnsafeRawBufferPointer) {
    guard column.form != .null else { return appendNull() }
    append { bytes in
      appendValue(column, of: record, to: &bytes)
      bytes.append(0)
    }
  }

  mutating func append(text: String) {
    append { bytes in
      bytes.append(contentsOf: text.utf8)
      bytes.append(0)
    }
  }

  /// One parameter that the closure writes, its final NUL included.
  mutating func append(_ write: (inout [UInt8]) -> Void) {
    starts.append(bytes.count)
    write(&bytes)
    lengths.append(0)
    formats.append(0)
  }

  /// One parameter in its type's binary form.
  mutating func append<Failure: Error>(
    binary write: (inout [UInt8]) throws(Failure) -> Void
  ) throws(Failure) {
    let start = bytes.count
    starts.append(start)
    try write(&bytes)
    lengths.append(Int32(bytes.count - start))
    formats.append(1)
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

  mutating func withPointers<Result, Failure: Error>(
    _ body: (View) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let outcome: Swift.Result<Result, Failure> = bytes.withUnsafeBytes { buffer in
      pointers.removeAll(keepingCapacity: true)
      for start in starts {
        pointers.append(start < 0 ? nil : (buffer.baseAddress! + start).assumingMemoryBound(to: CChar.self))
      }
      return pointers.withUnsafeBufferPointer { values in
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
    }
    return try outcome.get()
  }
}
