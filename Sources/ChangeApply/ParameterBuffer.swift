import LogicalDecoding

/// The parameters of one statement as C strings in one reused buffer.
struct ParameterBuffer {
  private var bytes: [UInt8] = []
  /// The start of each parameter in `bytes`; -1 for null.
  private var starts: [Int] = []
  private var pointers: [UnsafePointer<CChar>?] = []

  /// Bytes of the parameters that were filled in last.
  var byteCount: Int { bytes.count }

  mutating func reset() {
    bytes.removeAll(keepingCapacity: true)
    starts.removeAll(keepingCapacity: true)
  }

  mutating func append(_ column: DecodedColumn, of record: UnsafeRawBufferPointer) {
    guard column.form != .null else {
      starts.append(-1)
      return
    }
    starts.append(bytes.count)
    appendValue(column, of: record, to: &bytes)
    bytes.append(0)
  }

  mutating func append(text: String) {
    starts.append(bytes.count)
    bytes.append(contentsOf: text.utf8)
    bytes.append(0)
  }

  /// One parameter that the closure writes, its final NUL included.
  mutating func append(_ write: (inout [UInt8]) -> Void) {
    starts.append(bytes.count)
    write(&bytes)
  }

  mutating func appendNull() {
    starts.append(-1)
  }

  /// The pointers live as long as the call.
  mutating func withPointers<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<UnsafePointer<CChar>?>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let outcome: Swift.Result<Result, Failure> = bytes.withUnsafeBytes { buffer in
      pointers.removeAll(keepingCapacity: true)
      for start in starts {
        pointers.append(start < 0 ? nil : (buffer.baseAddress! + start).assumingMemoryBound(to: CChar.self))
      }
      return pointers.withUnsafeBufferPointer { list in
        do throws(Failure) { return .success(try body(list)) } catch { return .failure(error) }
      }
    }
    return try outcome.get()
  }
}
