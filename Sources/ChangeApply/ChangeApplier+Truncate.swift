import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel

extension ChangeApplier {
  /// Empties just the tables that the stream names, each by itself. The stream names every leaf that was emptied on the
  /// source. A parent would take along whatever hangs below it here: a foreign table's rows are on a third server.
  func truncate(_ numbers: [RelationNumber], restartIdentity: Bool, lsn: LSN) throws(ApplyFailure) {
    var tables: [TargetRelation] = []
    for number in numbers {
      guard let relation = try layout(number)?.relation else { continue }
      switch relation.kind {
      case .table: tables.append(relation)
      case .partitioned, .materializedView: continue
      case .other:
        throw ApplyFailure(
          .drift, "\(relation.name) is a \(relation.kind) on the target and was emptied as a table on the source")
      }
    }
    guard !tables.isEmpty else { return }
    try useSession()
    let parents = try readUTF8 { connection throws(PostgresError) in
      try connection.query(TruncateStatement.parents(of: tables.map(\.name))).rows.map {
        RelationName(schema: $0.string(0), name: $0.string(1))
      }
    }
    let sql = TruncateStatement.text(tables, parents: parents, restartIdentity: restartIdentity)
    try pipeline.query(sql, expecting: .truncate(number: numbers[0], lsn: lsn, xid: sourceTransaction))
    try countChange(bytes: sql.utf8.count)
  }

  /// Asks the target in a session that reads and writes UTF-8 meanwhile.
  func readUTF8<Value>(_ body: (PostgresConnection) throws(PostgresError) -> Value) throws(ApplyFailure) -> Value {
    let switching = pipeline.session.encodingSwitch
    return try pipeline.outsidePipeline { connection throws(PostgresError) in
      if let switching { try connection.query(switching.toUTF8) }
      let value = try body(connection)
      if let switching { try connection.query(switching.back) }
      return value
    }
  }
}

/// One statement for all the tables, as on the source: a table that another one references can only be truncated
/// together with it.
enum TruncateStatement {
  /// - Parameter parents: partitioned tables that must be named for a foreign key's sake.
  static func text(_ tables: [TargetRelation], parents: [RelationName], restartIdentity: Bool) -> String {
    var list = tables.map { "ONLY " + $0.name.quoted }
    // Unlogged ones were emptied on the source as well, and the stream does not name them.
    for unlogged in tables.flatMap(\.unloggedReferrers) {
      let name = "ONLY " + unlogged.quoted
      if !list.contains(name) { list.append(name) }
    }
    list += parents.map(\.quoted)
    return "TRUNCATE " + list.joined(separator: ", ") + (restartIdentity ? " RESTART IDENTITY" : "")
  }

  /// Asks for the partitioned tables that foreign keys lead to or from, and that come to nothing else than the tables:
  /// each of their leaves is one of these, or unlogged. The server wants them to be named, and has no ONLY for them. (No
  /// foreign table can be below one: it can have no key of either kind.)
  static func parents(of tables: [RelationName]) -> String {
    let list = tables.map { quotedLiteral($0.quoted) + "::pg_catalog.regclass" }.joined(separator: ", ")
    return """
      WITH named AS (SELECT relid::pg_catalog.oid FROM pg_catalog.unnest(ARRAY[\(list)]) AS relid),
      parent AS (
        SELECT DISTINCT a.relid::pg_catalog.oid
          FROM named CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(named.relid) AS a (relid)
         WHERE a.relid <> named.relid AND EXISTS (
                 SELECT FROM pg_catalog.pg_constraint k
                  WHERE k.contype = 'f' AND (k.conrelid = a.relid OR k.confrelid = a.relid)))
      SELECT n.nspname, c.relname
        FROM parent JOIN pg_catalog.pg_class c ON c.oid = parent.relid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE NOT EXISTS (
               SELECT FROM pg_catalog.pg_partition_tree(parent.relid) AS t JOIN pg_catalog.pg_class l ON l.oid = t.relid
                WHERE t.isleaf AND (l.relkind <> 'r'
                        OR l.relpersistence <> 'u' AND NOT EXISTS (SELECT FROM named WHERE named.relid = l.oid)))
       ORDER BY 1, 2
      """
  }
}
