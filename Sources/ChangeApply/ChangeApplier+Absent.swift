import LogicalDecoding
public import OriginSession
public import ReplicationModel

/// Somebody who can look at the source.
public protocol RelationFates: AnyObject {
  /// Called on the applying thread; may take its time.
  func fate(of relation: AbsentRelation) throws(ApplyFailure) -> RelationFate
}

/// Relations that the target lacks: their rows are left out where nobody will ever read them, and nothing else is.
extension ChangeApplier {
  /// Whether the relation is known to be gone, in the transaction in hand. Counts a change of it.
  func isGone(_ number: RelationNumber) -> Bool {
    guard let known = gone[number], known.oid == parser.relationOID(number) else { return false }
    gone[number]?.changes += 1
    return true
  }

  /// - Throws: `.absent` when the source has the relation, or may have it, or nobody can tell.
  func leaveOut(absent number: RelationNumber, _ row: UnsafeRawBufferPointer?) throws(ApplyFailure) {
    let name = parser.relationName(number)
    let missing = "table \(name) does not exist on the target"
    guard let fates, let xid = sourceTransaction else { throw ApplyFailure(.drift, missing) }
    let (schema, table) = parser.relationNameBytes(number)
    let relation = AbsentRelation(
      schema: schema, table: table, oid: parser.relationOID(number), xid: xid, columns: row.flatMap(columns),
      hasAllColumns: parser.newColumns != nil)
    switch try fates.fate(of: relation) {
    case .gone: gone[number] = (relation.oid, 1 + (gone[number]?.changes ?? 0))
    case .open: throw ApplyFailure(.absent, missing + ", and its transaction is not over on the source")
    case .present: throw ApplyFailure(.absent, missing + ": create it there as the source has it")
    case .alive(let tables): throw ApplyFailure(.absent, missing + Self.remedy("\(name)", tables, relation.oid != nil))
    }
  }

  private func columns(of row: UnsafeRawBufferPointer) -> [[UInt8]]? {
    let names = parser.tupleNames(of: row).bytes
    return (parser.newColumns ?? parser.oldColumns)?.map { column in
      var name: [UInt8] = []
      appendUnquotedIdentifier(column.name, of: names, to: &name)
      return name
    }
  }

  /// What brings the rows in, whatever the table is called by now.
  private static func remedy(_ name: String, _ tables: [String], _ isKnown: Bool) -> String {
    let found = tables.prefix(3).joined(separator: ", ") + (tables.count > 3 ? ", …" : "")
    let present = tables.count == 1 ? tables[0] : "one of them"
    return
      ": its rows \(isKnown ? "are" : "may be") those of \(found) on the source; on the target, drop \(present) if "
      + "it is there and create \(name) as the source has \(present) now; when the rows have come and the worker stops at "
      + "\(present), or has caught up, rename \(name) to it"
  }

  /// The transaction is past.
  func countGone() {
    for (number, left) in gone { counters.goneRows[parser.relationName(number), default: 0] += left.changes }
    gone.removeAll()
  }
}
