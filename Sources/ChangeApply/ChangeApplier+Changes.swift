import BlockingIO
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel

/// Changes of rows: into their table's batch, or as a statement each.
extension ChangeApplier {
  func applyChange(
    _ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) {
    if machine.change() == .batch, try takeIntoBatch(decoded, lsn: lsn, record: record) { return }
    switch decoded {
    case .insert(let number):
      guard let layout = try rowLayout(number, record) else { return }
      guard let columns = parser.newColumns else { throw ApplyFailure(.unreadable, "insert without its tuple") }
      let prepared = try layout.insert(
        columns, names: parser.tupleNames(of: record), prepare: preparing(.insert, number, lsn))
      try send(prepared, new: columns, old: nil, record: record, number: number, operation: .insert, lsn: lsn)
    case .update(let number, let hasOldKey):
      guard let layout = try rowLayout(number, record) else { return }
      guard let columns = parser.newColumns else { throw ApplyFailure(.unreadable, "update without its tuple") }
      let old = hasOldKey ? parser.oldColumns : nil
      guard
        let prepared = try layout.update(
          columns, old: old, names: parser.tupleNames(of: record), prepare: preparing(.update, number, lsn))
      else { return }
      try send(prepared, new: columns, old: old, record: record, number: number, operation: .update, lsn: lsn)
    case .delete(let number):
      guard let layout = try rowLayout(number, record) else { return }
      guard let columns = parser.oldColumns else {
        throw ApplyFailure(
          .noIdentity, "table \(layout.relation.name) has no replica identity, so its deletes name no row")
      }
      let prepared = try layout.delete(
        columns, names: parser.tupleNames(of: record), prepare: preparing(.delete, number, lsn))
      try send(prepared, new: [], old: columns, record: record, number: number, operation: .delete, lsn: lsn)
    case .truncate(let numbers, let restartIdentity, _):
      try truncate(numbers, restartIdentity: restartIdentity, lsn: lsn)
    default: return
    }
  }

  private func send(
    _ prepared: RelationLayout.PreparedChange, new: [DecodedColumn], old: [DecodedColumn]?,
    record: UnsafeRawBufferPointer, number: RelationNumber, operation: ExpectationQueue.Operation, lsn: LSN
  ) throws(ApplyFailure) {
    try useSession()
    if let search = prepared.search {
      try pipeline.set(.reading)
      try fill(search.positions, new: new, old: old, record: record)
      try pipeline.execute(
        search.name, expecting: .prepare(operation, number: number, lsn: lsn, xid: sourceTransaction))
      try pipeline.set(.writing)
    }
    try fill(prepared.positions, new: new, old: old, record: record)
    try pipeline.execute(
      prepared.name, expecting: .row(operation, number: number, lsn: lsn, xid: sourceTransaction))
    try countChange(bytes: pipeline.parameters.byteCount)
  }

  /// Fills the parameters of the statement that is sent next.
  private func fill(
    _ positions: [ChangeStatement.Source], new: [DecodedColumn], old: [DecodedColumn]?, record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) {
    pipeline.parameters.reset()
    for position in positions {
      let column: DecodedColumn
      switch position {
      case .new(let index): column = new[index]
      case .old(let index): column = (old ?? [])[index]
      }
      guard column.form != .unchangedToast else {
        let name = unquotedIdentifier(column.name, in: parser.tupleNames(of: record).bytes)
        throw ApplyFailure(.unreadable, "the stream does not carry the value of column \(name), which is needed here")
      }
      pipeline.parameters.append(column, of: record)
    }
  }

  func countChange(bytes: Int) throws(ApplyFailure) {
    machine.sentSingle(bytes: bytes)
    try pipeline.keepAnswersBounded()
  }

