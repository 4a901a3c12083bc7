/// JSON's lexical side, by hand, for `decode` and for every document: bytes go from a record into the output without a
/// `String` in between. Inlinable, since `decode` calls it for every column from another room.
extension [UInt8] {
  /// The bytes of a text that is known to the compiler.
  @inlinable @inline(__always)
  package mutating func append(literal: StaticString) {
    append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
  }

  /// A JSON number.
  @inlinable
  package mutating func append(decimal number: UInt32) {
    append(contentsOf: String(number).utf8)
  }

  /// `true` or `false`.
  @inlinable
  package mutating func append(json flag: Bool) {
    append(literal: flag ? "true" : "false")
  }

  /// A JSON string of a text that is UTF-8; non-ASCII stays as it is.
  @inlinable
  package mutating func append(jsonString text: String) {
    var text = text
    text.withUTF8 { append(jsonString: UnsafeRawBufferPointer($0)) }
  }

  /// The same of bytes that are known to be UTF-8.
  @inlinable
  package mutating func append(jsonString text: UnsafeRawBufferPointer) {
    append(UInt8(ascii: "\""))
    append(jsonEscaped: text)
    append(UInt8(ascii: "\""))
  }

  /// A JSON string of two hexadecimal digits a byte.
  @inlinable
  package mutating func append(hexadecimal bytes: UnsafeRawBufferPointer) {
    append(UInt8(ascii: "\""))
    for byte in bytes {
      append(Self.hexadecimalDigit(byte >> 4))
      append(Self.hexadecimalDigit(byte & 15))
    }
    append(UInt8(ascii: "\""))
  }

  /// What stands between the quotes of a JSON string: quotes, backslashes and control characters escaped.
  @inlinable
  package mutating func append(jsonEscaped text: UnsafeRawBufferPointer) {
    var start = 0
    while true {
      let end = Self.firstSpecial(text, from: start)
      append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<end]))
      guard end < text.count else { return }
      append(escape: text[end])
      start = end + 1
    }
  }

  @inlinable
  mutating func append(escape byte: UInt8) {
    append(UInt8(ascii: "\\"))
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): append(byte)
    case UInt8(ascii: "\n"): append(UInt8(ascii: "n"))
    case UInt8(ascii: "\r"): append(UInt8(ascii: "r"))
    case UInt8(ascii: "\t"): append(UInt8(ascii: "t"))
    case 0x08: append(UInt8(ascii: "b"))
    case 0x0C: append(UInt8(ascii: "f"))
    default:
      append(literal: "u00")
      append(Self.hexadecimalDigit(byte >> 4))
      append(Self.hexadecimalDigit(byte & 15))
    }
  }

  @inlinable
  static func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }

  /// The next control character, quote or backslash; `text.count` when there is none. Eight bytes at a time: the
  /// high bit of each byte of `found` says whether that byte is below 0x20, or equal to one of the two.
  @inlinable
  static func firstSpecial(_ text: UnsafeRawBufferPointer, from start: Int) -> Int {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let highs: UInt64 = 0x8080_8080_8080_8080
    var offset = start
    while text.count &- offset >= 8 {
      let word = UInt64(littleEndian: text.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      let quote = word ^ (ones &* 0x22)
      let backslash = word ^ (ones &* 0x5C)
      let control = (word &- ones &* 0x20) & ~word
      let found = (control | ((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash)) & highs
      // Borrows can only mark bytes above the first one that is really found, so the lowest mark is right.
      if found != 0 { return offset &+ found.trailingZeroBitCount / 8 }
      offset &+= 8
    }
    while offset < text.count {
      let byte = text[offset]
      if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return offset }
      offset &+= 1
    }
    return offset
  }
}
