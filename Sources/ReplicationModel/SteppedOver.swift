/// A source transaction that an operator wants out of the way.
public struct SteppedOver: Sendable, Equatable {
  public var xid: UInt32
  /// One of its records: the one that could not be applied, or the COMMIT.
  public var lsn: LSN
  /// Row changes, and one for each TRUNCATE, that were left out; by relation.
  public var changes: [RelationName: UInt64] = [:]
  /// The end of its COMMIT; nil as long as it was not seen.
  public var commit: LSN?
  /// What was left out, where it was one statement of `ddl: replicate` and not the whole transaction.
  public var statement: String?

  public init(xid: UInt32, lsn: LSN) {
    self.xid = xid
    self.lsn = lsn
  }
}

extension SteppedOver: CustomStringConvertible {
  /// `xid 743, CREATE EXTENSION of extension hstore by alice`, or `xid 743, 2 changes of public.orders, 1 change of public.users`
  public var description: String {
    if let statement { return "xid \(xid), \(statement)" }
    let tables = changes.sorted { $0.key < $1.key }.map { name, count in
      "\(count) change\(count == 1 ? "" : "s") of \(name)"
    }
    return (["xid \(xid)"] + (tables.isEmpty ? ["no changes"] : tables)).joined(separator: ", ")
  }
}
