import HostAdmin
import Inventory
package import MigrationCore
package import PostgresClient
package import ReplicationModel

/// What an index finds, compared with what its table holds.
package struct IndexSum: Sendable, Equatable {
  /// Keys under which it does not find just the table's rows.
  package var keys: UInt64 = 0
  /// Rows of the table under these keys, less those that the index finds.
  package var missing: Int64 = 0
  /// Of these rows, whatever their places are.
  package var checksum: Int128 = 0

  package init() {}
}

/// Whether rows are found through the indexes whose expressions go by settings.
///
/// What such an index holds was computed when the row was written: on the source by an application's session, on the
/// target by a worker's. So it is compared with what the table's rows come to now, on both servers, under the settings that
/// the database gives a session. Both differ in nothing: proven. Both differ alike: the target is what the source was.
///
/// Each key that the table has is looked up in the index, which therefore must know equality. The table itself is read as a
/// sample of all its pages, for which no index is ever taken.
package struct IndexProof: Sendable {
  package struct Outcome: Sendable, Equatable {
    package var database: String
    package var label: String
    package var from: IndexSum?
    package var to: IndexSum?
    /// Nobody can say what the index finds: it knows no equality, or the planner takes another one.
    package var isUnproven: Bool { from == nil || to == nil }
    package var differs: Bool { !isUnproven && from != to }
  }

  let session: PostgresSession
  /// When what has not been looked up is left unproven; nil: never.
  let end: ContinuousClock.Instant?

  package init(session: PostgresSession, until end: ContinuousClock.Instant? = nil) {
    self.session = session
    self.end = end
  }

  /// - Parameter end: when what has not been looked up is left unproven; nil: never.
  package static func run(
    _ context: MigrationContext, _ databases: [String], _ direction: StreamDirection,
    until end: ContinuousClock.Instant?
  ) async throws -> [Outcome] {
    try await mapConcurrently(databases, limit: 4) { name in
      try await outcomes(context, name, direction, until: end)
    }.flatMap { $0 }
  }

  private static func outcomes(
    _ context: MigrationContext, _ database: String, _ direction: StreamDirection, until end: ContinuousClock.Instant?
  ) async throws -> [Outcome] {
    let indexes = try await ComputedValues.read(context.session(direction.from, database: database)).indexesBySettings
    guard !indexes.isEmpty else { return [] }
    let writing = try await context.writingSettings(direction.from, database: database)
    func sums(_ side: Side) async throws -> [IndexSum?] {
      try await context.withNewSession(side, database: database) { session in
        var sums: [IndexSum?] = []
        for (oid, _) in indexes {
          sums.append(try await IndexProof(session: session, until: end).sum(of: oid, writing))
        }
        return sums
      }
    }
    do {
      async let from = sums(direction.from)
      async let to = sums(direction.to)
      let (here, there) = try await (from, to)
      return indexes.indices.map {
        Outcome(database: database, label: indexes[$0].label, from: here[$0], to: there[$0])
      }
    } catch let error as PostgresError {
      throw error.convoyError(at: context.place(ofDatabase: database))
    }
  }

  /// - Returns: nil where it cannot be said.
  package func sum(of index: UInt32, _ writing: WritingSettings) async throws -> IndexSum? {
    try await session.set(.reading)
    try await session.script("SET search_path = ''")
    guard let definition = try await definition(index) else { return nil }
    try await session.set(writing)
    try await session.script(Self.settings)
    let found = try await sumInTime(definition)
    try await session.script(
      "RESET enable_seqscan; RESET enable_bitmapscan; RESET enable_indexonlyscan; RESET enable_tidscan")
    return found
  }

  private static let settings = """
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SET enable_tidscan = off;
    SET max_parallel_workers_per_gather = 0; SET jit = off; SET lock_timeout = '10s'
    """

  struct Definition: Sendable, Equatable {
    var name: String
    var table: String
    /// Expressions with their collations, and what is equality to the index.
    var keys: [(expression: String, equality: String)]
    var predicate: String?

    static func == (one: Definition, other: Definition) -> Bool {
      one.name == other.name && one.table == other.table && one.predicate == other.predicate
        && one.keys.map(\.expression) == other.keys.map(\.expression)
    }

    private var filter: String { predicate.map { "(\($0)) AND " } ?? "" }

    /// Which keys are null in some row, as one text per combination: `fft`.
    var patterns: String {
      let nulls = keys.map { "CASE WHEN (\($0.expression)) IS NULL THEN 't' ELSE 'f' END" }.joined(separator: " || ")
      return "SELECT DISTINCT \(nulls) FROM ONLY \(table) TABLESAMPLE pg_catalog.system (100) WHERE \(filter)true"
    }

    /// - Parameter nulls: by key.
    func statement(nulls: [Bool]) -> String {
      var selected: [String] = []
      var probes: [String] = []
      var conditions: [String] = []
      for (number, key) in keys.enumerated() {
        conditions.append("(\(key.expression)) IS \(nulls[number] ? "" : "NOT ")NULL")
        if nulls[number] {
          probes.append("(\(key.expression)) IS NULL")
        } else {
          selected.append("(\(key.expression)) AS pgconvoy_\(number)")
          probes.append("(\(key.expression)) \(key.equality) a.pgconvoy_\(number)")
        }
      }
      let grouping =
        selected.isEmpty ? "" : " GROUP BY " + selected.indices.map { "\($0 + 1)" }.joined(separator: ", ")
      let hash = RowHash.sum(RowHash.expression)
      let head = (selected + ["pg_catalog.count(*) AS pgconvoy_n", "\(hash) AS pgconvoy_h"]).joined(separator: ", ")
      return """
        SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(a.pgconvoy_n - b.pgconvoy_n), 0),
               coalesce(pg_catalog.sum(a.pgconvoy_h - b.pgconvoy_h), 0)
          FROM (SELECT \(head) FROM ONLY \(table) AS t TABLESAMPLE pg_catalog.system (100)
                 WHERE \(filter)\(conditions.joined(separator: " AND "))\(grouping)) AS a,
               LATERAL (SELECT pg_catalog.count(*) AS pgconvoy_n, \(hash) AS pgconvoy_h FROM ONLY \(table) AS t
                         WHERE \(filter)\(probes.joined(separator: " AND "))) AS b
         WHERE a.pgconvoy_n OPERATOR(pg_catalog.<>) b.pgconvoy_n OR a.pgconvoy_h OPERATOR(pg_catalog.<>) b.pgconvoy_h
        """
    }
  }

  private func sumInTime(_ definition: Definition) async throws -> IndexSum? {
    do {
      return try await sum(definition)
    } catch let error as PostgresError where error.reason == .deadline {
      return nil
    }
  }

  /// What is left of the time; a moment where there is none.
  private var rest: Duration? { end.map { max(.milliseconds(1), ContinuousClock.now.duration(to: $0)) } }

  private func sum(_ definition: Definition) async throws -> IndexSum? {
    var sum = IndexSum()
    for pattern in try await session.query(definition.patterns, within: rest).rows.map({ $0.string(0) }) {
      let statement = definition.statement(nulls: pattern.map { $0 == "t" })
      let plan = try await session.query("EXPLAIN (COSTS off) " + statement).rows.map { $0.string(0) }
      guard plan.contains(where: { $0.contains("Index Scan using \(definition.name) on ") }) else { return nil }
      guard let row = try await session.query(statement, within: rest).rows.first else { return nil }
      sum.keys += UInt64(row.string(0)) ?? 0
      sum.missing += Int64(row.string(1)) ?? 0
      sum.checksum += Int128(row.string(2)) ?? 0
    }
    return sum
  }

  /// Nil where the index knows no equality.
  private func definition(_ index: UInt32) async throws -> Definition? {
    let rows = try await session.query(
      """
      SELECT pg_catalog.quote_ident(c.relname), i.indrelid::pg_catalog.regclass::text,
             pg_catalog.pg_get_expr(i.indpred, i.indrelid), pg_catalog.pg_get_indexdef(c.oid, k.position + 1, false),
             (SELECT pg_catalog.format(' COLLATE %I.%I', cn.nspname, l.collname) FROM pg_catalog.pg_collation l
                JOIN pg_catalog.pg_namespace cn ON cn.oid = l.collnamespace WHERE l.oid = i.indcollation[k.position]),
             (SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
                FROM pg_catalog.pg_opclass oc
                JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                 AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = CASE am.amname WHEN 'btree' THEN 3 ELSE 1 END
                JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr
                JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
               WHERE oc.oid = i.indclass[k.position])
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
        JOIN pg_catalog.pg_am am ON am.oid = c.relam
        CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(position)
       WHERE i.indexrelid = $1::pg_catalog.oid AND i.indisvalid AND am.amname IN ('btree', 'hash')
       ORDER BY k.position
      """, [String(index)]
    ).rows
    guard let first = rows.first else { return nil }
    var definition = Definition(name: first.string(0), table: first.string(1), keys: [], predicate: first[2])
    for row in rows {
      guard let equality = row[5] else { return nil }
      definition.keys.append(("(\(row.string(3)))\(row[4] ?? "")", equality))
    }
    return definition
  }
}
