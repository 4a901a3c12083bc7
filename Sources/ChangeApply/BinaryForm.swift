import Glibc
import PostgresClient

/// A type whose binary form can be made of the text that the stream carries, without a doubt about its meaning.
///
/// Reading text is much of what the target does with a row: the binary form it merely copies, and checks. A text that is
/// not of the form in which a server prints the type's ordinary values under `canonicalTextSettings` has no binary form
/// here; it goes as text, and the server judges it. Lengths and precisions are the server's matter in both forms.
/// <https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES>
enum BinaryForm: Equatable, Sendable {
  /// The value's own bytes: `text`, `varchar`, `character`, `name`, `json`, the label of an enum.
  case text
  case boolean
  case int2, int4, int8, oid
  case float4, float8
  case numeric
  case date, time, timestamp, timestampWithZone
  case uuid
  case bytea
  case jsonb

  /// - Parameter type: `pg_type.oid` of a built-in type, which is the same in all versions.
  init?(type: UInt32) {
    switch type {
    case 16: self = .boolean
    case 17: self = .bytea
    case 19, 25, 114, 1042, 1043: self = .text
    case 20: self = .int8
    case 21: self = .int2
    case 23: self = .int4
    case 26: self = .oid
    case 700: self = .float4
    case 701: self = .float8
    case 1082: self = .date
    case 1083: self = .time
    case 1114: self = .timestamp
    case 1184: self = .timestampWithZone
    case 1700: self = .numeric
    case 2950: self = .uuid
    case 3802: self = .jsonb
    default: return nil
    }
  }

  /// Whether it is microseconds, as in servers with `integer_datetimes`.
  var countsMicroseconds: Bool { self == .time || self == .timestamp || self == .timestampWithZone }

  /// Appends the length of the binary form, four bytes, and the form itself: what an array and a row of COPY have of
  /// each value. False, with nothing appended, where the text has none.
  @inline(__always)
  func append(_ text: UnsafeRawBufferPointer, to bytes: inout ByteWriter) -> Bool {
    switch self {
    case .text:
      bytes.append(Int32(truncatingIfNeeded: text.count))
      bytes.append(contentsOf: text)
      return true
    case .int4: return Self.append(decimalInteger(text).flatMap { Int32(exactly: $0) }, to: &bytes)
    case .int8: return Self.append(decimalInteger(text), to: &bytes)
    case .timestamp: return Self.append(DateTimeText.timestamp(text, zone: false), to: &bytes)
    case .timestampWithZone: return Self.append(DateTimeText.timestamp(text, zone: true), to: &bytes)
    case .numeric: return NumericText.append(text, to: &bytes)
    default: return appendOther(text, to: &bytes)
    }
  }

  @inline(never)
  private func appendOther(_ text: UnsafeRawBufferPointer, to bytes: inout ByteWriter) -> Bool {
    switch self {
    case .boolean:
      guard let value = Self.boolean(text) else { return false }
      bytes.append(Int32(1))
      bytes.append(value ? UInt8(1) : 0)
      return true
    case .int2: return Self.append(decimalInteger(text).flatMap { Int16(exactly: $0) }, to: &bytes)
    case .oid: return Self.append(decimalInteger(text).flatMap { UInt32(exactly: $0) }, to: &bytes)
    case .float4: return Self.append(Self.number(text) { strtof($0, $1) }?.bitPattern, to: &bytes)
    case .float8: return Self.append(Self.number(text) { strtod($0, $1) }?.bitPattern, to: &bytes)
    case .date: return Self.append(DateTimeText.date(text), to: &bytes)
    case .time: return Self.append(DateTimeText.time(text), to: &bytes)
    case .uuid: return Self.appendUUID(text, to: &bytes)
    case .bytea:
      guard text.count >= 2, text[0] == UInt8(ascii: "\\"), text[1] == UInt8(ascii: "x"), text.count % 2 == 0 else {
        return false
      }
      let start = bytes.count
      bytes.append(Int32(truncatingIfNeeded: (text.count - 2) / 2))
      for index in stride(from: 2, to: text.count, by: 2) {
        guard let byte = Self.hexadecimal(text[index], text[index + 1]) else {
          bytes.cut(to: start)
          return false
        }
        bytes.append(byte)
      }
      return true
    case .jsonb:
      bytes.append(Int32(truncatingIfNeeded: text.count + 1))
      bytes.append(UInt8(1))
      bytes.append(contentsOf: text)
      return true
    case .text, .int4, .int8, .timestamp, .timestampWithZone, .numeric: return false
    }
  }

