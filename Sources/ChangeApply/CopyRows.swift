/// Writes rows of COPY's binary format.
/// <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>
struct CopyBinary {
  /// The signature, no flags, no extension.
  private static let header: [UInt8] = [
    0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00, 0, 0, 0, 0, 0, 0, 0, 0,
  ]

  /// - Parameter columns: of the batch, with their types' forms.
  /// - Returns: false where a value has no binary form.
  static func append(
    _ batch: NetChangeBatch, rows: [Int], columns: [(column: Int, form: BinaryForm)], to bytes: inout ByteWriter
  ) -> Bool {
    header.withUnsafeBytes { bytes.append(contentsOf: $0) }
    for row in rows {
      bytes.append(Int16(truncatingIfNeeded: columns.count))
      for (column, form) in columns {
        if let value = batch.value(row, column).bytes {
          guard form.append(value, to: &bytes) else { return false }
        } else {
          bytes.append(Int32(-1))
        }
      }
    }
    bytes.append(Int16(-1))
    return true
  }
}

/// Writes rows of COPY's text format.
/// <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2>
struct CopyText {
  static func append(_ value: UnsafeRawBufferPointer?, isFirst: Bool, to bytes: inout ByteWriter) {
    if !isFirst { bytes.append(UInt8(ascii: "\t")) }
    guard let value else { return bytes.append(utf8: "\\N") }
    var plain = 0
    var index = 0
    while true {
      index = firstSpecial(value, from: index)
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: value[plain..<index]))
      guard index < value.count else { return }
      bytes.append(UInt8(ascii: "\\"))
      switch value[index] {
      case UInt8(ascii: "\n"): bytes.append(UInt8(ascii: "n"))
      case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "r"))
      case UInt8(ascii: "\t"): bytes.append(UInt8(ascii: "t"))
      default: bytes.append(value[index])
      }
      index += 1
      plain = index
    }
  }

  /// Where the next byte stands that needs a backslash, or the end. Eight at a time, as there are few.
  private static func firstSpecial(_ value: UnsafeRawBufferPointer, from start: Int) -> Int {
    var index = start
    while index + 8 <= value.count {
      let word = value.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      let backslashes = word ^ (0x5C &* ones)
      // The highest bit of each byte that is below 0x20 or a backslash. A borrow may set one too many, behind a true one.
      let found = ((word &- 0x20 &* ones) & ~word | (backslashes &- ones) & ~backslashes) & (0x80 &* ones)
      if found == 0 {
        index += 8
        continue
      }
      let end = index + 8
      while index < end, !isSpecial(value[index]) { index += 1 }
      if index < end { return index }
    }
    while index < value.count, !isSpecial(value[index]) { index += 1 }
    return index
  }

  private static let ones: UInt64 = 0x0101_0101_0101_0101

  @inline(__always)
  private static func isSpecial(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\t")
  }

  static func endRow(_ bytes: inout ByteWriter) { bytes.append(UInt8(ascii: "\n")) }
}
