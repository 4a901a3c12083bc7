import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// A pair of databases whose source writes its statements down, and roles to run them.
final class StatementPair {
  let pair: DatabasePair
  private let prefix = "r_" + HandOffNames.random().nonce
  private var records: [DatabasePair.Record] = []

  var source: PostgresConnection { pair.source }
  var target: PostgresConnection { pair.target }
  /// The source's schema of statements.
  var schema: String { pair.statements?.schema ?? "" }

  init(_ schema: String = "", encoding: String = "UTF8") throws {
    pair = try DatabasePair(schema, encoding: encoding, carriesDDL: true)
  }

  /// A role of the cluster, which both databases share, that owns a schema of its own name on both sides and nothing else.
  func role(_ attributes: String = "") throws -> String {
    let name = "\(prefix)_\(HandOffNames.random().nonce)"
    try source.script("CREATE ROLE \(name) LOGIN \(attributes)")
    for side in [source, target] {
      try side.script("SET session_replication_role = replica; CREATE SCHEMA \(name) AUTHORIZATION \(name)")
      try side.script("SET session_replication_role = origin")
    }
    return name
  }

  /// A new session on the source.
  func session(as role: String? = nil) throws -> PostgresConnection {
    var parameters = source.parameters
    if let role { parameters.user = role }
    return try PostgresConnection.connect(parameters)
  }

  /// Runs statements on the source, each as a client sends it, all in one new session.
  func run(_ statements: String..., as role: String? = nil) throws {
    let session = try session(as: role)
    defer { session.close() }
    for statement in statements { try session.script(statement) }
  }

  /// Applies what the source has committed, as a worker does that is caught up, or far behind.
  func apply(backlog: Bool = false, leavingOut: Set<LSN> = []) throws {
    records += try pair.changes()
    if backlog {
      try pair.applyBacklog(records)
      return
    }
    let progress = try pair.progress()
    let applier = try pair.applier(from: progress, leavingOut: leavingOut)
    defer { applier.end() }
    try applier.apply(pair.remaining(records, after: progress))
    try applier.commitGroup()
  }

  /// What parks the worker.
  func failure(sourceLocation: SourceLocation = #_sourceLocation) throws -> ApplyFailure {
    do {
      try apply()
    } catch let error as ApplyFailure {
      return error
    }
    throw ConvoyError("test.no-failure", "everything went through")
  }

  func expectRefusal(_ words: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let failure = try failure()
    #expect(failure.isStatement && failure.description.contains(words), "\(failure)", sourceLocation: sourceLocation)
  }

  func value(_ connection: PostgresConnection, _ query: String) throws -> String? { try connection.query(query).first }

  /// Tables, columns, indexes, views, types and so on, one line each: the same on both sides.
  func expectSameSchemas(sourceLocation: SourceLocation = #_sourceLocation) throws {
    let listing = """
      WITH s AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^(pg_|pgconvoy_|information_schema)')
      SELECT concat_ws(' ', 'relation', nspname, relname, relkind, pg_get_userbyid(relowner), relacl,
               obj_description(c.oid, 'pg_class'))
        FROM pg_class c JOIN s ON s.oid = relnamespace
      UNION ALL
      SELECT concat_ws(' ', 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
               attidentity, pg_get_expr(adbin, adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN s ON s.oid = relnamespace
        LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND NOT attisdropped
      UNION ALL
      SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid)
        FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN s ON s.oid = relnamespace
      UNION ALL
      SELECT concat_ws(' ', 'constraint', conname, pg_get_constraintdef(k.oid))
        FROM pg_constraint k JOIN s ON s.oid = connamespace
      UNION ALL
      SELECT concat_ws(' ', 'type', typname, typtype, pg_get_userbyid(typowner),
               (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
        FROM pg_type t JOIN s ON s.oid = typnamespace
      UNION ALL
      SELECT concat_ws(' ', 'view', c.oid::regclass, pg_get_viewdef(c.oid))
        FROM pg_class c JOIN s ON s.oid = relnamespace WHERE relkind IN ('v', 'm')
      UNION ALL
      SELECT concat_ws(' ', 'function', p.oid::regprocedure, md5(prosrc), pg_get_userbyid(proowner), proacl)
        FROM pg_proc p JOIN s ON s.oid = pronamespace
      UNION ALL
      SELECT concat_ws(' ', 'schema', nspname) FROM s
      ORDER BY 1
      """
    let (here, there) = (
      try source.query(listing).rows.map { $0.string(0) }, try target.query(listing).rows.map { $0.string(0) }
    )
    #expect(here == there, sourceLocation: sourceLocation)
  }

  /// Rows of a table on both sides.
  func expectSameRows(_ table: String, _ count: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let query = "SELECT t::text FROM \(table) t ORDER BY 1"
    let here = try source.query(query).rows.map { $0.string(0) }
    let there = try target.query(query).rows.map { $0.string(0) }
    #expect(here == there && here.count == count, sourceLocation: sourceLocation)
  }
}
