import HostAdmin
import Inventory
package import Journal
package import MigrationCore
import PostgresClient
package import ReplicationModel

/// What the two sides' schemas of a database do not have in common: DDL travels in no logical stream.
struct SchemaDrift: Sendable, Equatable {
  /// One line for each object: `column public.orders.note: only on the source`.
  var differences: [String]

  /// Compares one number of each side first, and the objects only where those differ.
  ///
  /// - Parameters:
  ///   - source, target: sessions to one database with an empty `search_path`.
  ///   - limit: for each statement.
  static func between(
    source: PostgresSession, target: PostgresSession, within limit: Duration = .seconds(60)
  ) async throws -> SchemaDrift {
    // The statement is long and its work is short: compiling it would take seconds.
    // Definitions of views lock what they are made of; others must not have to queue behind that.
    for session in [source, target] { try await session.script("SET jit = off; SET lock_timeout = '200ms'") }
    async let left = source.query(SchemaObject.fingerprint, within: limit).first
    async let right = target.query(SchemaObject.fingerprint, within: limit).first
    if try await left == right { return SchemaDrift(differences: []) }
    async let here = SchemaObject.read(source, within: limit)
    async let there = SchemaObject.read(target, within: limit)
    return SchemaDrift(source: try await here, target: try await there)
  }

  private init(differences: [String]) { self.differences = differences }

  init(source: [SchemaObject], target: [SchemaObject]) {
    let here = Dictionary(source.map { ($0.identity, $0) }) { first, _ in first }
    let there = Dictionary(target.map { ($0.identity, $0) }) { first, _ in first }
    let identities = Set(here.keys).union(there.keys).sorted { $0.lexicographicallyPrecedes($1) }
    differences = identities.compactMap { identity in
      switch (here[identity], there[identity]) {
      case (let left?, nil): "\(left.kind) \(left.name): only on the source"
      case (nil, let right?): "\(right.kind) \(right.name): only on the target"
      case (let left?, let right?) where !left.definition.utf8.elementsEqual(right.definition.utf8):
        left.isReadable && right.isReadable
          ? "\(left.kind) \(left.name): \(left.definition) on the source, \(right.definition) on the target"
          : "\(left.kind) \(left.name): not the same on both sides"
      default: nil
      }
    }
  }
}

/// An object of a database's schema, as the catalogs of either side define it.
struct SchemaObject: Sendable, Equatable {
  var kind: String
  var name: String
  /// Text to be compared; for people only where it says what a column, say, is.
  var definition: String

  /// By bytes: names that are the same to Unicode are two for PostgreSQL.
  var identity: [UInt8] { Array(kind.utf8) + [0] + Array(name.utf8) }
  var isReadable: Bool {
    ["column", "constraint", "index", "extension"].contains(kind) && definition.utf8.count <= 200
  }

  static func read(_ session: PostgresSession, within limit: Duration) async throws -> [SchemaObject] {
    try await session.query(listing, within: limit).rows.map { row in
      SchemaObject(kind: row.string(0), name: row.string(1), definition: row.string(2))
    }
  }

  static let fingerprint = """
    SELECT pg_catalog.md5(pg_catalog.string_agg(
             pg_catalog.md5(pg_catalog.concat_ws(E'\\x01', kind, name, definition)), '' ORDER BY kind COLLATE "C",
             name COLLATE "C", definition COLLATE "C"))
      FROM (\(listing)) AS objects
    """

  /// A privilege list does not depend on the order in which privileges were granted.
  private static func privileges(_ list: String) -> String {
    """
    (SELECT pg_catalog.string_agg(item::text, ',' ORDER BY item::text COLLATE "C") FROM pg_catalog.unnest(\(list)) AS item)
    """
  }

