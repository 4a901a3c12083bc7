import FoundationEssentials
import GRDB

/// A moment as the journal keeps it: milliseconds since 1970.
struct Moment: DatabaseValueConvertible {
  var date: Date

  init(_ date: Date) { self.date = date }
  static var now: Moment { Moment(Date()) }

  var databaseValue: DatabaseValue {
    Int64((date.timeIntervalSince1970 * 1000).rounded(.down)).databaseValue
  }

  static func fromDatabaseValue(_ value: DatabaseValue) -> Moment? {
    Int64.fromDatabaseValue(value).map { Moment(Date(timeIntervalSince1970: Double($0) / 1000)) }
  }
}

/// How GRDB reads the journal's rows into values: `snake_case` columns into properties, times as `Moment` writes them,
/// a value within a row from its JSON text.
///
/// A wrapper, so that no type that other rooms see conforms to a protocol of GRDB's.
private struct Fetched<Value: Decodable>: FetchableRecord, Decodable {
  let value: Value

  init(from decoder: any Decoder) throws { value = try Value(from: decoder) }

  static var databaseColumnDecodingStrategy: DatabaseColumnDecodingStrategy { .convertFromSnakeCase }
  static func databaseDateDecodingStrategy(for column: String) -> DatabaseDateDecodingStrategy {
    .millisecondsSince1970
  }
  static func databaseJSONDecoder(for column: String) -> JSONDecoder { JSONDecoder() }
}

extension Row {
  /// The row as a value; what nobody can have written (an unknown state, a text for a number) throws, as damage.
  func decoded<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
    try Fetched<Value>(row: self).value
  }
}

extension Decodable {
  /// The rows are copied first: straight from a statement GRDB takes SQLite's word for it, and a text where a number
  /// should be is 0.
  static func fetchAll(
    _ database: Database, sql: String, arguments: StatementArguments = StatementArguments()
  ) throws -> [Self] {
    try Row.fetchAll(database, sql: sql, arguments: arguments).map { try $0.decoded() }
  }

  static func fetchOne(
    _ database: Database, sql: String, arguments: StatementArguments = StatementArguments()
  ) throws -> Self? {
    try Row.fetchOne(database, sql: sql, arguments: arguments)?.decoded()
  }
}
