import Glibc
import LogicalDecoding
import OriginSession
import ReplicationModel

/// How the tuples of one relation in the stream map to the target's columns, with the statements prepared for them.
///
/// A tuple's columns are compared with the ones seen last by their raw bytes; only when those differ (the first
/// record, or a change of the table on the source) names are looked up again.
final class RelationLayout {
  let relation: TargetRelation
  private var new = TupleLayout()
  private var old = TupleLayout()
  private var statements: [StatementKey: PreparedChange] = [:]
  private var lastInsert: PreparedChange?
  private var lastUpdate: (key: StatementKey, prepared: PreparedChange?)?
  private var lastDelete: PreparedChange?

  /// The changes that wait for a set-based statement.
  var batch: NetChangeBatch
  /// By the columns that they set; none for the delete.
  var batchStatements: [[Int]: BatchStatement] = [:]
  let canBatchKeyedChanges: Bool
  let canBatchInserts: Bool

  init(relation: TargetRelation) {
    self.relation = relation
    canBatchKeyedChanges = relation.canBatchKeyedChanges
    canBatchInserts = relation.canBatchInserts
    batch = NetChangeBatch(
      columnCount: relation.columns.count, keyColumns: canBatchKeyedChanges ? relation.keyColumns : [])
  }

  /// What distinguishes one statement of a relation from another.
  struct StatementKey: Hashable {
    enum Operation: Hashable { case insert, update, delete }
    var operation: Operation
    /// Indices of the target's columns that the new tuple sets.
    var set: [Int]
    /// Those of the old key; nil where the change has none.
    var old: [Int]?
  }

  /// A statement that the session knows by name.
  final class PreparedChange {
    let name: String
    let statement: ChangeStatement
    /// For each parameter, which tuple and which position in it.
    let positions: [ChangeStatement.Source]
    let search: (name: String, positions: [ChangeStatement.Source])?

    init(
      name: String, statement: ChangeStatement, positions: [ChangeStatement.Source],
      search: (name: String, positions: [ChangeStatement.Source])?
    ) {
      self.name = name
      self.statement = statement
      self.positions = positions
      self.search = search
    }
  }

  /// The target column of each column of a new tuple, and of an old key.
  func newTargets(_ columns: [DecodedColumn], names: TupleNames) throws(ApplyFailure) -> [Int] {
    if try adoptNew(columns, names: names) { forgetShortcuts() }
    return new.targets
  }

  func oldTargets(_ columns: [DecodedColumn], names: TupleNames) throws(ApplyFailure) -> [Int] {
    if try old.adopt(columns, names: names.unversioned, of: relation) { forgetShortcuts() }
    return old.targets
  }

  typealias Prepare = (ChangeStatement) throws(ApplyFailure) -> String

  func insert(
    _ columns: [DecodedColumn], names: TupleNames, prepare: Prepare
  ) throws(ApplyFailure) -> PreparedChange {
    let changed = try adoptNew(columns, names: names)
    if !changed, let lastInsert { return lastInsert }
    forgetShortcuts()
    let key = StatementKey(operation: .insert, set: new.targets, old: nil)
    guard let prepared = try statement(key, prepare: prepare) else {
      throw ApplyFailure(.unreadable, "insert without columns")
    }
    lastInsert = prepared
    return prepared
  }

  /// Nil when the update sets nothing.
  func update(
    _ columns: [DecodedColumn], old oldColumns: [DecodedColumn]?, names: TupleNames, prepare: Prepare
  ) throws(ApplyFailure) -> PreparedChange? {
    var changed = try adoptNew(columns, names: names)
    if let oldColumns { changed = try old.adopt(oldColumns, names: names.unversioned, of: relation) || changed }
    if changed { forgetShortcuts() }
    let hasUnchanged = columns.contains { $0.form == .unchangedToast }
    if !changed, !hasUnchanged, let lastUpdate, (lastUpdate.key.old != nil) == (oldColumns != nil),
      lastUpdate.key.set.count == columns.count
    {
      return lastUpdate.prepared
    }
    var set = new.targets
    if hasUnchanged { set = columns.indices.filter { columns[$0].form != .unchangedToast }.map { new.targets[$0] } }
    let key = StatementKey(operation: .update, set: set, old: oldColumns == nil ? nil : old.targets)
    let prepared = try statement(key, prepare: prepare)
    if !hasUnchanged { lastUpdate = (key, prepared) }
    return prepared
  }

