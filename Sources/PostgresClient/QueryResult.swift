import CLibPQ

/// The rows of one statement, values as text.
///
/// `@unchecked Sendable`: a PGresult is never changed after libpq has handed it out, and libpq documents reading it
/// from several threads as safe; it is freed once, in `deinit`.
public final class QueryResult: @unchecked Sendable {
  private let result: OpaquePointer

  init(_ result: OpaquePointer) { self.result = result }
  deinit { PQclear(result) }

  public var rowCount: Int { Int(PQntuples(result)) }
  public var columnCount: Int { Int(PQnfields(result)) }
  public func columnName(_ column: Int) -> String { PQfname(result, Int32(column)).map { String(cString: $0) } ?? "" }

  /// The rows that an INSERT, UPDATE, DELETE, … touched; 0 for other commands.
  public var affectedRows: Int { PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0 }

  /// The value's text; nil for null. Row and column count from 0 and must exist.
  public func text(_ row: Int, _ column: Int) -> String? {
    precondition(row < rowCount && column < columnCount, "no such row or column in the result")
    guard PQgetisnull(result, Int32(row), Int32(column)) == 0 else { return nil }
    return PQgetvalue(result, Int32(row), Int32(column)).map { String(cString: $0) }
  }

  /// The value's bytes as the server sent them; nil for null.
  public func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
    precondition(row < rowCount && column < columnCount, "no such row or column in the result")
    guard PQgetisnull(result, Int32(row), Int32(column)) == 0 else { return nil }
    let length = Int(PQgetlength(result, Int32(row), Int32(column)))
    guard let value = PQgetvalue(result, Int32(row), Int32(column)) else { return [] }
    return Array(UnsafeRawBufferPointer(start: value, count: length))
  }

  /// The first column of the first row; nil when there is no row or it is null.
  public var first: String? { rowCount > 0 && columnCount > 0 ? text(0, 0) : nil }

  public var rows: [Row] { (0..<rowCount).map { Row(result: self, index: $0) } }

  /// One row of a result.
  public struct Row: Sendable {
    let result: QueryResult
    public let index: Int

    public subscript(column: Int) -> String? { result.text(index, column) }
    /// The column by its position, with null read as the empty string.
    public func string(_ column: Int) -> String { result.text(index, column) ?? "" }
    public func int(_ column: Int) -> Int? { result.text(index, column).flatMap { Int($0) } }
    public func bool(_ column: Int) -> Bool { result.text(index, column) == "t" }
  }
}
