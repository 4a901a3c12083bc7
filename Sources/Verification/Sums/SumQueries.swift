package import PostgresClient
package import ReplicationModel

/// A table as the catalogs have it.
package struct CatalogTable: Sendable, Equatable {
  package var name: RelationName
  /// Its own and its TOAST table's size.
  package var bytes: UInt64
}

/// What there is to read in a database.
package struct TableCatalog: Sendable, Equatable {
  package var tables: [CatalogTable] = []
  package var unlogged: [RelationName] = []
  var largeObjectBytes: UInt64 = 0
}

/// How a row becomes a number.
///
/// The row's text (`record_out`) is hashed, byte by byte: it tells apart what the types' own `=` holds for equal (1.0
/// and 1.00, -0 and 0, citext), exists for types that have no `=` at all (json, point, xml), and is the same on both
/// sides as long as the session's settings are (`canonicalTextSettings`). Collations play no part in it, nor do their
/// versions.
///
/// `record_out` is called by its name: a cast of the row to text would run a cast function that the table's owner may
/// have made. `t.*` is the whole row even where a column is called t.
package enum RowHash {
  static let expression = hash("pg_catalog.record_out(t.*)")

  private static func hash(_ cstring: String) -> String {
    "pg_catalog.hashtextextended(pg_catalog.textin(\(cstring)) COLLATE \"C\", 0)"
  }

  /// For a row whose text would be longer than the server can hold (a bytea doubles): every column by itself, long
  /// ones by their bytes.
  static func wideExpression(columns: [(name: String, type: String)]) -> String {
    let digests = columns.map { column in
      let name = "t." + quotedIdentifier(column.name)
      return switch column.type {
      case "bytea": "pg_catalog.sha256(\(name))"
      case "text", "character varying": "pg_catalog.hashtextextended(\(name) COLLATE \"C\", 0)"
      default: hash("pg_catalog.record_out(ROW(\(name)))")
      }
    }
    return hash("pg_catalog.record_out(ROW(\(digests.joined(separator: ", "))))")
  }

  /// Over rows `t`. The sum of bigints is a numeric, kept in 128 bits on the way: it does not overflow.
  static func sum(_ hash: String) -> String { "coalesce(pg_catalog.sum(\(hash)), 0)" }
}

