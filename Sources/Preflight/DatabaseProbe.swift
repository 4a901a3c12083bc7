import Inventory
import MigrationCore
import PostgresClient
import Verification

/// The question to each database: one statement in one session.
extension PreflightReader {
  func database(_ name: String) async -> Reading<DatabaseFacts> {
    await reading(.source) {
      try await context.withNewSession(.source, database: name) { session in
        var facts = DatabaseFacts(
          try await session.query(
            Self.databaseStatement, [String(Preflight.largeObjectLimit)], within: Self.deadline))
        facts.computed = try await ComputedValues.read(session, within: Self.deadline)
        return facts
      }
    }
  }

  /// Rows of kind, object (quoted where SQL needs it), number, detail.
  ///
  /// The server uses an index as replica identity only when it is valid, unique, immediate and not partial:
  /// a deferrable primary key is none.
  /// <https://www.postgresql.org/docs/15/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY>
  private static let databaseStatement = """
    WITH RECURSIVE relation AS (
      SELECT c.oid, c.relkind, c.relpersistence, c.relreplident,
             pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ), flawed AS (
      SELECT oid, name, relreplident FROM relation r
       WHERE relkind = 'r' AND relpersistence = 'p' AND relreplident <> 'f' AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = r.oid AND i.indislive AND i.indisvalid AND i.indisunique AND i.indimmediate
                  AND i.indpred IS NULL
                  AND CASE r.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
    ), base (column_type, oid) AS (
      SELECT oid, oid FROM pg_catalog.pg_type
      UNION ALL
      SELECT b.column_type, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
        FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid
       WHERE t.typtype = 'd' OR t.typcategory = 'A' AND t.typelem <> 0
    ), unequal AS (
      SELECT b.column_type AS oid FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid
       WHERE t.typtype = 'b' AND NOT (t.typcategory = 'A' AND t.typelem <> 0) AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
                WHERE o.opcdefault AND m.amname IN ('btree', 'hash')
                  AND (o.opcintype = t.oid OR EXISTS (
                        SELECT FROM pg_catalog.pg_cast k
                         WHERE k.castsource = t.oid AND k.casttarget = o.opcintype AND k.castmethod = 'b'
                           AND k.castcontext = 'i')))
    )
    SELECT 'identity', name,
           pg_catalog.pg_stat_get_tuples_updated(oid) + pg_catalog.pg_stat_get_tuples_deleted(oid),
           CASE relreplident
             WHEN 'n' THEN 'nothing'
             WHEN 'd' THEN (SELECT 'deferrableKey' FROM pg_catalog.pg_index i
                             WHERE i.indrelid = f.oid AND i.indisprimary AND NOT i.indimmediate)
             ELSE coalesce((SELECT 'indexUnfit' FROM pg_catalog.pg_index i
                             WHERE i.indrelid = f.oid AND i.indisreplident), 'indexGone')
           END
      FROM flawed f
    UNION ALL
    SELECT 'full', r.name, 0,
           (SELECT pg_catalog.string_agg(
                     pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)), ', '
                     ORDER BY a.attnum)
              FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND a.atttypid IN (SELECT oid FROM unequal))
      FROM relation r WHERE relkind = 'r' AND relpersistence = 'p' AND relreplident = 'f'
    UNION ALL
    SELECT 'unlogged', name, 0, NULL FROM relation WHERE relkind = 'r' AND relpersistence = 'u'
    UNION ALL
    SELECT 'materialized', name, 0, NULL FROM relation WHERE relkind = 'm'
    UNION ALL
    SELECT 'foreign', name, 0, NULL FROM relation WHERE relkind = 'f'
    UNION ALL
    SELECT 'transaction', pg_catalog.format('%s.%I', r.name, a.attname), 0, NULL
      FROM pg_catalog.pg_attribute a JOIN relation r ON r.oid = a.attrelid
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE r.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
       AND (a.atttypid IN (SELECT b.column_type FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid
                            WHERE t.oid < 16384 AND t.typname IN ('xid', 'xid8', 'pg_snapshot', 'txid_snapshot'))
            OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '(txid_current|pg_current_xact_id|pg_current_snapshot)')
    UNION ALL
    SELECT 'always', pg_catalog.format('trigger %I on %s', t.tgname, r.name), 0, NULL
      FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid
     WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal
    UNION ALL
    SELECT 'always', pg_catalog.format('rule %I on %s', w.rulename, r.name), 0, NULL
      FROM pg_catalog.pg_rewrite w JOIN relation r ON r.oid = w.ev_class
     WHERE w.ev_enabled IN ('A', 'R')
    UNION ALL
    SELECT 'large', '', pg_catalog.count(*), NULL
      FROM (SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT $1::pg_catalog.int8 + 1) l
    UNION ALL
    SELECT 'extension', extname, 0, NULL FROM pg_catalog.pg_extension
    UNION ALL
    SELECT DISTINCT 'library', probin, 0, NULL
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE l.lanname = 'c' AND p.oid >= 16384 AND probin IS NOT NULL
    ORDER BY 1, 3 DESC, 2
    """
}

extension DatabaseFacts {
  init(_ result: QueryResult) {
    self.init()
    for row in result.rows {
      let name = row.string(1)
      switch row.string(0) {
      case "identity":
        tablesWithoutIdentity.append(
          Table(name: name, changes: row.int(2) ?? 0, flaw: row[3].flatMap(Table.Flaw.init(rawValue:))))
      case "full": if let columns = row[3] { fullWithoutEquality.append(FullTable(name: name, columns: columns)) }
      case "unlogged": unloggedTables.append(name)
      case "materialized": materializedViews.append(name)
      case "foreign": foreignTables.append(name)
      case "transaction": transactionIDs.append(name)
      case "always": alwaysFiring.append(name)
      case "large": largeObjects = row.int(2) ?? 0
      case "extension": extensions.append(name)
      case "library": libraries.append(name)
      default: break
      }
    }
  }
}