  /// What initdb made is below 16384. Of ours are schemas that begin with `pgconvoy_`.
  static let listing = """
    WITH schemas AS (
      SELECT oid, nspname, nspowner, nspacl FROM pg_catalog.pg_namespace
       WHERE nspname !~ '^(pg_|pgconvoy_)' AND nspname <> 'information_schema'
    ), relations AS (
      SELECT c.*, pg_catalog.format('%I.%I', n.nspname, c.relname) AS path
        FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.oid >= 16384
    )
    SELECT 'schema' AS kind, pg_catalog.quote_ident(nspname) AS name,
           pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(nspowner), \(privileges("nspacl"))) AS definition
      FROM schemas
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                        WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'table' END, path,
           pg_catalog.concat_ws(' ', 'kind', relkind, relpersistence, 'owner', pg_catalog.pg_get_userbyid(relowner),
             \(privileges("relacl")), 'replica identity', relreplident,
             CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relforcerowsecurity THEN 'forced' END,
             pg_catalog.array_to_string(reloptions, ','), pg_catalog.pg_get_expr(relpartbound, oid),
             CASE WHEN relkind = 'p' THEN pg_catalog.pg_get_partkeydef(oid) END,
             CASE WHEN relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(oid) END,
             (SELECT pg_catalog.string_agg(inhparent::pg_catalog.regclass::text, ',' ORDER BY inhseqno)
                FROM pg_catalog.pg_inherits WHERE inhrelid = relations.oid))
      FROM relations
    UNION ALL
    SELECT 'column', path || '.' || pg_catalog.quote_ident(attname),
           pg_catalog.concat_ws(' ', pg_catalog.format_type(atttypid, atttypmod),
             CASE WHEN attcollation <> 0 AND attcollation <> 100 THEN 'COLLATE ' || attcollation::pg_catalog.regcollation END,
             CASE WHEN attnotnull THEN 'NOT NULL' END,
             CASE attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
             CASE WHEN attgenerated <> '' THEN 'GENERATED' END,
             (SELECT 'DEFAULT ' || pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
               WHERE adrelid = attrelid AND adnum = attnum), \(privileges("attacl")))
      FROM pg_catalog.pg_attribute JOIN relations ON relations.oid = attrelid
     WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
    UNION ALL
    SELECT 'constraint', pg_catalog.quote_ident(conname) || ' of ' || coalesce(path, contypid::pg_catalog.regtype::text),
           pg_catalog.pg_get_constraintdef(pg_constraint.oid)
      FROM pg_catalog.pg_constraint JOIN schemas ON schemas.oid = connamespace
      LEFT JOIN relations ON relations.oid = conrelid
     WHERE pg_constraint.oid >= 16384 AND contype <> 't'
    UNION ALL
    SELECT 'index', indexrelid::pg_catalog.regclass::text,
           pg_catalog.pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
             || CASE WHEN indisreplident THEN ' (replica identity)' ELSE '' END
      FROM pg_catalog.pg_index JOIN relations ON relations.oid = indrelid
    UNION ALL
    SELECT 'trigger', pg_catalog.quote_ident(tgname) || ' of ' || path,
           pg_catalog.pg_get_triggerdef(pg_trigger.oid) || ' ' || tgenabled::text
      FROM pg_catalog.pg_trigger JOIN relations ON relations.oid = tgrelid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'rule', pg_catalog.quote_ident(rulename) || ' of ' || path,
           pg_catalog.pg_get_ruledef(pg_rewrite.oid) || ' ' || ev_enabled::text
      FROM pg_catalog.pg_rewrite JOIN relations ON relations.oid = ev_class WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT 'policy', pg_catalog.quote_ident(polname) || ' of ' || path,
           pg_catalog.concat_ws(' ', polcmd, polpermissive,
             (SELECT pg_catalog.string_agg(role::pg_catalog.regrole::text, ',' ORDER BY role::pg_catalog.regrole::text)
                FROM pg_catalog.unnest(polroles) AS role),
             pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid))
      FROM pg_catalog.pg_policy JOIN relations ON relations.oid = polrelid
    UNION ALL
    SELECT 'function', pg_proc.oid::pg_catalog.regprocedure::text,
           pg_catalog.concat_ws(' ', 'md5', pg_catalog.md5(pg_catalog.concat_ws(E'\\x01', prosrc, probin)),
             (SELECT lanname FROM pg_catalog.pg_language WHERE pg_language.oid = prolang), provolatile, proisstrict,
             prosecdef, proparallel, prorettype::pg_catalog.regtype, pg_catalog.pg_get_function_arguments(pg_proc.oid),
             pg_catalog.array_to_string(proconfig, ','), pg_catalog.pg_get_userbyid(proowner), \(privileges("proacl")))
      FROM pg_catalog.pg_proc JOIN schemas ON schemas.oid = pronamespace WHERE pg_proc.oid >= 16384
    UNION ALL
    SELECT 'type', pg_type.oid::pg_catalog.regtype::text,
           pg_catalog.concat_ws(' ', typtype, CASE WHEN typbasetype <> 0 THEN pg_catalog.format_type(typbasetype, typtypmod) END,
             CASE WHEN typnotnull THEN 'NOT NULL' END, typdefault,
             (SELECT pg_catalog.string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_catalog.pg_enum
               WHERE enumtypid = pg_type.oid), \(privileges("typacl")))
      FROM pg_catalog.pg_type JOIN schemas ON schemas.oid = typnamespace
     WHERE typtype IN ('e', 'd', 'r') AND pg_type.oid >= 16384
    UNION ALL
    SELECT 'extension', pg_catalog.quote_ident(extname), 'version ' || extversion FROM pg_catalog.pg_extension
    """
}

