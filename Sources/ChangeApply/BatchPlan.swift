import ReplicationModel

/// The rows of a batch by the statement that they go into.
struct BatchPlan {
  /// Rows by index.
  var deletes: [Int] = []
  /// By the columns that they set, which are outside the key and not generated.
  var updates: [(set: [Int], rows: [Int])] = []
  /// By the columns that they have.
  var inserts: [(set: [Int], rows: [Int])] = []

  init(_ batch: NetChangeBatch, of relation: TargetRelation) {
    let stored = relation.columns.indices.filter { !relation.columns[$0].isGenerated }
    let changeable = stored.filter { !batch.keyColumns.contains($0) }
    for (index, row) in batch.rows.enumerated() {
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
  /// The bytes that values lie in.
  func withBytes<Failure: Error>(_ body: (UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) {
    let outcome: Result<Void, Failure> = bytes.withUnsafeBytes { buffer in
      do throws(Failure) { return .success(try body(buffer)) } catch { return .failure(error) }
    }
    try outcome.get()
  }

  /// A value's bytes; nil for null.
  func bytes(_ row: Int, _ column: Int, in buffer: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    let value = value(row, column)
    guard value.length >= 0 else { return nil }
    return UnsafeRawBufferPointer(rebasing: buffer[value.start..<value.start + value.length])
  }
}
