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
    let others = try readUTF8 { connection throws(PostgresError) in
      try connection.query(TruncateStatement.others(beside: tables.map(\.name))).rows.map {
        (name: RelationName(schema: $0.string(0), name: $0.string(1)), isParent: $0.bool(2))
      }
    }
    let sql = TruncateStatement.text(
      tables.map(\.name) + others.filter { !$0.isParent }.map(\.name), parents: others.filter(\.isParent).map(\.name),
      restartIdentity: restartIdentity)
    try pipeline.query(sql, expecting: .truncate(number: numbers[0], lsn: lsn, xid: sourceTransaction))
    try countChange(bytes: sql.utf8.count)
  }

  /// Asks the target in a session that reads and writes UTF-8 meanwhile, under the settings that reading wants.
  func readUTF8<Value>(_ body: (PostgresConnection) throws(PostgresError) -> Value) throws(ApplyFailure) -> Value {
    let switching = pipeline.session.encodingSwitch
    return try pipeline.reading { connection throws(PostgresError) in
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
  /// - Parameter parents: partitioned tables, for which there is no ONLY.
  static func text(_ tables: [RelationName], parents: [RelationName], restartIdentity: Bool) -> String {
    let list = tables.map { "ONLY " + $0.quoted } + parents.map(\.quoted)
    return "TRUNCATE " + list.joined(separator: ", ") + (restartIdentity ? " RESTART IDENTITY" : "")
  }

  /// Asks for what the server wants to be named besides, for foreign keys' sake:
  ///
  /// - unlogged tables whose keys lead there, which were emptied on the source as well, and which no stream names;
  /// - partitioned tables that keys lead to or from, and that come to nothing else: each of their leaves is one of the
  ///   tables, or unlogged. (No foreign table can be below one: it can have no key of either kind.)
  static func others(beside tables: [RelationName]) -> String {
    let list = tables.map { quotedLiteral($0.quoted) + "::pg_catalog.regclass" }.joined(separator: ", ")
    return """
      WITH RECURSIVE named AS MATERIALIZED (
        SELECT relid::pg_catalog.oid FROM pg_catalog.unnest(ARRAY[\(list)]) AS relid
      ), referrer (oid) AS (
        SELECT k.conrelid FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
         WHERE k.contype = 'f' AND k.confrelid = ANY (ARRAY(SELECT relid FROM named)) AND c.relpersistence = 'u'
         UNION
        SELECT k.conrelid FROM referrer r JOIN pg_catalog.pg_constraint k ON k.confrelid = r.oid WHERE k.contype = 'f'
      ), parent AS MATERIALIZED (
        SELECT DISTINCT a.relid::pg_catalog.oid AS oid
          FROM named CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(named.relid) AS a (relid)
         WHERE a.relid <> named.relid
      )
      SELECT n.nspname, c.relname, c.relkind = 'p'
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND c.oid = ANY (ARRAY(SELECT oid FROM referrer EXCEPT SELECT relid FROM named))
          OR c.oid = ANY (ARRAY(
               SELECT oid FROM parent
                WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint k
                               WHERE k.contype = 'f' AND (k.conrelid = parent.oid OR k.confrelid = parent.oid))
                  AND NOT EXISTS (
                        SELECT FROM pg_catalog.pg_partition_tree(parent.oid) AS t
                          JOIN pg_catalog.pg_class l ON l.oid = t.relid
                         WHERE t.isleaf AND (l.relkind <> 'r' OR l.relpersistence <> 'u'
                                 AND NOT EXISTS (SELECT FROM named WHERE named.relid = l.oid)))))
       ORDER BY 1, 2
      """
  }
}
