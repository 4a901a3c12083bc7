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
    /// The name in the database's encoding, as the stream has it.
    public var encodedName: [UInt8]
    /// `format_type` with its modifier, schema-qualified: `character(5)`.
    public var type: String
    /// The type without its modifier: `bpchar`. A value that is too long for the column is an error where it is assigned;
    /// a cast with the modifier would cut it.
    public var baseType: String
    public var isGenerated: Bool
    /// GENERATED ALWAYS AS IDENTITY: an UPDATE may not set it.
    public var isIdentityAlways: Bool
    /// Some btree or hash index has it as a key column, so comparing it for equality can be quick.
    public var isIndexed: Bool
    /// Equal values of the type always look the same as text, so that rows can be told apart by it. Not so for
    /// numeric (1.0 and 1.00), citext, nondeterministic collations, …
    public var hasOneTextPerValue = false
    /// An array literal of the column's type cannot be written the common way: the type is an array itself, its arrays
    /// have another delimiter, or it is composite, which `unnest` would take apart.
    public var travelsAsText = false
    /// `pg_type.oid`.
    var typeOID: UInt32 = 0
    /// Values whose text is of this form may go to the target in binary, in an array or in COPY.
    var binaryForm: BinaryForm?
    /// Its text is the same under all settings.
    var hasPlainText = true
    /// The operator that the index knows as equality: `OPERATOR(pg_catalog.=)` for most, `OPERATOR(public.=)` for a type of
    /// an extension. The search_path finds what an application is meant to find.
    public var equality: String

    /// - Parameter encodedName: nil for a name that is UTF-8 in the database too.
    public init(
      name: String, encodedName: [UInt8]? = nil, type: String, isGenerated: Bool, isIdentityAlways: Bool,
      isIndexed: Bool, equality: String = "OPERATOR(pg_catalog.=)"
    ) {
      self.name = name
      self.encodedName = encodedName ?? Array(name.utf8)
      self.type = type
      baseType = type
      self.isGenerated = isGenerated
      self.isIdentityAlways = isIdentityAlways
      self.isIndexed = isIndexed
      self.equality = equality
    }
  }

  public var name: RelationName
  public var kind: Kind
  public var identity: ReplicaIdentity
  /// In the order of the table, dropped columns left out.
  public var columns: [Column]
  /// ENABLE ALWAYS or REPLICA triggers or rules, which fire in our session too: rows must come one at a time, in order.
  public var hasRowTriggers = false
  /// Whether rows that are known by their text only are looked for under other settings than they are written under.
  var searchesFirst = false

  public init(name: RelationName, kind: Kind, identity: ReplicaIdentity, columns: [Column]) {
    self.name = name
    self.kind = kind
    self.identity = identity
    self.columns = columns
  }

  /// Types and names of the columns, in one text.
  var shape: String {
    columns.map { "\($0.typeOID) \(quotedIdentifier($0.name))" }.joined(separator: ", ")
  }

  /// Asks for the `shape` that a table has now; its name is the parameter.
  static var shapeQuery: String {
    """
    SELECT pg_catalog.string_agg(
             pg_catalog.format('%s "%s"', a.atttypid, pg_catalog.replace(a.attname, '"', '""')), ', '
             ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::pg_catalog.text::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
    """
  }

  /// By bytes: names that are the same to Unicode, and so to `String`, are two for PostgreSQL.
  public func column(named name: String) -> Int? {
    columns.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
  }

  func column(encodedName: [UInt8]) -> Int? {
    columns.firstIndex { $0.encodedName == encodedName }
  }
}

extension TargetRelation {
  /// By the index: a database may have 50,000 tables, and each is looked up.
  static let lookup = """
    SELECT c.oid, c.relkind, c.relreplident, n.nspname, c.relname
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = pg_catalog.convert_from($1::bytea, pg_catalog.getdatabaseencoding())::pg_catalog.name
       AND c.relname = pg_catalog.convert_from($2::bytea, pg_catalog.getdatabaseencoding())::pg_catalog.name
    """

