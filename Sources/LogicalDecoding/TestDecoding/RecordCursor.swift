import Glibc

/// A position in one record, and the tokens of test_decoding's grammar.
///
/// Reads never leave `0..<count`: each read is behind a comparison with `count`, and memchr and memcmp get the bytes
/// that are left. An error at offset `count` means that the record ended too early; any other offset names the byte
/// that can't stand there.
struct RecordCursor {
  let base: UnsafeRawPointer
  let count: Int
  var offset = 0

  @inline(__always)
  init(base: UnsafeRawPointer, count: Int) {
    self.base = base
    self.count = count
  }

  @inline(__always)
  func byte(at position: Int) -> UInt8 {
    base.load(fromByteOffset: position, as: UInt8.self)
  }

  @inline(__always)
  var isAtEnd: Bool { offset == count }

  /// Whether the byte at the cursor is this one; false at the end.
  @inline(__always)
  func isAt(_ character: Unicode.Scalar) -> Bool {
    offset < count && byte(at: offset) == UInt8(truncatingIfNeeded: character.value)
  }

  @inline(__always)
  func starts(with literal: StaticString) -> Bool {
    count &- offset >= literal.utf8CodeUnitCount
      && memcmp(base + offset, literal.utf8Start, literal.utf8CodeUnitCount) == 0
  }

  /// Steps over the literal if it stands here.
  @inline(__always)
  mutating func skip(_ literal: StaticString) -> Bool {
    guard starts(with: literal) else { return false }
    offset &+= literal.utf8CodeUnitCount
    return true
  }

  @inline(__always)
  mutating func expect(_ literal: StaticString, _ reason: StaticString) throws(MalformedRecord) {
    guard skip(literal) else { throw mismatch(literal, reason) }
  }

  @inline(__always)
  func expectEnd() throws(MalformedRecord) {
    guard offset == count else { throw trailingBytes() }
  }

  /// The position of the next such byte at or behind `start`.
  @inline(__always)
  func find(_ character: UInt8, from start: Int) -> Int? {
    guard let hit = memchr(base + start, Int32(character), count &- start) else { return nil }
    return UnsafeRawPointer(hit) - base
  }

  // MARK: Tokens

  /// An identifier as quote_identifier() writes it: `[a-z_][a-z0-9_]*`, or anything in double quotes, inner ones
  /// doubled. The span includes the quotes.
  @inline(__always)
  mutating func identifier() throws(MalformedRecord) -> Span {
    let start = offset
    guard start < count else { throw fail("expected a name") }
    let first = byte(at: start)
    if first == UInt8(ascii: "\"") {
      try skipDoubleQuoted()
      return Span(start, offset)
    }
    guard Self.startsName(first) else { throw fail("expected a name") }
    var position = start &+ 1
    while position < count, Self.continuesName(byte(at: position)) { position &+= 1 }
    offset = position
    return Span(start, position)
  }

  /// The cursor stands on the opening quote; afterwards it stands behind the closing one.
  mutating func skipDoubleQuoted() throws(MalformedRecord) {
    let opening = offset
    var from = opening &+ 1
    while let quote = find(UInt8(ascii: "\""), from: from) {
      if quote &+ 1 < count, byte(at: quote &+ 1) == UInt8(ascii: "\"") {
        from = quote &+ 2
        continue
      }
      offset = quote &+ 1
      guard quote > opening &+ 1 else { throw fail("a name cannot be empty", at: opening) }
      return
    }
    throw fail("a double-quoted name is not closed", at: count)
  }

  /// A type's name as format_type_be() writes it, up to the `]` that closes it. Array types end in `[]`; names that
  /// need it are in double quotes and may hold brackets.
  @inline(__always)
  mutating func typeName() throws(MalformedRecord) -> Span {
    let start = offset
    while offset < count {
      let next = byte(at: offset)
      switch next {
      case UInt8(ascii: "]"):
        guard offset > start else { throw fail("expected the name of a type") }
        return Span(start, offset)
      case UInt8(ascii: "["):
        guard offset &+ 1 < count else { throw fail("expected ']' after '[' in the name of a type", at: count) }
        guard byte(at: offset &+ 1) == UInt8(ascii: "]") else {
          throw fail("expected ']' after '[' in the name of a type", at: offset &+ 1)
        }
        offset &+= 2
      case UInt8(ascii: "\""):
        try skipDoubleQuoted()
      case 0..<0x20, UInt8(ascii: "'"):
        throw fail("expected the name of a type and ']'")
      default:
        offset &+= 1
      }
    }
    throw fail("expected ']' after the name of a type")
  }