  /// False when there is no number.
  @inline(__always)
  private static func append<Number: FixedWidthInteger & BitwiseCopyable>(
    _ number: Number?, to bytes: inout ByteWriter
  ) -> Bool {
    guard let number else { return false }
    bytes.append(Int32(MemoryLayout<Number>.size))
    bytes.append(number)
    return true
  }

  /// `t` and `f` of pgoutput, `true` and `false` of test_decoding.
  private static func boolean(_ text: UnsafeRawBufferPointer) -> Bool? {
    if text.elementsEqual("t".utf8) || text.elementsEqual("true".utf8) { return true }
    if text.elementsEqual("f".utf8) || text.elementsEqual("false".utf8) { return false }
    return nil
  }

  /// What the server itself reads such a number with. Nil for `NaN`, the infinities, and what is beyond the type.
  private static func number<Number: BinaryFloatingPoint>(
    _ text: UnsafeRawBufferPointer,
    _ read: (UnsafePointer<CChar>, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Number
  ) -> Number? {
    guard (1...64).contains(text.count), text.allSatisfy(isOfNumber) else { return nil }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: text.count + 1) { copy in
      guard let start = copy.baseAddress else { return nil }
      for index in text.indices { copy[index] = CChar(bitPattern: text[index]) }
      copy[text.count] = 0
      var end: UnsafeMutablePointer<CChar>?
      errno = 0
      let number = read(start, &end)
      // A number too small for full precision is out of range to the C library, not to the server; one that became 0 is.
      let isInRange = errno == 0 || number != 0
      return isInRange && end == start + text.count && number.isFinite ? number : nil
    }
  }

  private static func isOfNumber(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
      || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "e")
  }

  private static func appendUUID(_ text: UnsafeRawBufferPointer, to bytes: inout ByteWriter) -> Bool {
    guard text.count == 36 else { return false }
    let start = bytes.count
    bytes.append(Int32(16))
    var index = 0
    while index < text.count {
      if index == 8 || index == 13 || index == 18 || index == 23 {
        guard text[index] == UInt8(ascii: "-") else { break }
        index += 1
      }
      guard let byte = hexadecimal(text[index], text[index + 1]) else { break }
      bytes.append(byte)
      index += 2
    }
    if index == text.count { return true }
    bytes.cut(to: start)
    return false
  }

  private static func hexadecimal(_ high: UInt8, _ low: UInt8) -> UInt8? {
    guard let high = digit(high), let low = digit(low) else { return nil }
    return high << 4 | low
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    default: nil
    }
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

/// `numeric`: groups of four decimal digits.
enum NumericText {
  /// `-?digits[.digits]`. Anything else (NaN, an infinity, what is longer than a short number) is false.
  ///
  /// The groups stand for powers of 10,000, the first one for the power `weight`; groups of zeros at both ends are left
  /// out, and the number of digits behind the point is kept beside them.
  static func append(_ text: UnsafeRawBufferPointer, to bytes: inout ByteWriter) -> Bool {
    var start = 0
    let isNegative = text.first == UInt8(ascii: "-")
    if isNegative { start = 1 }
    guard text.count > start, text.count <= 200 else { return false }
    var point = text.count
    for index in start..<text.count {
      let byte = text[index]
      if byte == UInt8(ascii: "."), point == text.count, index > start, index + 1 < text.count {
        point = index
      } else if byte &- UInt8(ascii: "0") > 9 {
        return false
      }
    }
    let fraction = point == text.count ? 0 : text.count - point - 1
    let before = bytes.count
    bytes.append(Int32(0))
    bytes.append(Int16(0))
    bytes.append(Int16(0))
    bytes.append(isNegative ? UInt16(0x4000) : 0)
    bytes.append(Int16(fraction))
    let integer = point - start
    var weight = (integer + 3) / 4 - 1
    // Zeros in front and behind fill the first and the last group up.
    var position = start - ((4 - integer % 4) % 4)
    var groups = 0
    var kept = bytes.count
    while position < text.count {
      var group: Int16 = 0
      for _ in 0..<4 {
        if position == point { position += 1 }
        let digit = position >= start && position < text.count ? Int16(text[position] &- UInt8(ascii: "0")) : 0
        group = group * 10 + digit
        position += 1
      }
      if group == 0, groups == 0 {
        weight -= 1
        continue
      }
      bytes.append(group)
      groups += 1
      if group != 0 { kept = bytes.count }
    }
    bytes.cut(to: kept)
    let digits = (kept - before - 12) / 2
    bytes.replace(at: before, by: Int32(kept - before - 4))
    bytes.replace(at: before + 4, by: Int16(digits))
    bytes.replace(at: before + 6, by: digits == 0 ? Int16(0) : Int16(weight))
    if digits == 0 { bytes.replace(at: before + 8, by: UInt16(0)) }
    return true
  }
}