extension MigrationContext {
  /// With sessions of its own, since kept ones would add up.
  func schemaDrift(of database: String) async throws -> SchemaDrift {
    try await withNewSession(.source, database: database) { source in
      try await withNewSession(.target, database: database) { target in
        try await SchemaDrift.between(source: source, target: target)
      }
    }
  }

  /// Gives whoever holds a lock on what a definition is made of half a minute.
  private func settledDrift(of database: String) async throws -> SchemaDrift {
    let end = ContinuousClock.now + .seconds(30)
    while true {
      do {
        return try await schemaDrift(of: database)
      } catch let error as PostgresError where error.sqlState == .lockNotAvailable && ContinuousClock.now < end {
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  /// What differs and will not come with the stream. With `ddl: replicate` a difference may be on its way: it is drift
  /// if it is still there when the stream is past the moment when it was seen.
  private func standingDrift(of database: String, _ direction: StreamDirection) async throws -> [String] {
    let differences = try await settledDrift(of: database).differences
    guard !differences.isEmpty, carriesDDL(direction) else { return differences }
    let seen = try await sourceEnd(database)
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      let status = try await recordedStatuses().map(\.status).first { $0.database == database }
      guard let status, status.phase != .parked else { break }
      if let applied = status.appliedLSN, applied >= seen { break }
      try await Task.sleep(for: .milliseconds(200))
    }
    let again = try await settledDrift(of: database).differences
    return differences.filter(again.contains)
  }

  /// Whether the streams of a direction carry DDL.
  nonisolated func carriesDDL(_ direction: StreamDirection) -> Bool {
    direction == .forward && migration.ddl == .replicate
  }

  /// Behind everything that the source has committed so far.
  func sourceEnd(_ database: String) async throws -> LSN {
    try await withNewSession(.source, database: database) { session in
      try await session.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").first.flatMap { LSN($0) } ?? .invalid
    }
  }

  /// - Throws: `cutover.schema-drift`, which names what differs.
  package func refuseDrift(_ record: HandOffRecord, _ direction: StreamDirection) async throws {
    let found = try await mapConcurrently(record.databases.map(\.name), limit: 4) { name in
      (database: name, differences: try await self.standingDrift(of: name, direction))
    }
    guard let first = found.first(where: { !$0.differences.isEmpty }) else { return }
    let count = first.differences.count
    throw ConvoyError(
      "cutover.schema-drift",
      "the schemas differ in \(count) object\(count == 1 ? "" : "s"): \(few(first.differences, separator: "; "))",
      at: .database(migration: migrationName, name: first.database),
      hint: (carriesDDL(direction) ? "no statement in the stream brings it" : "DDL is not replicated")
        + ": make the same change on the \(direction.toName), then run the "
        + "\(direction.noun) again")
  }
}
