import PostgresClient
import ReplicationModel

/// Finds the rows that differ in a table, without carrying the table over: both sides sum their rows by buckets of the
/// key's hash, and only the keys of buckets that differ are read.
///
/// Each level is one scan of the table on each side and brings at most 65,536 numbers; a table of a billion rows takes
/// two levels. What is named is bounded (`RowDifferences.most`), and so is the time.
struct NarrowingDown: Sendable {
  let source: PostgresSession
  let target: PostgresSession
  let end: ContinuousClock.Instant
  var isInSnapshot = false

  /// How many rows are read from each side at most, nearly: then the buckets are fine enough.
  var fewRows: UInt64 = 2_000
  /// Bits of the hash that a level adds at most.
  private static let mostBits = 16

  private var timeLeft: Duration { max(.zero, end - .now) }

  /// - Returns: nil where the rows cannot be compared (the columns are others), or the time is over.
  func run(_ name: RelationName, rows: UInt64) async throws -> RowDifferences? {
    do {
      return try await differences(name, rows: rows)
    } catch let error as PostgresError where error.reason == .deadline || error.reason == .server {
      return nil
    }
  }

  private func differences(_ name: RelationName, rows: UInt64) async throws -> RowDifferences {
    var table = RowTable(name: name, key: try await key(name))
    do {
      return try await differences(table, rows: rows)
    } catch let error as PostgresError where SumQueries.isTooLong(error) {
      if isInSnapshot {
        for session in [source, target] { try await session.script(SumQueries.backToSavepoint) }
      }
      table.columns = try await SumQueries(session: source).columns(name)
      return try await differences(table, rows: rows)
    }
  }

  private func differences(_ table: RowTable, rows: UInt64) async throws -> RowDifferences {
    var buckets = BucketSet()
    var isComplete = true
    // About sixteen rows a bucket at first.
    var step = min(Self.mostBits, max(0, UInt64.bitWidth - (rows / 16).leadingZeroBitCount))
    while true {
      let bits = buckets.bits + step
      let statement = table.sums(in: buckets, bits: bits)
      async let here = sums(source, statement)
      async let there = sums(target, statement)
      let (left, right) = try await (here, there)
      let differing = Set(left.keys).union(right.keys).filter { left[$0] != right[$0] }.sorted()
      guard !differing.isEmpty else { return RowDifferences() }
      // Each of them holds at least one difference.
      isComplete = isComplete && differing.count <= RowDifferences.most
      buckets = BucketSet(bits: bits, chosen: Array(differing.prefix(RowDifferences.most)))
      let size = buckets.chosen.reduce(UInt64(0)) { $0 + max(left[$1]?.rows ?? 0, right[$1]?.rows ?? 0) }
      if size <= fewRows || bits + Self.mostBits > 48 { break }
      step = Self.mostBits
    }
    async let here = read(source, table.rows(in: buckets))
    async let there = read(target, table.rows(in: buckets))
    return try await RowDifferences(
      source: here, target: there, isKeyed: !table.key.isEmpty, isComplete: isComplete)
  }

  /// The columns of the primary key, or else of the replica identity's index.
  private func key(_ name: RelationName) async throws -> [String] {
    try await source.query(
      """
      SELECT a.attname
        FROM (SELECT * FROM pg_catalog.pg_index
               WHERE indrelid = $1::pg_catalog.regclass AND indisvalid AND (indisprimary OR indisreplident)
               ORDER BY indisprimary DESC LIMIT 1) i
        CROSS JOIN pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
       WHERE k.place <= i.indnkeyatts ORDER BY k.place
      """, [name.quoted], within: timeLeft
    ).rows.map { $0.string(0) }
  }

  private struct Sum: Equatable {
    var rows: UInt64
    var checksum: String
  }

  private func sums(_ session: PostgresSession, _ statement: String) async throws -> [Int64: Sum] {
    let result = try await session.query(statement, within: timeLeft)
    return result.rows.reduce(into: [:]) { sums, row in
      sums[Int64(row.string(0)) ?? 0] = Sum(rows: UInt64(row.string(1)) ?? 0, checksum: row.string(2))
    }
  }

  private func read(_ session: PostgresSession, _ statement: String) async throws -> [HashedRow] {
    try await session.query(statement, within: timeLeft).rows.map { row in
      HashedRow(key: row.string(0), hash: row.string(1), count: UInt64(row.string(2)) ?? 0)
    }
  }
}

/// Buckets by the lowest bits of a hash; without bits there is one, which holds all.
struct BucketSet: Sendable, Equatable {
  var bits = 0
  var chosen: [Int64] = []
}

/// The statements that look for rows in a table, the same on both sides.
struct RowTable: Sendable {
  var name: RelationName
  /// Empty where the whole row has to do.
  var key: [String]
  /// Where a row's text is too long for the server: every column by itself.
  var columns: [(name: String, type: String)]?

  private static let mostCharacters = 200

  private var rowHash: String { columns.map { RowHash.wideExpression(columns: $0) } ?? RowHash.expression }

  private var keyText: String {
    let row = key.map { "t." + quotedIdentifier($0) }.joined(separator: ", ")
    return "pg_catalog.textin(pg_catalog.record_out(ROW(\(row)))) COLLATE \"C\""
  }

  /// What the row is found by; the whole row's hash where it has no key.
  private var keyHash: String { key.isEmpty ? rowHash : "pg_catalog.hashtextextended(\(keyText), 0)" }

  /// What a person reads.
  private var label: String {
    guard key.isEmpty else {
      return "\(quotedLiteral("(\(key.joined(separator: ", ")))=")) || \(keyText)"
    }
    guard columns == nil else { return "'a long row with hash ' || \(rowHash)" }
    return "pg_catalog.left(pg_catalog.textin(pg_catalog.record_out(t.*)) COLLATE \"C\", \(Self.mostCharacters))"
  }

  private func bucket(_ bits: Int) -> String { "(\(keyHash)) & \((Int64(1) << bits) - 1)" }

  private func filter(_ buckets: BucketSet) -> String {
    guard buckets.bits > 0 else { return "" }
    return " WHERE \(bucket(buckets.bits)) IN (\(buckets.chosen.map(String.init).joined(separator: ", ")))"
  }

  /// Rows and checksum of each bucket of so many bits, within others.
  func sums(in buckets: BucketSet, bits: Int) -> String {
    "SELECT \(bucket(bits)), pg_catalog.count(*), \(RowHash.sum(rowHash)) FROM ONLY \(name.quoted) AS t"
      + filter(buckets) + " GROUP BY 1"
  }

  /// The rows of some buckets: key, hash, and how many there are of that.
  func rows(in buckets: BucketSet) -> String {
    "SELECT \(label), \(rowHash), pg_catalog.count(*) FROM ONLY \(name.quoted) AS t" + filter(buckets)
      + " GROUP BY 1, 2"
  }
}