  /// The layout of a table that holds rows; nil where they are not applied. Rows for anything else would be routed, or
  /// written to another server.
  private func rowLayout(
    _ number: RelationNumber, _ record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) -> RelationLayout? {
    guard let layout = try layout(number, record) else { return nil }
    guard layout.relation.kind == .table else {
      throw ApplyFailure(
        .drift,
        "\(layout.relation.name) is a \(layout.relation.kind) on the target and takes rows of a table on the source")
    }
    return layout
  }

  /// Nil where changes of the relation are not applied.
  ///
  /// - Parameter row: the record that was read last, where it has columns of the relation.
  func layout(_ number: RelationNumber, _ row: UnsafeRawBufferPointer? = nil) throws(ApplyFailure) -> RelationLayout? {
    while layouts.count <= number { layouts.append(nil) }
    let layout: RelationLayout
    if let known = layouts[number] {
      layout = known
    } else {
      if isGone(number) { return nil }
      guard let loaded = try loadLayout(number) else {
        try leaveOut(absent: number, row)
        return nil
      }
      layout = loaded
      layouts[number] = layout
    }
    if layout.relation.kind == .materializedView {
      counters.skippedRows += 1
      return nil
    }
    return layout
  }

  private func loadLayout(_ number: RelationNumber) throws(ApplyFailure) -> RelationLayout? {
    let (schema, table) = parser.relationNameBytes(number)
    try drainLanes()
    let relation = try readUTF8 { connection throws(PostgresError) in
      try TargetRelation.load(schema: schema, table: table, from: connection, until: .after(.seconds(60)))
    }
    guard var relation else { return nil }
    pipeline.name(number, relation.name)
    relation.searchesFirst =
      !pipeline.session.writing.values.isEmpty && relation.identity == .full
      && relation.columns.contains { !$0.isGenerated && !$0.hasPlainText }
    return RelationLayout(relation: relation)
  }

  private func preparing(
    _ operation: ExpectationQueue.Operation, _ number: RelationNumber, _ lsn: LSN
  ) -> RelationLayout.Prepare {
    { (statement) throws(ApplyFailure) in
      try self.useSession()
      return try self.pipeline.prepare(statement.sql, operation, number, lsn: lsn, xid: self.sourceTransaction)
    }
  }

  // MARK: batches

  /// Puts a change into its table's batch; false when it has to be sent by itself, behind what waits of its table.
  private func takeIntoBatch(
    _ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer
  ) throws(ApplyFailure) -> Bool {
    let number: RelationNumber
    switch decoded {
    case .insert(let relation), .update(let relation, _), .delete(let relation): number = relation
    case .truncate(let relations, _, _):
      for relation in relations { try flushBatch(relation, lsn: lsn) }
      return false
    default: return false
    }
    guard let layout = try rowLayout(number, record) else { return true }
    let wasEmpty = layout.batch.isEmpty
    let bytesBefore = layout.batch.byteCount
    let names = parser.tupleNames(of: record)
    var isConsistent = true
    switch decoded {
    case .insert where layout.canBatchInserts:
      guard let columns = parser.newColumns else { return false }
      let targets = try layout.newTargets(columns, names: names)
      prepareBatch(layout)
      isConsistent = layout.batch.insert(columns, targets: targets, of: record)
    case .update(_, hasOldKey: false) where layout.canBatchKeyedChanges:
      guard let columns = parser.newColumns else { return false }
      let targets = try layout.newTargets(columns, names: names)
      prepareBatch(layout)
      isConsistent = layout.batch.update(columns, targets: targets, of: record)
    case .delete where layout.canBatchKeyedChanges:
      guard let columns = parser.oldColumns else { return false }
      let targets = try layout.oldTargets(columns, names: names)
      prepareBatch(layout)
      isConsistent = layout.batch.delete(columns, targets: targets, of: record)
    default:
      try flushBatch(number, lsn: lsn)
      return false
    }
    guard isConsistent else {
      throw ApplyFailure(.batchMismatch, "changes of one row follow each other as no table allows")
    }
    if wasEmpty { pendingBatches.append(number) }
    switch machine.batched(bytes: layout.batch.byteCount - bytesBefore) {
    case .goesOn: break
    case .goesIfIdle: if lanes.isIdle { try flushBatches() }
    case .goes: try flushBatches()
    }
    return true
  }

