import LogicalDecoding
import PostgresClient
import ReplicationModel

/// One table's part of a batch.
struct TableBatch: Sendable {
  var number: RelationNumber
  var relation: TargetRelation
  var batch: NetChangeBatch
}

/// Changes of several tables that are sent together, within one target transaction or as the last of it.
struct BatchJob: Sendable {
  var tables: [TableBatch]
  /// What a failure names as its place.
  var lsn: LSN
  /// Nil while the group goes on.
  var commit: GroupCommit?
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
  private var statements: [RelationNumber: [[Int]: (name: String, statement: BatchStatement)]] = [:]
  private var copyBuffer: [UInt8] = []

  init(_ pipeline: TargetPipeline) { self.pipeline = pipeline }

  /// The session does not know them any more, or the tables are others.
  func forgetStatements() { statements.removeAll() }

  /// All tables' sets first: they wait for nothing, and a COPY has to wait for all before it. The order of tables does
  /// not matter, for no trigger fires that could look into another.
  ///
  /// Returns nil for a piece of a group that goes on.
  @discardableResult
  func carryOut(_ job: BatchJob) throws(ApplyFailure) -> BatchOutcome? {
    if !job.tables.isEmpty { try pipeline.beginIfNeeded() }
    var copies: [PendingCopy] = []
    for table in job.tables {
      let plan = BatchPlan(table.batch, of: table.relation)
      try sendSets(plan, of: table, lsn: job.lsn)
      copies += plan.inserts.map { PendingCopy(table: table, columns: $0.set, rows: $0.rows) }
    }
    try copy(copies, lsn: job.lsn)
    guard let commit = job.commit else { return nil }
    // A set that did not hit its rows is no error to the server, which would go on to the COMMIT.
    try pipeline.synchronize()
    try pipeline.commit(commit)
    return BatchOutcome(of: pipeline)
  }

  /// The rows of one table that go in by COPY.
  private struct PendingCopy {
    var table: TableBatch
    var columns: [Int]
    var rows: [Int]
  }

  /// Deletes, then updates by the columns that they set, then (by `copy`) inserts: so that a row that was deleted and
  /// inserted anew, or a unique value that moved to another row, finds its place free.
  private func sendSets(_ plan: BatchPlan, of table: TableBatch, lsn: LSN) throws(ApplyFailure) {
    if !plan.deletes.isEmpty {
      try sendSet(plan.deletes, table.relation.batchDelete(), key: [], .delete, table, lsn)
    }
    for (set, rows) in plan.updates where !set.isEmpty {
      try sendSet(rows, table.relation.batchUpdate(set: set), key: set, .update, table, lsn)
    }
  }

  private func sendSet(
    _ rows: [Int], _ statement: @autoclosure () -> BatchStatement, key: [Int],
    _ operation: ExpectationQueue.Operation, _ table: TableBatch, _ lsn: LSN
  ) throws(ApplyFailure) {
    let prepared: (name: String, statement: BatchStatement)
    if let known = statements[table.number]?[key] {
      prepared = known
    } else {
      let made = statement()
      prepared = (try pipeline.prepare(made.sql, operation, table.number, lsn: lsn, xid: nil), made)
      statements[table.number, default: [:]][key] = prepared
    }
    pipeline.parameters.reset()
    try table.batch.withBytes { buffer throws(ApplyFailure) in
      for column in prepared.statement.columns {
        try pipeline.parameters.append(
          column: column, of: table.batch, rows: rows, in: buffer, as: table.relation.columns[column].arrayForm)
      }
    }
    try pipeline.execute(
      prepared.name, expecting: .set(operation, number: table.number, rows: rows.count, lsn: lsn))
    try pipeline.pump()
  }

  private func copy(_ copies: [PendingCopy], lsn: LSN) throws(ApplyFailure) {
    guard !copies.isEmpty else { return }
    try pipeline.synchronize()
    for copy in copies {
      let batch = copy.table.batch
      copyBuffer.removeAll(keepingCapacity: true)
      batch.withBytes { buffer in
        for row in copy.rows {
          for (index, column) in copy.columns.enumerated() {
            CopyText.append(batch.bytes(row, column, in: buffer), isFirst: index == 0, to: &copyBuffer)
          }
          CopyText.endRow(&copyBuffer)
        }
      }
      do throws(ApplyFailure) {
        try pipeline.outsidePipeline { connection throws(PostgresError) in
          _ = try connection.copyIn(copy.table.relation.batchCopy(columns: copy.columns), copyBuffer)
        }
      } catch {
        throw error.located(relation: copy.table.relation.name, operation: "insert", lsn: lsn, xid: nil)
      }
    }
  }
}
