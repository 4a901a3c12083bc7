import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel

/// Changes of several tables as the target takes them, sent together within one target transaction or as the last of it.
struct BatchJob: Sendable {
  /// A set-based statement on the rows of one table.
  struct Set: Sendable {
    var number: RelationNumber
    var operation: ExpectationQueue.Operation
    /// Tells the statement from the table's others.
    var key: [Int]
    var sql: String
    var parameters: ParameterBuffer
    var rows: Int
  }

  /// The inserts of one table that have the same columns.
  struct Copy: Sendable {
    var number: RelationNumber
    var relation: TargetRelation
    var columns: [Int]
    var isBinary: Bool
    var rows: ByteWriter
  }

  /// Statements that are sent one behind the other.
  struct Part: Sendable {
    /// For each table deletes, then updates: so that a row that is deleted and inserted anew, or a unique value that
    /// moves to another row, finds its place free.
    var sets: [Set] = []
    /// Behind all sets. The order of tables does not matter, for no trigger fires that could look into another.
    var copies: [Copy] = []

    var isEmpty: Bool { sets.isEmpty && copies.isEmpty }

    fileprivate mutating func add(_ number: RelationNumber, _ layout: RelationLayout, _ plan: BatchPlan) {
      let relation = layout.relation
      if !plan.deletes.isEmpty {
        sets.append(layout.set(number, .delete, [], plan.deletes) { relation.batchDelete() })
      }
      for (set, rows) in plan.updates where !set.isEmpty {
        sets.append(layout.set(number, .update, set, rows) { relation.batchUpdate(set: set) })
      }
      for (set, rows) in plan.inserts { copies.append(layout.copy(number, set, rows)) }
    }
  }

  /// What may be carried out at once.
  var free = Part()
  /// What may not before the group before is committed: its rows are among that group's.
  var bound = Part()
  /// What a failure names as its place.
  var lsn: LSN
  /// Nil while the group goes on.
  var commit: GroupCommit?
  /// Told what comes of the group.
  var turn: CommitTurn?
  /// The group before, where that is carried out by another session.
  var before: CommitTurn?

  init(lsn: LSN, commit: GroupCommit? = nil) {
    self.lsn = lsn
    self.commit = commit
  }

  var isEmpty: Bool { free.isEmpty && bound.isEmpty }

  /// Adds what waits in a table's batch.
  ///
  /// Rows that are inserted are never free beside another group: keys mostly come in their order, and two sessions that
  /// write before and behind each other split the index's pages in the middle instead of filling them.
  ///
  /// - Parameter keys: of the table's rows in the group before; nil where nothing has to be held back.
  mutating func add(_ number: RelationNumber, _ layout: RelationLayout, behind keys: BatchKeys?) {
    let relation = layout.relation
    guard let keys else { return free.add(number, layout, BatchPlan(layout.batch, of: relation) { _ in true }) }
    func isBound(_ row: NetChangeBatch.Row) -> Bool {
      row.outcome == .insert || row.outcome == .replace || keys.mayContain(row.hash)
    }
    free.add(number, layout, BatchPlan(layout.batch, of: relation) { !isBound($0) })
    bound.add(number, layout, BatchPlan(layout.batch, of: relation) { isBound($0) })
  }
}

extension RelationLayout {
  fileprivate func set(
    _ number: RelationNumber, _ operation: ExpectationQueue.Operation, _ key: [Int], _ rows: [Int],
    _ make: () -> BatchStatement
  ) -> BatchJob.Set {
    let statement: BatchStatement
    if let known = batchStatements[key] {
      statement = known
    } else {
      statement = make()
      batchStatements[key] = statement
    }
    var parameters = ParameterBuffer(capacity: batch.estimatedBytes(rows, statement.columns))
    for column in statement.columns {
      ArrayParameter.append(
        column: column, of: batch, rows: rows, as: relation.columns[column].binaryForm,
        oid: relation.columns[column].typeOID, to: &parameters)
    }
    return BatchJob.Set(
      number: number, operation: operation, key: key, sql: statement.sql, parameters: parameters, rows: rows.count)
  }