  /// Before a change goes into a batch, and only then: room that a table has taken comes back with its batch.
  @inline(__always)
  private func prepareBatch(_ layout: RelationLayout) {
    machine.keeps(bytes: records.keep())
    guard let room = spareRoom, layout.batch.isEmpty else { return }
    spareRoom = nil
    layout.batch.take(room)
  }

  /// One table's batch before a change that cannot wait in it: at once and on this thread, since the change follows.
  private func flushBatch(_ number: RelationNumber, lsn: LSN) throws(ApplyFailure) {
    guard number < layouts.count, let layout = layouts[number], !layout.batch.isEmpty else { return }
    // It is there once at most: it comes back with its next change.
    pendingBatches.removeAll { $0 == number }
    var job = BatchJob(lsn: lsn)
    job.add(number, layout, behind: nil)
    layout.batch.removeAll(spare: &spareRoom)
    if pendingBatches.isEmpty { nothingWaits() }
    try useSession()
    try lanes.first.writer.carryOut(job)
  }

  /// Sends what waits in batches, where there is any.
  func sendPending() throws(ApplyFailure) {
    if !pendingBatches.isEmpty { try flushBatches() }
  }

  private func flushBatches() throws(ApplyFailure) {
    var job = BatchJob(lsn: machine.progress.position)
    _ = takePending(into: &job, keysBefore: nil, takesKeys: false)
    let awaitsLanes = machine.sendsPiece()
    try watchingLanes { () throws(ApplyFailure) in
      if awaitsLanes { try lanes.drain() }
      try lanes.submit(piece: job)
    }
    machine.handedOverPiece()
  }

  /// Sends what waits, and the group's COMMIT behind it.
  func submit(
    _ commit: GroupCommit, _ end: GroupEnd
  ) throws(ApplyFailure) -> (turn: CommitTurn, session: GroupMachine.Session) {
    let neighbour = end.isFirst ? nil : lanes.neighbour
    var job = BatchJob(lsn: end.progress, commit: commit)
    let keys = takePending(
      into: &job, keysBefore: neighbour?.keys, takesKeys: lanes.mayUseSecond && end.leavesKeys)
    let place = machine.place(end, hasNeighbour: neighbour != nil, hasFreeRows: !job.free.isEmpty)
    return try watchingLanes { () throws(ApplyFailure) in
      try lanes.submit(job, to: place, beside: neighbour, keys: keys)
    }
  }

  /// Writes what waits as the target takes it, while the lanes are still busy with the jobs before. Of all copies of the
  /// changes this is the only one then.
  ///
  /// - Parameters:
  ///   - keysBefore: the keys that rows are held back for; nil where there is no other session.
  ///   - takesKeys: whether a group behind this one may be beside it.
  /// - Returns: the keys of each table; nil where they are not taken, or a table has several batches.
  private func takePending(
    into job: inout BatchJob, keysBefore: [RelationName: BatchKeys]?, takesKeys: Bool
  ) -> [RelationName: BatchKeys]? {
    var keys: [RelationName: BatchKeys]? = takesKeys ? [:] : nil
    for number in pendingBatches {
      guard let layout = layouts[number], !layout.batch.isEmpty else { continue }
      let name = layout.relation.name
      job.add(number, layout, behind: keysBefore.map { $0[name] ?? BatchKeys() })
      if keys != nil, keys?.updateValue(layout.batch.takeKeys(), forKey: name) != nil { keys = nil }
      layout.batch.removeAll(spare: &spareRoom)
    }
    pendingBatches.removeAll(keepingCapacity: true)
    nothingWaits()
    return keys
  }

  private func nothingWaits() {
    records.forget()
    machine.nothingWaits()
  }
}
