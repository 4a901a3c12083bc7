import HostAdmin
import Inventory
import PostgresClient
package import ReplicationModel

/// A cheaper look at tables that there is no time left to read in full: how many rows there are, and the checksum of
/// those whose key's hash falls into one of 64 buckets, which are the same rows on both sides.
///
/// A table without a key is counted only.
package enum TableSample {
  static let buckets = 64

  package struct Key: Sendable, Equatable {
    package var columns: [(name: String, type: String)] = []

    package static func == (left: Key, right: Key) -> Bool {
      left.columns.elementsEqual(right.columns) { $0 == $1 }
    }
  }

  package static func statement(
    _ number: Int, _ name: RelationName, _ key: Key, rowHash: String = RowHash.expression
  ) -> String {
    let sum =
      key.columns.isEmpty
      ? "NULL::numeric"
      : "coalesce(pg_catalog.sum(\(rowHash)) FILTER (WHERE (\(hash(key))) & \(buckets - 1) = 0), 0)"
    return "SELECT \(number), pg_catalog.count(*), \(sum) FROM ONLY \(name.quoted) AS t"
  }

  private static func hash(_ key: Key) -> String {
    let row = "ROW(\(key.columns.map { "t." + quotedIdentifier($0.name) }.joined(separator: ", ")))"
    return "pg_catalog.hashtextextended(pg_catalog.textin(pg_catalog.record_out(\(row))) COLLATE \"C\", 0)"
  }
}

extension SumQueries {
  /// The keys of tables, by their `catalogBytes`: the primary key, or else the replica identity's index.
  package func keys() async throws -> [[UInt8]: TableSample.Key] {
    let rows = try await session.query(
      """
      SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL)
        FROM (SELECT DISTINCT ON (indrelid) * FROM pg_catalog.pg_index
               WHERE indisvalid AND (indisprimary OR indisreplident) ORDER BY indrelid, indisprimary DESC) i
        JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
       WHERE k.place <= i.indnkeyatts AND c.oid >= 16384 ORDER BY c.oid, k.place
      """
    ).rows
    return rows.reduce(into: [:]) { keys, row in
      let name = RelationName(schema: row.string(0), name: row.string(1))
      keys[name.catalogBytes, default: .init()].columns.append((row.string(2), row.string(3)))
    }
  }

  package func samples(_ names: [RelationName], keys: [[UInt8]: TableSample.Key]) async throws -> [TableSum] {
    guard !names.isEmpty else { return [] }
    func key(_ name: RelationName) -> TableSample.Key { keys[name.catalogBytes] ?? .init() }
    do {
      let statement = names.indices.map { TableSample.statement($0, names[$0], key(names[$0])) }
      return try await read(statement.joined(separator: " UNION ALL "), names).map(Self.sample)
    } catch let error as PostgresError where Self.isTooLong(error) {
      if isInSnapshot { try await session.script(Self.backToSavepoint) }
      guard names.count == 1 else {
        var sums: [TableSum] = []
        for name in names { sums += try await samples([name], keys: keys) }
        return sums
      }
      let wide = RowHash.wideExpression(columns: try await columns(names[0]))
      return try await read(TableSample.statement(0, names[0], key(names[0]), rowHash: wide), names).map(Self.sample)
    }
  }

  private static func sample(_ sum: TableSum) -> TableSum {
    var sum = sum
    sum.isSample = true
    return sum
  }
}

extension Verification {
  /// Puts samples into the place of what one side or the other has not read in full.
  func sampleUnread(_ comparisons: [Comparison]) async throws -> [Comparison] {
    guard comparisons.contains(where: { !$0.source.unread.isEmpty || !$0.target.unread.isEmpty }) else {
      return comparisons
    }
    progress("the time for full comparison is over, the rest is sampled")
    return try await mapConcurrently(comparisons, limit: lanes) { comparison in
      let unread = comparison.source.unread + comparison.target.unread
      guard !unread.isEmpty else { return comparison }
      let keys = try await with(.source, comparison.database) { try await SumQueries(session: $0).keys() }
      async let source = sampled(comparison.source, unread, keys, .source)
      async let target = sampled(comparison.target, unread, keys, .target)
      return try await Comparison(source: source, target: target)
    }
  }

  private func sampled(
    _ sums: DatabaseSums, _ unread: [CatalogTable], _ keys: [[UInt8]: TableSample.Key], _ side: Inventory.Side
  ) async throws -> DatabaseSums {
    let wanted = Set(unread.map(\.name.catalogBytes))
    let own = sums.unread + sums.tables.map { CatalogTable(name: $0.name, bytes: 0) }
    let tables = own.filter { wanted.contains($0.name.catalogBytes) }
    let units = SumUnit.units(database: sums.database, tables: tables, largeObjectBytes: 0)
    let samples = try await mapConcurrently(units, limit: lanes) { unit in
      try await with(side, sums.database) { session in
        try await SumQueries(session: session, isInSnapshot: isInSnapshot)
          .samples(unit.tables.map(\.name), keys: keys)
      }
    }
    let full = sums.tables.filter { !wanted.contains($0.name.catalogBytes) }
    return DatabaseSums(
      database: sums.database, tables: full + samples.flatMap { $0 }, unlogged: sums.unlogged,
      largeObjects: sums.largeObjects)
  }
}
