import LogicalDecoding

/// Writes one column of some rows of a batch as an array: in PostgreSQL's binary form where the type has one here, as a
/// literal otherwise.
///
/// The target takes a literal apart character by character and reads each element from text, which is most of what a
/// set-based statement costs there; the binary form of an array it merely copies.
enum ArrayParameter {
  /// - Parameter oid: of the elements' type.
  static func append(
    column: Int, of batch: NetChangeBatch, rows: [Int], as form: BinaryForm?, oid: UInt32,
    to parameters: inout ParameterBuffer
  ) {
    if let form {
      let isWhole = parameters.append(binary: { bytes in
        binary(batch, rows, column, form, oid, to: &bytes)
      })
      if isWhole { return }
    }
    parameters.append(text: { bytes in
      ArrayLiteral.open(&bytes)
      for (index, row) in rows.enumerated() {
        ArrayLiteral.append(batch.value(row, column).bytes, isFirst: index == 0, to: &bytes)
      }
      ArrayLiteral.close(&bytes)
    })
  }

  /// Dimensions, a flag for nulls, the element's type, length and lower bound, then each element with its length (-1 for
  /// null), all big-endian. False where a value has no binary form.
  private static func binary(
    _ batch: NetChangeBatch, _ rows: [Int], _ column: Int, _ form: BinaryForm, _ oid: UInt32,
    to bytes: inout ByteWriter
  ) -> Bool {
    bytes.append(Int32(1))
    let flag = bytes.count
    bytes.append(Int32(0))
    bytes.append(oid)
    bytes.append(Int32(rows.count))
    bytes.append(Int32(1))
    for row in rows {
      if let value = batch.value(row, column).bytes {
        guard form.append(value, to: &bytes) else { return false }
      } else {
        bytes.replace(at: flag, by: Int32(1))
        bytes.append(Int32(-1))
      }
    }
    return true
  }
}

/// Writes one array literal: `{"a","b\"c",NULL}`.
struct ArrayLiteral {
  static func open(_ bytes: inout ByteWriter) { bytes.append(UInt8(ascii: "{")) }

  /// Ends the literal, with the NUL that makes it a C string.
  static func close(_ bytes: inout ByteWriter) {
    bytes.append(UInt8(ascii: "}"))
    bytes.append(UInt8(0))
  }

  /// Every value is quoted, so that only quotes and backslashes need escaping.
  static func append(_ value: UnsafeRawBufferPointer?, isFirst: Bool, to bytes: inout ByteWriter) {
    if !isFirst { bytes.append(UInt8(ascii: ",")) }
    guard let value else { return bytes.append(utf8: "NULL") }
    bytes.append(UInt8(ascii: "\""))
    var plain = 0
    for index in value.indices where value[index] == UInt8(ascii: "\"") || value[index] == UInt8(ascii: "\\") {
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: value[plain..<index]))
      bytes.append(UInt8(ascii: "\\"))
      plain = index
    }
    bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: value[plain...]))
    bytes.append(UInt8(ascii: "\""))
  }
}