  /// In binary, where all columns have such a form and all values are of it.
  fileprivate func copy(_ number: RelationNumber, _ columns: [Int], _ rows: [Int]) -> BatchJob.Copy {
    var bytes = ByteWriter(capacity: batch.estimatedBytes(rows, columns))
    let forms = columns.compactMap { column in relation.columns[column].binaryForm.map { (column, $0) } }
    let isBinary =
      forms.count == columns.count && CopyBinary.append(batch, rows: rows, columns: forms, to: &bytes)
    if !isBinary {
      bytes.removeAll()
      for row in rows {
        for (index, column) in columns.enumerated() {
          CopyText.append(batch.value(row, column).bytes, isFirst: index == 0, to: &bytes)
        }
        CopyText.endRow(&bytes)
      }
    }
    return BatchJob.Copy(number: number, relation: relation, columns: columns, isBinary: isBinary, rows: bytes)
  }
}

extension NetChangeBatch {
  /// Bytes of these columns' values, and four for each: about what they take up in either form.
  fileprivate func estimatedBytes(_ rows: [Int], _ columns: [Int]) -> Int {
    var sum = 64 + columns.count * 32
    for row in rows {
      for column in columns { sum += max(value(row, column).length, 0) + 6 }
    }
    return sum
  }
}

/// What is known when a group has been committed.
struct BatchOutcome: Sendable {
  /// What the server last called durable.
  var flushed: LSN
  /// Statements of single rows in the group that hit none.
  var missedRows: UInt64

  init(of pipeline: TargetPipeline) {
    flushed = pipeline.flushed
    missedRows = pipeline.takeMissedRows()
  }
}

/// Sends batches: deletes and updates by set-based statements, inserts by COPY.
final class BatchWriter {
  private let pipeline: TargetPipeline
  private var prepared: [RelationNumber: [[Int]: String]] = [:]

  init(_ pipeline: TargetPipeline) { self.pipeline = pipeline }

  /// The session does not know them any more, or the tables are others.
  func forgetStatements() { prepared.removeAll() }

  /// Ends the session, and what is open in it.
  func abandon() { pipeline.connection.close() }

  /// All sets first: they wait for nothing, and a COPY has to wait for all before it.
  ///
  /// The job's turn is told what comes of it.
  func carryOut(_ job: BatchJob) throws(ApplyFailure) {
    do throws(ApplyFailure) {
      try apply(job)
    } catch {
      job.turn?.settle(.failure(error))
      throw error
    }
    job.turn?.settle(.success(BatchOutcome(of: pipeline)))
  }

  private func apply(_ job: BatchJob) throws(ApplyFailure) {
    try send(job.free, lsn: job.lsn)
    if let before = job.before {
      try pipeline.synchronize()
      try before.awaitCommit(in: pipeline)
    }
    try send(job.bound, lsn: job.lsn)
    guard let commit = job.commit else { return }
    // A set that did not hit its rows is no error to the server, which would go on to the COMMIT.
    try pipeline.synchronize()
    try pipeline.commit(commit)
  }

  private func send(_ part: BatchJob.Part, lsn: LSN) throws(ApplyFailure) {
    if !part.isEmpty { try pipeline.beginIfNeeded() }
    for set in part.sets { try send(set, lsn: lsn) }
    try copy(part.copies, lsn: lsn)
  }

  private func send(_ set: BatchJob.Set, lsn: LSN) throws(ApplyFailure) {
    let name: String
    if let known = prepared[set.number]?[set.key] {
      name = known
    } else {
      name = try pipeline.prepare(set.sql, set.operation, set.number, lsn: lsn, xid: nil)
      prepared[set.number, default: [:]][set.key] = name
    }
    try pipeline.execute(
      name, set.parameters, expecting: .set(set.operation, number: set.number, rows: set.rows, lsn: lsn))
    try pipeline.pump()
  }

  private func copy(_ copies: [BatchJob.Copy], lsn: LSN) throws(ApplyFailure) {
    guard !copies.isEmpty else { return }
    for copy in copies where copy.isBinary { try pipeline.holdShape(of: copy.relation, copy.number, lsn: lsn) }
    try pipeline.synchronize()
    for copy in copies {
      do throws(ApplyFailure) {
        try pipeline.outsidePipeline { connection throws(PostgresError) in
          defer { withExtendedLifetime(copy.rows) {} }
          try connection.copyIn(
            copy.relation.batchCopy(columns: copy.columns, binary: copy.isBinary), copy.rows.bytes)
        }
      } catch {
        throw error.located(relation: copy.relation.name, operation: "insert", lsn: lsn, xid: nil)
      }
    }
  }
}
