/// A five-character SQLSTATE.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
public struct SQLState: Hashable, Sendable, RawRepresentable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var rawValue: String

  public init(rawValue: String) { self.rawValue = rawValue }
  public init(stringLiteral value: String) { rawValue = value }

  public var description: String { rawValue }
  /// The first two characters, which name the class of the condition.
  public var classCode: String { String(rawValue.prefix(2)) }

  public static let invalidPassword: SQLState = "28P01"
  public static let invalidAuthorization: SQLState = "28000"
  public static let readOnlyTransaction: SQLState = "25006"
  public static let undefinedObject: SQLState = "42704"
  public static let undefinedTable: SQLState = "42P01"
  public static let undefinedSchema: SQLState = "3F000"
  public static let duplicateObject: SQLState = "42710"
  public static let invalidCatalogName: SQLState = "3D000"
  public static let protocolViolation: SQLState = "08P01"
  public static let lockNotAvailable: SQLState = "55P03"
  public static let objectInUse: SQLState = "55006"
  public static let deadlockDetected: SQLState = "40P01"
  public static let tooManyConnections: SQLState = "53300"
  public static let configurationLimitExceeded: SQLState = "53400"
  public static let queryCanceled: SQLState = "57014"
  public static let adminShutdown: SQLState = "57P01"
  public static let crashShutdown: SQLState = "57P02"
  public static let cannotConnectNow: SQLState = "57P03"

  /// Whether the same work may succeed when it is tried again with nothing changed: connection trouble, a server that
  /// starts or stops, a deadlock or serialization failure, a lock or resource that was not to be had.
  public var isTransient: Bool {
    switch classCode {
    // A message that the server cannot read will not be better next time.
    case "08": self != .protocolViolation
    case "40", "53", "57": true
    case "55": self == .lockNotAvailable || self == .objectInUse
    case "58": true
    default: false
    }
  }
}