  func delete(
    _ oldColumns: [DecodedColumn], names: TupleNames, prepare: Prepare
  ) throws(ApplyFailure) -> PreparedChange {
    let changed = try old.adopt(oldColumns, names: names.unversioned, of: relation)
    if !changed, let lastDelete { return lastDelete }
    forgetShortcuts()
    let key = StatementKey(operation: .delete, set: [], old: old.targets)
    guard let prepared = try statement(key, prepare: prepare) else {
      throw ApplyFailure(.unreadable, "delete without a key")
    }
    lastDelete = prepared
    return prepared
  }

  /// True when the new tuple's columns differ from those of the one before. Then every column may stand elsewhere in
  /// the tuple, also for a statement that sets the same columns as before.
  private func adoptNew(
    _ columns: [DecodedColumn], names: TupleNames
  ) throws(ApplyFailure) -> Bool {
    guard try new.adopt(columns, names: names, of: relation) else { return false }
    statements.removeAll()
    return true
  }

  private func forgetShortcuts() {
    lastInsert = nil
    lastUpdate = nil
    lastDelete = nil
  }

  private func statement(_ key: StatementKey, prepare: Prepare) throws(ApplyFailure) -> PreparedChange? {
    // The key holds target columns; the positions depend on what else is in the new tuple too, which `adoptNew` sees
    // to. The old tuple's columns are all in the key, in order.
    if let known = statements[key] { return known }
    let statement: ChangeStatement?
    switch key.operation {
    case .insert: statement = relation.insertStatement(columns: key.set)
    case .update: statement = try relation.updateStatement(columns: key.set, oldKey: key.old)
    case .delete: statement = try relation.deleteStatement(oldKey: key.old ?? [])
    }
    guard let statement else { return nil }
    let search: (name: String, positions: [ChangeStatement.Source])? =
      if let search = statement.search {
        (
          try prepare(ChangeStatement(sql: search.sql, parameters: search.parameters)),
          try positions(of: search.parameters)
        )
      } else { nil }
    let prepared = PreparedChange(
      name: try prepare(statement), statement: statement, positions: try positions(of: statement.parameters),
      search: search)
    statements[key] = prepared
    return prepared
  }

  private func positions(of parameters: [ChangeStatement.Source]) throws(ApplyFailure) -> [ChangeStatement.Source] {
    var positions: [ChangeStatement.Source] = []
    for source in parameters {
      switch source {
      case .new(let column):
        guard let position = new.targets.firstIndex(of: column) else {
          throw missing(column)
        }
        positions.append(.new(position))
      case .old(let column):
        guard let position = old.targets.firstIndex(of: column) else { throw missing(column) }
        positions.append(.old(position))
      }
    }
    return positions
  }

  private func missing(_ column: Int) -> ApplyFailure {
    ApplyFailure(.drift, "the change lacks column \(relation.columns[column].name) of table \(relation.name)")
  }
}

/// The columns of the tuple seen last, and which target columns they are.
private struct TupleLayout {
  private var known: [UInt8] = []
  private var ends: [Int] = []
  private var version: Int?
  private(set) var targets: [Int] = []
  private var isEmpty = true

  /// True when the columns differ from those of the tuple before.
  mutating func adopt(
    _ columns: [DecodedColumn], names: TupleNames, of relation: TargetRelation
  ) throws(ApplyFailure) -> Bool {
    if !isEmpty && matches(columns, names: names) { return false }
    version = names.version
    let record = names.bytes
    known.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    targets.removeAll(keepingCapacity: true)
    isEmpty = true
    for column in columns {
      var name: [UInt8] = []
      appendUnquotedIdentifier(column.name, of: record, to: &name)
      guard let target = relation.column(encodedName: name) else {
        let name = unquotedIdentifier(column.name, in: record)
        throw ApplyFailure(.drift, "column \(name) of table \(relation.name) does not exist on the target")
      }
      known.append(contentsOf: UnsafeRawBufferPointer(rebasing: record[column.name.start..<column.name.end]))
      ends.append(known.count)
      targets.append(target)
    }
    isEmpty = false
    return true
  }

  private func matches(_ columns: [DecodedColumn], names: TupleNames) -> Bool {
    guard columns.count == ends.count else { return false }
    if let version = names.version { return version == self.version }
    let record = names.bytes
    return known.withUnsafeBytes { known in
      var start = 0
      for (index, column) in columns.enumerated() {
        let length = ends[index] - start
        guard column.name.count == length else { return false }
        if length > 0
          && memcmp(known.baseAddress! + start, record.baseAddress! + column.name.start, length) != 0
        {
          return false
        }
        start = ends[index]
      }
      return true
    }
  }
}