  /// Reads one relation from the target's catalogs; nil when there is none of that name.
  ///
  /// The names come in the database's encoding and are looked up in it, so that the session must have
  /// client_encoding UTF8 only for what it returns.
  ///
  /// A primary key counts as the default identity only when the server itself would take it: valid, not partial, not
  /// deferrable.
  public static func load(
    schema: [UInt8], table: [UInt8], from connection: PostgresConnection, until deadline: Deadline = .never
  ) throws(PostgresError) -> TargetRelation? {
    let head = try connection.query(
      Self.lookup, [hexadecimalBytea(schema), hexadecimalBytea(table)], until: deadline)
    guard let row = head.rows.first, let oid = row[0] else { return nil }
    let nondeterministic = connection.serverVersion >= 120000 ? "AND NOT l.collisdeterministic" : "AND false"
    let columns = try connection.query(
      """
      SELECT a.attname, pg_catalog.convert_to(a.attname, pg_catalog.getdatabaseencoding()),
             pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', a.attidentity = 'a',
             (SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
                FROM pg_catalog.pg_index i
                JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
                JOIN pg_catalog.pg_am am ON am.oid = ic.relam AND am.amname IN ('btree', 'hash')
                CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS k(position)
                JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[k.position]
                JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
                 AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = CASE am.amname WHEN 'btree' THEN 3 ELSE 1 END
                JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr
                JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
               WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[k.position] = a.attnum
               ORDER BY i.indisreplident DESC, i.indisprimary DESC, am.amname, i.indexrelid LIMIT 1),
             t.typtype IN ('b', 'e') AND (t.typtype = 'e' OR t.typname IN (
                 'bool', 'bytea', 'char', 'name', 'int2', 'int4', 'int8', 'oid', 'text', 'varchar', 'uuid', 'date',
                 'timestamp', 'timestamptz', 'time', 'inet', 'cidr', 'macaddr', 'macaddr8', 'pg_lsn')
               OR t.typname = 'bpchar' AND a.atttypmod >= 0)
               AND (t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace)
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation \(nondeterministic)),
             t.typcategory IN ('A', 'C') OR t.typdelim <> ',' OR t.typarray = 0, a.atttypid,
             pg_catalog.format_type(a.atttypid, -1), t.typtype = 'e',
             t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace AND t.typname IN (
               'bool', 'bpchar', 'char', 'cidr', 'inet', 'int2', 'int4', 'int8', 'json', 'jsonb', 'macaddr', 'macaddr8',
               'name', 'numeric', 'oid', 'pg_lsn', 'text', 'uuid', 'varchar')
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
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
    let triggers = try connection.query(
      """
      SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
                      WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled IN ('A', 'R'))
          OR EXISTS (SELECT FROM pg_catalog.pg_rewrite
                      WHERE ev_class = $1::oid AND ev_type <> '1' AND ev_enabled IN ('A', 'R'))
      """, [oid], until: deadline)
    var relation = TargetRelation(
      name: RelationName(schema: row.string(3), name: row.string(4)), kind: Kind(relkind: row.string(1)),
      identity: identity,
      columns: columns.rows.map { column in
        Column(
          name: column.string(0), encodedName: bytes(hexadecimalBytea: column.string(1)), type: column.string(2),
          isGenerated: column.bool(3), isIdentityAlways: column.bool(4), isIndexed: column[5] != nil,
          equality: column[5] ?? "OPERATOR(pg_catalog.=)")
      })
    let hasIntegerTimes = connection.reportedParameter("integer_datetimes") == "on"
    for (index, column) in columns.rows.enumerated() {
      relation.columns[index].hasOneTextPerValue = column.bool(6)
      relation.columns[index].travelsAsText = column.bool(7)
      relation.columns[index].hasPlainText = column.bool(11)
      relation.columns[index].baseType = column.string(9)
      let oid = UInt32(column.string(8)) ?? 0
      relation.columns[index].typeOID = oid
      let form = column.bool(10) ? .text : BinaryForm(type: oid)
      let isReadable = form?.countsMicroseconds != true || hasIntegerTimes
      relation.columns[index].binaryForm = isReadable && !column.bool(7) ? form : nil
    }
    relation.hasRowTriggers = triggers.first == "t"
    return relation
  }
}

extension TargetRelation.Kind: CustomStringConvertible {
  /// As an error says it: `foreign table`.
  public var description: String {
    switch self {
    case .table: "table"
    case .partitioned: "partitioned table"
    case .materializedView: "materialized view"
    case .other("f"): "foreign table"
    case .other("v"): "view"
    case .other(let kind): "relation of kind \(kind)"
    }
  }

  fileprivate init(relkind: String) {
    switch relkind {
    case "r": self = .table
    case "p": self = .partitioned
    case "m": self = .materializedView
    default: self = .other(relkind)
    }
  }
}