  /// The inside of a text in single quotes; the cursor stands on the opening one. `''` is the only escape: a
  /// backslash is a backslash.
  @inline(__always)
  mutating func singleQuoted() throws(MalformedRecord) -> (inside: Span, doubled: Bool) {
    let start = offset &+ 1
    var from = start
    var doubled = false
    while let quote = find(UInt8(ascii: "'"), from: from) {
      if quote &+ 1 < count, byte(at: quote &+ 1) == UInt8(ascii: "'") {
        doubled = true
        from = quote &+ 2
        continue
      }
      offset = quote &+ 1
      return (Span(start, quote), doubled)
    }
    throw fail("a quoted value is not closed", at: count)
  }

  /// The digits of `B'…'`; the cursor stands on the `B`.
  mutating func bitString() throws(MalformedRecord) -> Span {
    offset &+= 1
    guard isAt("'") else { throw fail("expected a quote after 'B'") }
    offset &+= 1
    let start = offset
    while offset < count, byte(at: offset) | 1 == UInt8(ascii: "1") { offset &+= 1 }
    guard isAt("'") else { throw fail("expected a bit or a closing quote") }
    offset &+= 1
    return Span(start, offset &- 1)
  }

  /// What PostgreSQL prints for int2, int4, int8, oid, float4, float8 and numeric.
  @inline(__always)
  mutating func number() throws(MalformedRecord) -> Span {
    let start = offset
    if isAt("-") { offset &+= 1 }
    guard offset < count else { throw fail("expected a value") }
    guard Self.isDigit(byte(at: offset)) else {
      if isAt("I") {
        try expect("Infinity", "expected a value")
      } else if isAt("N"), offset == start {
        try expect("NaN", "expected a value")
      } else {
        throw fail("expected a value")
      }
      return Span(start, offset)
    }
    skipDigits()
    if isAt(".") {
      offset &+= 1
      try digits()
    }
    if isAt("e") {
      offset &+= 1
      if isAt("+") || isAt("-") { offset &+= 1 }
      try digits()
    }
    return Span(start, offset)
  }

  /// A transaction id, or another number below 2^32, as `%u` prints it.
  mutating func xid() throws(MalformedRecord) -> UInt32 {
    let start = offset
    try digits("expected a transaction id")
    guard byte(at: start) != UInt8(ascii: "0") || offset == start + 1 else {
      throw fail("a transaction id has no leading zero", at: start + 1)
    }
    var value: UInt32 = 0
    for position in start..<offset {
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = tens.addingReportingOverflow(UInt32(byte(at: position) &- UInt8(ascii: "0")))
      guard !overflow, !carry else { throw fail("a transaction id is below 2^32", at: position) }
      value = sum
    }
    return value
  }

  private mutating func digits(_ reason: StaticString = "expected a digit") throws(MalformedRecord) {
    let start = offset
    skipDigits()
    guard offset > start else { throw fail(reason) }
  }

  @inline(__always)
  private mutating func skipDigits() {
    while offset < count, Self.isDigit(byte(at: offset)) { offset &+= 1 }
  }

  // MARK: Character classes

  @inline(__always)
  static func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

  @inline(__always)
  static func startsName(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "a") < 26 || byte == UInt8(ascii: "_") }

  @inline(__always)
  static func continuesName(_ byte: UInt8) -> Bool { startsName(byte) || isDigit(byte) }

  // MARK: Errors

  @inline(never)
  func fail(_ reason: StaticString, at position: Int? = nil) -> MalformedRecord {
    MalformedRecord(offset: position ?? offset, reason: "\(reason)")
  }

  /// Points at the first byte that differs from the literal.
  @inline(never)
  func mismatch(_ literal: StaticString, _ reason: StaticString) -> MalformedRecord {
    MalformedRecord(offset: offset + sharedPrefix(with: literal), reason: "\(reason)")
  }

  /// How many bytes from here on are those of the literal.
  func sharedPrefix(with literal: StaticString) -> Int {
    var shared = 0
    while shared < literal.utf8CodeUnitCount, offset + shared < count,
      byte(at: offset + shared) == literal.utf8Start[shared]
    {
      shared += 1
    }
    return shared
  }

  @inline(never)
  func trailingBytes() -> MalformedRecord {
    isAt("\r")
      ? fail("a carriage return at the end of the record; lines end in a line feed alone")
      : fail("expected the end of the record")
  }
}
