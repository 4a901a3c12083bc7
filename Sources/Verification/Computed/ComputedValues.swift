package import PostgresClient

/// A thing in a database that holds, or decides by, what functions made of a row: an index, a generated column, a CHECK.
package struct ComputedValue: Sendable, Equatable {
  package enum Kind: String, Sendable {
    case index, generated, check, domain, materializedView, partitionKey, statistics
  }

  package var kind: Kind
  /// `index public.visit_day on public.visit`, quoted where SQL needs it.
  package var label: String
  /// Of an index.
  package var oid: UInt32 = 0
  /// By oid: functions that are no part of PostgreSQL itself.
  package var functions: [UInt32] = []
  /// Functions of PostgreSQL's own in it whose results are not the row's alone.
  package var builtIn: [String] = []
}

/// What a database computes from its rows, and by which functions.
package struct ComputedValues: Sendable, Equatable {
  package var values: [ComputedValue] = []
  /// Those that are no part of PostgreSQL itself, by oid; not those in C, which are compiled into their extensions.
  package var functions: [UInt32: ComputingFunction] = [:]
  /// Functions in C and types that are no part of PostgreSQL itself: a path leads to them too.
  package var otherNames: Set<String> = []

  package init() {}

  /// Reads what there is. Of the functions' bodies, only where anything is computed by such functions.
  ///
  /// - Parameter session: with an empty `search_path`.
  package static func read(_ session: PostgresSession, within limit: Duration? = nil) async throws -> ComputedValues {
    var computed = ComputedValues()
    for row in try await session.query(listing, within: limit).rows {
      guard let kind = ComputedValue.Kind(rawValue: row.string(0)) else { continue }
      let numbers = row.string(3).split(separator: " ").compactMap { UInt32($0) }
      computed.values.append(
        ComputedValue(
          kind: kind, label: row.string(1), oid: UInt32(row.string(2)) ?? 0, functions: numbers,
          builtIn: row.string(4).split(separator: " ").map(String.init)))
    }
    guard computed.values.contains(where: { !$0.functions.isEmpty }) else { return computed }
    for row in try await session.query(bodies, within: limit).rows {
      let function = ComputingFunction(
        signature: row.string(1), name: row.string(2), language: row.string(3), body: row.string(4),
        types: row.string(5), settings: row.string(6), hasBoundBody: row.bool(7))
      computed.functions[UInt32(row.string(0)) ?? 0] = function
    }
    computed.otherNames = Set(try await session.query(otherNames, within: limit).rows.map { $0.string(0) })
    return computed
  }

  /// Why what is computed need not be the same for every session; by function, with what is computed by it.
  package func bySettings() -> [(function: String, reasons: [ComputingFunction.Reason], values: [ComputedValue])] {
    let judge = ComputingJudge(functions, otherNames: otherNames)
    return functions.sorted { $0.value.signature < $1.value.signature }.compactMap { oid, function in
      let used = values.filter { $0.functions.contains(oid) }
      guard !used.isEmpty else { return nil }
      let reasons = judge.reasons(of: oid).filter { $0.isOfSettings }
      return reasons.isEmpty ? nil : (function.signature, reasons, used)
    }
  }

  /// CHECK constraints that need not hold for a row any more for which they held once, and why.
  package func movingChecks() -> [(value: ComputedValue, reasons: [ComputingFunction.Reason])] {
    let judge = ComputingJudge(functions, otherNames: otherNames)
    return values.filter { $0.kind == .check || $0.kind == .domain }.compactMap { value in
      let reasons =
        value.functions.flatMap { judge.reasons(of: $0).filter(\.isOfTheMoment) }
        + (value.builtIn.isEmpty ? [] : [.moment(value.builtIn)])
      return reasons.isEmpty ? nil : (value, reasons)
    }
  }

  /// Indexes that hold what was computed under somebody's settings: by oid.
  package var indexesBySettings: [(oid: UInt32, label: String)] {
    var known: Set<UInt32> = []
    return bySettings().flatMap(\.values).filter { $0.kind == .index && known.insert($0.oid).inserted }
      .map { ($0.oid, $0.label) }
  }

  /// PostgreSQL's own functions that go by the clock, by who asks, or by chance.
  private static let momentary = [
    "age", "clock_timestamp", "current_query", "current_schema", "current_schemas", "current_setting", "current_user",
    "currval", "gen_random_uuid", "getpgusername", "inet_client_addr", "inet_server_addr", "lastval", "nextval", "now",
    "pg_backend_pid", "pg_current_xact_id", "pg_has_role", "has_table_privilege", "random", "session_user",
    "statement_timestamp", "timeofday", "transaction_timestamp", "txid_current", "txid_current_snapshot",
  ]

  /// Rows of kind, label, oid of an index, functions' oids, names of PostgreSQL's own functions of the moment.
  ///
  /// What is built into PostgreSQL leaves no dependency: CHECKs may use all of it, so their trees are looked through.
  private static let listing = """
    WITH RECURSIVE holder AS (
      SELECT CASE c.relkind WHEN 'p' THEN 'partitionKey' ELSE 'index' END AS kind,
             CASE c.relkind WHEN 'p' THEN 'partition key of ' || c.oid::pg_catalog.regclass::text
                  ELSE 'index ' || c.oid::pg_catalog.regclass::text || ' on ' || i.indrelid::pg_catalog.regclass::text END
               AS label,
             c.oid AS index_oid, 'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid AS object, NULL::text AS tree
        FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
       WHERE c.oid >= 16384 AND (c.relkind = 'p' OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
      UNION ALL
      SELECT 'generated', pg_catalog.format('generated column %I of %s', a.attname, a.attrelid::pg_catalog.regclass),
             0, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid, NULL
        FROM pg_catalog.pg_attrdef d
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
       WHERE d.adrelid >= 16384
      UNION ALL
      SELECT CASE WHEN k.contypid <> 0 THEN 'domain' ELSE 'check' END,
             CASE WHEN k.contypid <> 0
                  THEN pg_catalog.format('constraint %I of domain %s', k.conname, k.contypid::pg_catalog.regtype)
                  ELSE pg_catalog.format('constraint %I of %s', k.conname, k.conrelid::pg_catalog.regclass) END,
             0, 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, k.conbin::text
        FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.oid >= 16384
      UNION ALL
      SELECT 'statistics', pg_catalog.format('statistics %I on %s', s.stxname, s.stxrelid::pg_catalog.regclass), 0,
             'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid, NULL
        FROM pg_catalog.pg_statistic_ext s
    ), made (view, rule) AS (
      SELECT c.oid, w.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid
       WHERE c.relkind = 'm' AND c.oid >= 16384
      UNION
      SELECT m.view, w.oid FROM made m
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = m.rule
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        JOIN pg_catalog.pg_class v ON v.oid = d.refobjid AND v.relkind = 'v' AND v.oid >= 16384
        JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
    ), part AS (
      SELECT kind, label, index_oid, class, object, tree FROM holder
      UNION ALL
      SELECT 'materializedView', 'materialized view ' || view::pg_catalog.regclass::text, 0,
             'pg_catalog.pg_rewrite'::pg_catalog.regclass, rule, NULL FROM made
    )
    SELECT kind, label, index_oid, coalesce(functions, ''), coalesce(moment, '') FROM (
      SELECT p.kind, p.label, p.index_oid,
             (SELECT pg_catalog.string_agg(DISTINCT f.oid::text, ' ')
                FROM pg_catalog.pg_depend d
                LEFT JOIN pg_catalog.pg_operator o
                  ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
                JOIN pg_catalog.pg_proc f ON f.oid = CASE
                     WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid ELSE o.oprcode END
                JOIN pg_catalog.pg_language l ON l.oid = f.prolang
               WHERE d.classid = p.class AND d.objid = p.object AND f.oid >= 16384 AND l.lanname NOT IN ('c', 'internal'))
               AS functions,
             (SELECT pg_catalog.string_agg(DISTINCT name, ' ') FROM (
                SELECT f.proname::text AS name
                  FROM pg_catalog.regexp_matches(p.tree, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS m
                  JOIN pg_catalog.pg_proc f ON f.oid = m[1]::pg_catalog.oid
                 WHERE f.oid < 16384 AND f.provolatile <> 'i'
                   AND (f.provolatile = 'v' OR f.proname::text IN (\(momentary.map { "'\($0)'" }.joined(separator: ", ")))
                     AND NOT (f.proname = 'age' AND f.pronargs = 2))
                UNION ALL SELECT 'current_date' WHERE p.tree LIKE '%{SQLVALUEFUNCTION%') AS b) AS moment
        FROM part p) AS found
     WHERE functions IS NOT NULL OR moment IS NOT NULL
     ORDER BY 1, 2
    """

  private static let otherNames = """
    SELECT f.proname FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
     WHERE f.oid >= 16384 AND l.lanname IN ('c', 'internal')
    UNION
    SELECT t.typname FROM pg_catalog.pg_type t
     WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'e', 'r') OR t.typtype = 'b' AND t.typcategory <> 'A')
    """

  private static let bodies = """
    SELECT f.oid, f.oid::pg_catalog.regprocedure::text, f.proname, l.lanname,
           pg_catalog.left(CASE WHEN f.prosrc = '' THEN pg_catalog.pg_get_functiondef(f.oid) ELSE f.prosrc END, 50000),
           pg_catalog.pg_get_function_arguments(f.oid) || ' ' || coalesce(pg_catalog.pg_get_function_result(f.oid), ''),
           coalesce(pg_catalog.array_to_string(f.proconfig, ' '), ''),
           pg_catalog.to_jsonb(f) ->> 'prosqlbody' IS NOT NULL
      FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_language l ON l.oid = f.prolang
     WHERE f.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND f.prokind = 'f'
    """
}
