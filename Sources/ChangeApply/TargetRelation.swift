public import BlockingIO
public import PostgresClient
public import ReplicationModel

/// A table on the target, as the apply side needs to know it.
public struct TargetRelation: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case table
    /// Named by TRUNCATE only; rows come under the names of the leaves.
    case partitioned
    /// Its rows are rebuilt on the target, not applied.
    case materializedView
    case other(String)
  }

  public struct Column: Sendable, Equatable {
    public var name: String
    /// `format_type` with its modifier, schema-qualified: `character(5)`.
    public var type: String
    public var isGenerated: Bool
    /// GENERATED ALWAYS AS IDENTITY: an UPDATE may not set it.
    public var isIdentityAlways: Bool
    /// Some btree or hash index has it as a key column, so comparing it with `=` can be quick.
    public var isIndexed: Bool

    public init(name: String, type: String, isGenerated: Bool, isIdentityAlways: Bool, isIndexed: Bool) {
      self.name = name
      self.type = type
      self.isGenerated = isGenerated
      self.isIdentityAlways = isIdentityAlways
      self.isIndexed = isIndexed
    }
  }

  public var name: RelationName
  public var kind: Kind
  public var identity: ReplicaIdentity
  /// In the order of the table, dropped columns left out.
  public var columns: [Column]

  public init(name: RelationName, kind: Kind, identity: ReplicaIdentity, columns: [Column]) {
    self.name = name
    self.kind = kind
    self.identity = identity
    self.columns = columns
  }

  public func column(named name: String) -> Int? {
    columns.firstIndex { $0.name == name }
  }
}

extension TargetRelation {
  /// Reads one relation from the target's catalogs; nil when there is none of that name.
  ///
  /// A primary key counts as the default identity only when the server itself would take it: valid, not partial, not
  /// deferrable.
  public static func load(
    _ name: RelationName, from connection: PostgresConnection, until deadline: Deadline = .never
  ) throws(PostgresError) -> TargetRelation? {
    let head = try connection.query(
      """
      SELECT c.oid, c.relkind, c.relreplident
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname = $1 AND c.relname = $2
      """, [name.schema, name.name], until: deadline)
    guard let row = head.rows.first, let oid = row[0] else { return nil }
    let columns = try connection.query(
      """
      SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', a.attidentity = 'a',
             EXISTS (SELECT FROM pg_catalog.pg_index i
                       JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                       JOIN pg_catalog.pg_am am ON am.oid = ic.relam AND am.amname IN ('btree', 'hash')
                      WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL
                        AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]))
        FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
       ORDER BY a.attnum
      """, [oid], until: deadline)
    let key = try connection.query(
      """
      SELECT a.attname
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
        CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
       WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indimmediate AND i.indisunique AND i.indpred IS NULL
         AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
       ORDER BY k.position
      """, [oid], until: deadline)
    let identity: ReplicaIdentity =
      row[2] == "f" ? .full : key.rowCount == 0 ? .nothing : .key(key.rows.map { $0.string(0) })
    return TargetRelation(
      name: name, kind: Kind(relkind: row.string(1)), identity: identity,
      columns: columns.rows.map { column in
        Column(
          name: column.string(0), type: column.string(1), isGenerated: column.bool(2),
          isIdentityAlways: column.bool(3), isIndexed: column.bool(4))
      })
  }
}

extension TargetRelation.Kind {
  fileprivate init(relkind: String) {
    switch relkind {
    case "r": self = .table
    case "p": self = .partitioned
    case "m": self = .materializedView
    default: self = .other(relkind)
    }
  }
}
