/// A relation of the stream that the target has none of.
public struct AbsentRelation: Sendable, Equatable {
  /// Unquoted, in the database's encoding, as the relation was called when its rows were written.
  public var schema: [UInt8]
  public var table: [UInt8]
  /// On the source; nil where the output plugin does not tell.
  public var oid: UInt32?
  /// The transaction that wrote the rows.
  public var xid: UInt32
  /// Columns that it had then; nil where none was seen.
  public var columns: [[UInt8]]?
  /// Whether these are all of them, in their order.
  public var hasAllColumns: Bool

  public init(
    schema: [UInt8], table: [UInt8], oid: UInt32?, xid: UInt32, columns: [[UInt8]]? = nil, hasAllColumns: Bool = true
  ) {
    self.schema = schema
    self.table = table
    self.oid = oid
    self.xid = xid
    self.columns = columns
    self.hasAllColumns = hasAllColumns
  }
}

/// What has become of such a relation on the source.
public enum RelationFate: Sendable, Equatable {
  /// It is there no more: no row of it will ever be read by anyone.
  case gone
  /// It is one of these, quoted names; where the plugin tells oids, it is this one.
  case alive([String])
  /// It is there, by the same name.
  case present
  /// The transaction is not over for those who look.
  case open
}

/// The tables of the source at one moment, as far as they may be one that the target lacks.
///
/// Rows of a relation that is gone say nothing: what was made of them is in the stream by itself. That the *name* is gone
/// proves nothing, for a table that is filled as t_new may live on as t. So the question is whether any table that is
/// there can be the one that was written to. By its oid, where the plugin tells it. Otherwise a table is another one when
/// it was called differently then, and that is known when it has kept its name since it was made, and was made before
/// the transaction; or since the copy was made. Names leave a trace: a table's row type is renamed and moved with it, so that
/// the type's row in the catalog is a new one, with the renaming transaction in its `xmin`. The rows of a table's system
/// columns stay as they were made, so that theirs is the transaction that made it. A subtransaction's xid is always larger
/// than its transaction's: what was made before the transaction was not made in it.
public struct SourceTables: Sendable, Equatable {
  public struct Table: Sendable, Equatable {
    public var oid: UInt32
    public var schema: [UInt8]
    public var name: [UInt8]
    /// For a person.
    public var quoted: String
    /// The transaction, or subtransaction, that made it.
    public var madeBy: UInt32
    /// That which gave it its name and schema; nil where that cannot be told.
    public var namedBy: UInt32?
    /// Both as the copy has them.
    public var isAsCopied: Bool
    /// Its schema has the name that it had when the copy was made.
    public var hasCopiedSchema: Bool
    /// The columns that it was made with; nil where they have been altered since, be it in the same transaction, or nobody
    /// has asked.
    public var columns: [[UInt8]]?

    public init(
      oid: UInt32, schema: [UInt8], name: [UInt8], quoted: String, madeBy: UInt32, namedBy: UInt32?, isAsCopied: Bool,
      hasCopiedSchema: Bool, columns: [[UInt8]]? = nil
    ) {
      self.oid = oid
      self.schema = schema
      self.name = name
      self.quoted = quoted
      self.madeBy = madeBy
      self.namedBy = namedBy
      self.isAsCopied = isAsCopied
      self.hasCopiedSchema = hasCopiedSchema
      self.columns = columns
    }
  }

  public var moment: TransactionSnapshot
  public var tables: [Table]

  public init(moment: TransactionSnapshot, tables: [Table]) {
    self.moment = moment
    self.tables = tables
  }

  public func fate(of relation: AbsentRelation) -> RelationFate {
    guard moment.sees(relation.xid) else { return .open }
    let alive = tables.filter { table in
      if let oid = relation.oid { return table.oid == oid }
      return !isAnother(table, than: relation)
    }
    if alive.contains(where: { $0.schema == relation.schema && $0.name == relation.table }) { return .present }
    return alive.isEmpty ? .gone : .alive(alive.map(\.quoted))
  }

  /// Whether a table is known not to be the relation.
  private func isAnother(_ table: Table, than relation: AbsentRelation) -> Bool {
    guard let namedBy = table.namedBy else { return false }
    let keptName = namedBy == table.madeBy
    let isOlder = keptName && precedes(table.madeBy, relation.xid)
    guard table.isAsCopied || isOlder else {
      // Made by that transaction, or a later one. It may have been filled under another name before, but not with
      // other columns.
      guard keptName, let now = table.columns, let then = relation.columns else { return false }
      return relation.hasAllColumns ? now != then : !then.allSatisfy(now.contains)
    }
    if table.name != relation.table { return true }
    return table.schema != relation.schema && table.hasCopiedSchema
  }
}

/// Which transactions are over for whoever looks: `xmin:xmax:` and those in between that are not.
public struct TransactionSnapshot: Sendable, Equatable {
  private var end: UInt32
  private var open: Set<UInt32>

  /// Reads what `txid_current_snapshot()` prints; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, let end = UInt64(parts[1]) else { return nil }
    self.end = UInt32(truncatingIfNeeded: end)
    open = Set(parts[2].split(separator: ",").compactMap { UInt64($0) }.map { UInt32(truncatingIfNeeded: $0) })
  }

  public func sees(_ xid: UInt32) -> Bool { precedes(xid, end) && !open.contains(xid) }
}

/// As the server compares transaction ids, which go round in a circle.
private func precedes(_ left: UInt32, _ right: UInt32) -> Bool { Int32(bitPattern: left &- right) < 0 }
