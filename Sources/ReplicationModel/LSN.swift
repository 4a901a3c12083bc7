/// A log sequence number: a byte position in the write-ahead log.
///
/// The text form is PostgreSQL's `pg_lsn`, two hexadecimal numbers of at most eight digits: `16/B374D848`.
/// <https://www.postgresql.org/docs/15/datatype-pg-lsn.html>
public struct LSN: Hashable, Comparable, Sendable, RawRepresentable {
  public var rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// `0/0`, PostgreSQL's InvalidXLogRecPtr: no position at all.
  public static let invalid = LSN(0)

  /// Reads `pg_lsn` text; nil when it is anything else, surrounding spaces included.
  public init?(_ text: some StringProtocol) {
    let halves = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard halves.count == 2, let high = Self.hexadecimal(halves[0]), let low = Self.hexadecimal(halves[1]) else {
      return nil
    }
    self.init(UInt64(high) << 32 | UInt64(low))
  }

  private static func hexadecimal(_ digits: some Collection<UInt8>) -> UInt32? {
    guard (1...8).contains(digits.count) else { return nil }
    var value: UInt32 = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(digit - UInt8(ascii: "a") + 10)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(digit - UInt8(ascii: "A") + 10)
      default: return nil
      }
    }
    return value
  }

  public static func < (left: LSN, right: LSN) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The position so many bytes of WAL further on.
  public static func + (position: LSN, bytes: UInt64) -> LSN { LSN(position.rawValue + bytes) }

  /// The number of WAL bytes from `earlier` to this position; 0 when `earlier` lies ahead.
  public func bytes(since earlier: LSN) -> UInt64 {
    rawValue > earlier.rawValue ? rawValue - earlier.rawValue : 0
  }
}

extension LSN: CustomStringConvertible, LosslessStringConvertible {
  public init?(_ description: String) {
    guard let value = LSN(description[...]) else { return nil }
    self = value
  }

  public var description: String {
    let high = String(rawValue >> 32, radix: 16, uppercase: true)
    let low = String(rawValue & 0xFFFF_FFFF, radix: 16, uppercase: true)
    return "\(high)/\(low)"
  }
}

extension LSN: Codable {
  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let value = LSN(text) else {
      throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not an LSN: \(text)"))
    }
    self = value
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
