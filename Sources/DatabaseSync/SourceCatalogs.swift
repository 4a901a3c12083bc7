import BlockingIO
import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel

/// Looks at the catalogs of the server that is read, and compares them with those of its copy. Connects when it is asked.
///
/// For one thread at a time.
final class SourceCatalogs: RelationFates {
  private let from: ConnectionParameters
  private let to: ConnectionParameters
  private var source: PostgresConnection?
  private var last: SourceTables?

  init(from: ConnectionParameters, to: ConnectionParameters) {
    self.from = from.canonical
    self.to = to.canonical
  }

  deinit { source?.close() }

  /// What is gone stays gone: an earlier look that has seen the transaction's end will do.
  func fate(of relation: AbsentRelation) throws(ApplyFailure) -> RelationFate {
    if relation.oid == nil, let last, last.fate(of: relation) == .gone { return .gone }
    do throws(PostgresError) {
      let tables = try look(for: relation.oid)
      if relation.oid == nil { last = tables }
      return tables.fate(of: relation)
    } catch {
      source?.close()
      source = nil
      throw ApplyFailure(looking: error)
    }
  }

  // MARK: the look

  private static let patience = Duration.seconds(60)

  /// All from one snapshot of the source. The copy is looked at meanwhile: what was changed there is never taken for
  /// what was copied.
  private func look(for oid: UInt32?) throws(PostgresError) -> SourceTables {
    let source = try connected()
    try source.script("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", until: .after(Self.patience))
    let moment = try source.query("SELECT pg_catalog.txid_current_snapshot()", until: .after(Self.patience))
    guard let snapshot = moment.first.flatMap({ TransactionSnapshot($0) }) else {
      throw PostgresError(.unexpectedReply, message: "no snapshot was returned", server: from.displayName)
    }
    var found = try Self.list(source, oid)
    if oid == nil {
      let target = try PostgresConnection.connect(to)
      defer { target.close() }
      let listed = try Self.list(target, nil).map { ($0.table.oid, $0) }
      let copied = Dictionary(listed) { first, _ in first }
      for (index, one) in found.enumerated() {
        guard let copy = copied[one.table.oid] else { continue }
        found[index].table.isAsCopied = copy.typeRow == one.typeRow && copy.table.madeBy == one.table.madeBy
        found[index].table.hasCopiedSchema = copy.schemaRow == one.schemaRow
      }
      try Self.readColumns(of: &found, source)
    }
    try source.script("COMMIT", until: .after(Self.patience))
    return SourceTables(moment: snapshot, tables: found.map(\.table))
  }

  private func connected() throws(PostgresError) -> PostgresConnection {
    if let source { return source }
    let made = try PostgresConnection.connect(from)
    source = made
    return made
  }

  private struct Found {
    var table: SourceTables.Table
    /// The oid of a row of the catalogs and the transaction that wrote it, which a copy has alike.
    var typeRow: [String?]
    var schemaRow: [String?]
  }

  private static func list(_ connection: PostgresConnection, _ oid: UInt32?) throws(PostgresError) -> [Found] {
    try connection.query(
      """
      SELECT c.oid, pg_catalog.convert_to(n.nspname, pg_catalog.getdatabaseencoding()),
             pg_catalog.convert_to(c.relname, pg_catalog.getdatabaseencoding()),
             pg_catalog.format('%I.%I', n.nspname, c.relname), a.xmin, t.oid, t.xmin, n.oid, n.xmin
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = -1
        LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype
       WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid >= 16384
         AND ($1::pg_catalog.oid IS NULL OR c.oid = $1)
      """, [oid.map(String.init)], until: .after(patience)
    ).rows.map { row in
      Found(
        table: SourceTables.Table(
          oid: UInt32(row.string(0)) ?? 0, schema: bytes(hexadecimalBytea: row.string(1)),
          name: bytes(hexadecimalBytea: row.string(2)), quoted: row.string(3), madeBy: UInt32(row.string(4)) ?? 0,
          namedBy: row[6].flatMap { UInt32($0) }, isAsCopied: false, hasCopiedSchema: false),
        typeRow: [row[5], row[6]], schemaRow: [row[7], row[8]])
    }
  }

  /// The columns of tables that were made since, and not altered: each column's row is of the very command that made the
  /// table. (`cmin` tells a later one of the same transaction; a default counts as one, too.)
  private static func readColumns(of found: inout [Found], _ source: PostgresConnection) throws(PostgresError) {
    let new = found.indices.filter { !found[$0].table.isAsCopied }
    guard !new.isEmpty else { return }
    let oids = "{" + new.map { String(found[$0].table.oid) }.joined(separator: ",") + "}"
    let rows = try source.query(
      """
      SELECT a.attrelid, pg_catalog.string_agg(
               pg_catalog.encode(pg_catalog.convert_to(a.attname, pg_catalog.getdatabaseencoding()), 'hex'), ','
               ORDER BY a.attnum) FILTER (WHERE a.attnum > 0)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute s ON s.attrelid = a.attrelid AND s.attnum = -1
       WHERE a.attrelid = ANY ($1::pg_catalog.oid[])
       GROUP BY 1 HAVING pg_catalog.bool_and(
                         NOT a.attisdropped AND a.xmin = s.xmin AND a.cmin = s.cmin)
      """, [oids], until: .after(patience)
    ).rows
    let columns = Dictionary(rows.map { ($0.string(0), $0.string(1)) }) { first, _ in first }
    for index in new {
      guard let list = columns[String(found[index].table.oid)] else { continue }
      found[index].table.columns = list.split(separator: ",").map { bytes(hexadecimalBytea: "\\x" + $0) }
    }
  }
}