/// Reads the sums of one database, in one session.
package struct SumQueries {
  package let session: PostgresSession
  /// Whether it stands in a transaction of its own, behind `savepoint`.
  var isInSnapshot = false

  package init(session: PostgresSession, isInSnapshot: Bool = false) {
    self.session = session
    self.isInSnapshot = isInSnapshot
  }

  static let savepoint = "SAVEPOINT pgconvoy"
  /// Gives up the locks that came since, and an error.
  static let backToSavepoint = "ROLLBACK TO SAVEPOINT pgconvoy"

  /// For sessions that do nothing else. A table that somebody has locked is an error, not a wait without end.
  package static let settings = """
    SET lock_timeout = '10s'; SET jit = off; SET max_parallel_workers_per_gather = 4
    """

  /// Ordinary tables and partitions' leaves. What initdb made (below FirstNormalObjectId) is not data, nor are the source's
  /// tables of `ddl: replicate`, nor the servers' record of the migration.
  package static let listing = """
    SELECT n.nspname, c.relname, c.relpersistence,
           pg_catalog.pg_relation_size(c.oid)
             + coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u') AND c.oid >= 16384
       AND NOT (n.nspname ~ '^pgconvoy_[0-9a-f]{12}_ddl$' AND c.relname IN ('statement', 'rewritten'))
       AND NOT (n.nspname = 'pgconvoy_record' AND c.relname = 'migration')
     UNION ALL
    SELECT NULL, NULL, NULL, pg_catalog.pg_relation_size('pg_catalog.pg_largeobject')
    """

  package func catalog() async throws -> TableCatalog {
    var catalog = TableCatalog()
    for row in try await session.query(Self.listing).rows {
      let bytes = UInt64(row.string(3)) ?? 0
      guard let schema = row[0], let name = row[1] else {
        catalog.largeObjectBytes = bytes
        continue
      }
      let relation = RelationName(schema: schema, name: name)
      if row[2] == "u" {
        catalog.unlogged.append(relation)
      } else {
        catalog.tables.append(CatalogTable(name: relation, bytes: bytes))
      }
    }
    return catalog
  }

  /// Rows, and unless they are only counted checksums, of tables or materialized views, in one round trip.
  package static func statement(_ names: [RelationName], countOnly: Bool) -> String {
    let sum = countOnly ? "NULL::numeric" : RowHash.sum(RowHash.expression)
    return names.enumerated().map { number, name in
      "SELECT \(number), pg_catalog.count(*), \(sum) FROM ONLY \(name.quoted) AS t"
    }.joined(separator: " UNION ALL ")
  }

  package func sums(_ names: [RelationName], countOnly: Bool, within limit: Duration? = nil) async throws -> [TableSum]
  {
    guard !names.isEmpty else { return [] }
    do {
      return try await read(Self.statement(names, countOnly: countOnly), names, within: limit)
    } catch let error as PostgresError where Self.isOfNames(error) {
      // Planning a statement calls functions in predicates of indexes, and they may look for names where the database's own
      // sessions find them. What is printed stays the same on both sides.
      if isInSnapshot { try await session.script(Self.backToSavepoint) }
      let path = try await session.query(WritingSettings.pathQuestion).first ?? ""
      try await session.set(WritingSettings(["search_path": WritingSettings.path(path, user: nil)]))
      return try await read(Self.statement(names, countOnly: countOnly), names, within: limit)
    } catch let error as PostgresError where !countOnly && Self.isTooLong(error) {
      if isInSnapshot { try await session.script(Self.backToSavepoint) }
      guard names.count == 1 else {
        var sums: [TableSum] = []
        for name in names { sums += try await self.sums([name], countOnly: false, within: limit) }
        return sums
      }
      return try await read(wideStatement(names[0]), names, within: limit)
    }
  }

  /// A function, table, type or schema that the path does not lead to.
  private static func isOfNames(_ error: PostgresError) -> Bool {
    error.reason == .server && ["42883", "42P01", "42704", "3F000"].contains(error.sqlState?.rawValue)
  }

  /// A row's text beyond 1 GB: program_limit_exceeded, or the internal error of a memory request that is too large.
  static func isTooLong(_ error: PostgresError) -> Bool {
    error.sqlState == "54000" || error.sqlState == "XX000"
  }

  /// A table's columns, each with its type.
  package func columns(_ name: RelationName) async throws -> [(name: String, type: String)] {
    try await session.query(
      """
      SELECT attname, pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute
       WHERE attrelid = $1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
      """, [name.quoted]
    ).rows.map { (name: $0.string(0), type: $0.string(1)) }
  }

  func wideStatement(_ name: RelationName) async throws -> String {
    let sum = RowHash.sum(RowHash.wideExpression(columns: try await columns(name)))
    return "SELECT 0, pg_catalog.count(*), \(sum) FROM ONLY \(name.quoted) AS t"
  }

  package func read(
    _ statement: String, _ names: [RelationName], within limit: Duration? = nil
  ) async throws -> [TableSum] {
    let result = try await session.query(statement, within: limit)
    return try result.rows.map { row in
      guard let number = row.int(0), names.indices.contains(number), let rows = row[1].flatMap({ UInt64($0) }) else {
        throw PostgresError(.unexpectedReply, message: "no row count", server: session.parameters.displayName)
      }
      return TableSum(name: names[number], rows: rows, checksum: row[2].flatMap { Int128($0) })
    }
  }

  /// Owner and privileges by name: oids of roles are the same after a physical copy, and need not be otherwise.
  package func largeObjects() async throws -> LargeObjectSums {
    let object = """
      pg_catalog.hashtextextended(pg_catalog.textin(pg_catalog.record_out(
        ROW(m.oid, pg_catalog.pg_get_userbyid(m.lomowner), m.lomacl))) COLLATE "C", 0)
      """
    let result = try await session.query(
      """
      SELECT 0, pg_catalog.count(*), \(RowHash.sum(object)) FROM pg_catalog.pg_largeobject_metadata AS m
       UNION ALL
      SELECT 1, pg_catalog.count(*), \(RowHash.sum(RowHash.expression)) FROM pg_catalog.pg_largeobject AS t
      """)
    var sums = LargeObjectSums()
    for row in result.rows {
      let count = UInt64(row.string(1)) ?? 0
      let checksum = Int128(row.string(2)) ?? 0
      if row.int(0) == 0 {
        (sums.objects, sums.objectChecksum) = (count, checksum)
      } else {
        (sums.pages, sums.pageChecksum) = (count, checksum)
      }
    }
    return sums
  }
}
