import ReplicationModel

/// How one column's values travel as an array parameter of a set-based statement.
///
/// The server takes apart a literal byte by byte, twice; the binary form of an array it merely copies. So the types
/// whose binary form is plain (the bytes themselves, or an integer) go that way, whatever the stream's text.
/// <https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES>
enum ArrayForm: Equatable, Sendable {
  /// `{"a","b\"c",NULL}`
  case literal
  /// The value's own bytes: `text`, `varchar`, `character`.
  case text(elementType: UInt32)
  /// A big-endian integer.
  case integer(elementType: UInt32, Width)
  case boolean(elementType: UInt32)

  enum Width: Sendable { case int2, int4, int8, oid }

  /// - Parameter type: `pg_type.oid` of a column's own type; those of built-in types are the same in all versions.
  init(type: UInt32) {
    switch type {
    case 25, 1042, 1043: self = .text(elementType: type)
    case 21: self = .integer(elementType: type, .int2)
    case 23: self = .integer(elementType: type, .int4)
    case 20: self = .integer(elementType: type, .int8)
    case 26: self = .integer(elementType: type, .oid)
    case 16: self = .boolean(elementType: type)
    default: self = .literal
    }
  }
}

extension ParameterBuffer {
  /// One column of some rows of a batch.
  mutating func append(
    column: Int, of batch: NetChangeBatch, rows: [Int], in buffer: UnsafeRawBufferPointer, as form: ArrayForm
  ) throws(ApplyFailure) {
    switch form {
    case .literal:
      append { literal in
        ArrayLiteral.open(&literal)
        for (index, row) in rows.enumerated() {
          ArrayLiteral.append(batch.bytes(row, column, in: buffer), isFirst: index == 0, to: &literal)
        }
        ArrayLiteral.close(&literal)
      }
    case .text(let elementType):
      try append(binary: { bytes throws(ApplyFailure) in
        try BinaryArray.write(batch, rows, column, buffer, elementType, to: &bytes) { value, bytes in
          BinaryArray.append(Int32(truncatingIfNeeded: value.count), to: &bytes)
          bytes.append(contentsOf: value)
          return true
        }
      })
    case .integer(let elementType, let width):
      try append(binary: { bytes throws(ApplyFailure) in
        try BinaryArray.write(batch, rows, column, buffer, elementType, to: &bytes) { value, bytes in
          guard let number = decimalInteger(value) else { return false }
          switch width {
          case .int2: return BinaryArray.append(element: Int16(exactly: number), to: &bytes)
          case .int4: return BinaryArray.append(element: Int32(exactly: number), to: &bytes)
          case .int8: return BinaryArray.append(element: number, to: &bytes)
          case .oid: return BinaryArray.append(element: UInt32(exactly: number), to: &bytes)
          }
        }
      })
    case .boolean(let elementType):
      try append(binary: { bytes throws(ApplyFailure) in
        try BinaryArray.write(batch, rows, column, buffer, elementType, to: &bytes) { value, bytes in
          guard let first = value.first, first == UInt8(ascii: "t") || first == UInt8(ascii: "f") else { return false }
          BinaryArray.append(Int32(1), to: &bytes)
          bytes.append(first == UInt8(ascii: "t") ? 1 : 0)
          return true
        }
      })
    }
  }
}

/// Writes PostgreSQL's binary form of a one-dimensional array: dimensions, a flag for nulls, the element's type,
/// length and lower bound, then each element with its length (-1 for null), all big-endian.
enum BinaryArray {
  static func write(
    _ batch: NetChangeBatch, _ rows: [Int], _ column: Int, _ buffer: UnsafeRawBufferPointer, _ elementType: UInt32,
    to bytes: inout [UInt8], element: (UnsafeRawBufferPointer, inout [UInt8]) -> Bool
  ) throws(ApplyFailure) {
    append(Int32(1), to: &bytes)
    let flag = bytes.count
    append(Int32(0), to: &bytes)
    append(elementType, to: &bytes)
    append(Int32(rows.count), to: &bytes)
    append(Int32(1), to: &bytes)
    for row in rows {
      guard let value = batch.bytes(row, column, in: buffer) else {
        bytes[flag + 3] = 1
        append(Int32(-1), to: &bytes)
        continue
      }
      guard element(value, &bytes) else {
        throw ApplyFailure(
          .batchMismatch, "'\(String(decoding: value, as: UTF8.self))' is no value of its column's type")
      }
    }
  }

  /// False when the number is beyond the element's type.
  @inline(__always)
  static func append<Number: FixedWidthInteger>(element: Number?, to bytes: inout [UInt8]) -> Bool {
    guard let element else { return false }
    append(Int32(MemoryLayout<Number>.size), to: &bytes)
    append(element, to: &bytes)
    return true
  }

  @inline(__always)
  static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
  }
}

/// The number in plain decimal digits with an optional minus; nil for anything else, and beyond 64 bits.
@inline(__always)
func decimalInteger(_ text: UnsafeRawBufferPointer) -> Int64? {
  let isNegative = text.first == UInt8(ascii: "-")
  let digits = isNegative ? UnsafeRawBufferPointer(rebasing: text[1...]) : text
  // Nineteen digits may go beyond, and only one number of that length with a minus does not fit its magnitude.
  guard !digits.isEmpty, digits.count <= 19 else { return nil }
  var magnitude: UInt64 = 0
  for byte in digits {
    let digit = byte &- UInt8(ascii: "0")
    guard digit <= 9 else { return nil }
    magnitude = magnitude &* 10 &+ UInt64(digit)
  }
  if isNegative { return magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil }
  return magnitude < 1 << 63 ? Int64(magnitude) : nil
}