/// Dates and times as `DateStyle` ISO prints them, in years that have four digits: days and microseconds since the
/// beginning of 2000.
enum DateTimeText {
  private static let day: Int64 = 86_400_000_000

  /// `2026-11-26`; nil for years before Christ or beyond 9999, and for infinity.
  @inline(__always)
  static func date(_ text: UnsafeRawBufferPointer) -> Int32? {
    text.count == 10 ? days(text) : nil
  }

  /// `08:00:00.5`, up to `24:00:00`.
  @inline(__always)
  static func time(_ text: UnsafeRawBufferPointer) -> Int64? {
    guard let (time, end) = time(text, at: 0), end == text.count, time <= day else { return nil }
    return time
  }

  /// `2026-11-26 08:00:00.5`, with `+00` behind it where there is a zone.
  @inline(__always)
  static func timestamp(_ text: UnsafeRawBufferPointer, zone: Bool) -> Int64? {
    guard text.count >= 19, text[10] == UInt8(ascii: " "), let days = days(text),
      let (time, end) = time(text, at: 11), time < day
    else { return nil }
    if zone {
      guard end + 3 == text.count, text[end] == UInt8(ascii: "+"), two(text, end + 1) == 0 else { return nil }
    } else if end != text.count {
      return nil
    }
    return Int64(days) * day + time
  }

  /// The first ten bytes.
  @inline(__always)
  private static func days(_ text: UnsafeRawBufferPointer) -> Int32? {
    guard let century = two(text, 0), let years = two(text, 2), text[4] == UInt8(ascii: "-"), let month = two(text, 5),
      text[7] == UInt8(ascii: "-"), let day = two(text, 8)
    else { return nil }
    let year = century * 100 + years
    guard year >= 1, (1...12).contains(month), day >= 1, day <= length(ofMonth: month, year) else { return nil }
    // Years that begin in March have their leap day at their end; 400 of them have 146,097 days.
    let shifted = month > 2 ? year : year - 1
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear
    return Int32(days - 730_425)
  }

  @inline(__always)
  private static func length(ofMonth month: Int, _ year: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// `08:00:00.5` in microseconds, and where it ends.
  @inline(__always)
  private static func time(_ text: UnsafeRawBufferPointer, at start: Int) -> (time: Int64, end: Int)? {
    guard start + 8 <= text.count, let hour = two(text, start), text[start + 2] == UInt8(ascii: ":"),
      let minute = two(text, start + 3), text[start + 5] == UInt8(ascii: ":"), let second = two(text, start + 6),
      hour <= 24, minute <= 59, second <= 59
    else { return nil }
    var end = start + 8
    var microseconds = 0
    if end < text.count, text[end] == UInt8(ascii: ".") {
      end += 1
      let first = end
      var unit = 100_000
      while end < text.count {
        let digit = text[end] &- UInt8(ascii: "0")
        guard digit <= 9 else { break }
        guard unit > 0 else { return nil }
        microseconds += Int(digit) * unit
        unit /= 10
        end += 1
      }
      guard end > first else { return nil }
    }
    return (Int64((hour * 60 + minute) * 60 + second) * 1_000_000 + Int64(microseconds), end)
  }

  /// Two digits.
  @inline(__always)
  private static func two(_ text: UnsafeRawBufferPointer, _ offset: Int) -> Int? {
    let tens = text[offset] &- UInt8(ascii: "0")
    let ones = text[offset + 1] &- UInt8(ascii: "0")
    return tens <= 9 && ones <= 9 ? Int(tens) * 10 + Int(ones) : nil
  }
}
