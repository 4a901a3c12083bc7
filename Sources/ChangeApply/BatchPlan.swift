import Glibc
import ReplicationModel

/// The rows of a batch by the statement that they go into.
struct BatchPlan {
  /// Rows by index.
  var deletes: [Int] = []
  /// By the columns that they set, which are outside the key and not generated.
  var updates: [(set: [Int], rows: [Int])] = []
  /// By the columns that they have.
  var inserts: [(set: [Int], rows: [Int])] = []

  /// - Parameter isMeant: which rows are taken.
  init(
    _ batch: NetChangeBatch, of relation: TargetRelation, where isMeant: (NetChangeBatch.Row) -> Bool = { _ in true }
  ) {
    let stored = relation.columns.indices.filter { !relation.columns[$0].isGenerated }
    let changeable = stored.filter { !batch.keyColumns.contains($0) }
    for (index, row) in batch.rows.enumerated() where isMeant(row) {
      switch row.outcome {
      case .nothing:
        // Inserted and deleted again; where the row stood before, it was deleted first.
        if row.existedBefore { deletes.append(index) }
      case .delete: deletes.append(index)
      case .update: Self.add(index, batch, changeable, to: &updates)
      case .insert: Self.add(index, batch, stored, to: &inserts)
      case .replace:
        deletes.append(index)
        Self.add(index, batch, stored, to: &inserts)
      }
    }
    batch.sortByKey(&deletes)
    for index in updates.indices { batch.sortByKey(&updates[index].rows) }
  }

  private static func add(
    _ row: Int, _ batch: NetChangeBatch, _ candidates: [Int], to groups: inout [(set: [Int], rows: [Int])]
  ) {
    // Nearly always the columns of the row before.
    for index in groups.indices.reversed() {
      if matches(row, batch, candidates, groups[index].set) {
        groups[index].rows.append(row)
        return
      }
    }
    groups.append((candidates.filter { batch.value(row, $0).isSet }, [row]))
  }

  private static func matches(_ row: Int, _ batch: NetChangeBatch, _ candidates: [Int], _ set: [Int]) -> Bool {
    var position = 0
    for column in candidates {
      let isInSet = position < set.count && set[position] == column
      if batch.value(row, column).isSet != isInSet { return false }
      if isInSet { position += 1 }
    }
    return true
  }
}

extension NetChangeBatch {
  /// Rows beneath which an order gains nothing.
  private static var leastSorted: Int { 64 }

  /// Puts rows into the order of their first key column, as far as its text tells: shorter before longer, which is the
  /// order of integers without a sign. Rows that are neighbours in the index and on their pages are changed faster one
  /// after the other.
  func sortByKey(_ rows: inout [Int]) {
    guard rows.count >= Self.leastSorted, let column = keyColumns.first else { return }
    let prefix = commonPrefix(rows, column)
    var ranked = rows.map { (rank: rank(value($0, column), behind: prefix), row: $0) }
    ranked.sort { left, right in
      if left.rank != right.rank { return left.rank < right.rank }
      return precedes(value(left.row, column), value(right.row, column))
    }
    for index in rows.indices { rows[index] = ranked[index].row }
  }

  /// How many bytes all of the rows begin with: long keys (paths, addresses) would tell nothing by their first ones.
  private func commonPrefix(_ rows: [Int], _ column: Int) -> Int {
    guard let first = rows.first.flatMap({ value($0, column).bytes }) else { return 0 }
    var prefix = first.count
    for row in rows where prefix > 0 {
      guard let other = value(row, column).bytes else { return 0 }
      prefix = min(prefix, other.count)
      var length = 0
      while length < prefix, first[length] == other[length] { length += 1 }
      prefix = length
    }
    return prefix
  }

  /// The length in the highest byte, below it the first seven bytes behind the prefix.
  private func rank(_ value: Value, behind prefix: Int) -> UInt64 {
    guard let bytes = value.bytes else { return 0 }
    var rank = UInt64(min(bytes.count, 255))
    for offset in prefix..<prefix + 7 {
      rank = rank << 8 | (offset < bytes.count ? UInt64(bytes[offset]) : 0)
    }
    return rank
  }

  /// For two values of the same rank.
  private func precedes(_ left: Value, _ right: Value) -> Bool {
    guard min(left.length, right.length) > 0, let one = left.address, let other = right.address else {
      return left.length < right.length
    }
    let order = memcmp(one, other, min(left.length, right.length))
    return order < 0 || order == 0 && left.length < right.length
  }
}
