import LogicalDecoding
import OriginSession
import PostgresClient
public import ReplicationModel
import StatementReplication

/// Statements of `ddl: replicate`, each a barrier in the stream: what came before it is on the target, what comes
/// behind it is applied to the tables as they are then.
extension ChangeApplier {
  enum RowContent { case data, statement, record }

  /// What the rows of a table are: those of the source's protected table are statements, and never applied as rows;
  /// those of the record are each server's own.
  func content(_ decoded: DecodedRecord) -> RowContent {
    let number: RelationNumber
    switch decoded {
    case .insert(let relation), .update(let relation, _), .delete(let relation): number = relation
    case .truncate(let relations, _, _):
      guard let first = relations.first else { return .data }
      number = first
    default: return .data
    }
    while namedRelations <= number {
      let name = parser.relationName(namedRelations)
      if name == statementTable { statementNumber = namedRelations }
      if name == .serverRecord { recordNumber = namedRelations }
      namedRelations += 1
    }
    return number == statementNumber ? .statement : number == recordNumber ? .record : .data
  }

  func takeStatement(_ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer) throws(ApplyFailure) {
    // Whoever deletes from the table, a superuser, changes nothing that was said.
    guard case .insert = decoded else { return }
    machine.passOver()
    guard
      let statement = parser.newColumns.flatMap({ columns in
        RecordedStatement(columns, names: parser.tupleNames(of: record), of: record)
      })
    else { throw ApplyFailure(.unreadable, "a statement that was not written down by pgconvoy's trigger") }
    if orderedStatements.contains(lsn), let xid = sourceTransaction {
      var left = SteppedOver(xid: xid, lsn: lsn)
      left.statement = statement.description
      leavingOut.append(left)
      machine.leftOutStatement()
      // Its end is left out by an order of its own, or finds what was made by hand.
      if statement.event == .start { startedStatement = statement.command }
      return
    }
    do throws(ApplyFailure) {
      try carryOut(statement, lsn: lsn)
    } catch {
      throw error.ofStatement(statement)
    }
  }

  private func carryOut(_ statement: RecordedStatement, lsn: LSN) throws(ApplyFailure) {
    switch statement.action(begun: startedStatement) {
    case .nothing: return
    case .refuse(let reason): throw refusal(reason)
    case .compare:
      startedStatement = nil
      try check(statement)
    case .run(let command):
      try runInTransaction(statement, command)
      if statement.event == .start {
        startedStatement = statement.command
      } else {
        carriedOut.append(statement.description)
      }
    }
  }

  private func refusal(_ reason: String) -> ApplyFailure {
    ApplyFailure(.refused, "this statement is not carried over: \(reason)")
  }

  private func runInTransaction(_ statement: RecordedStatement, _ command: [UInt8]) throws(ApplyFailure) {
    let runner = StatementRunner(statement: statement)
    try sendPending()
    machine.openGroup()
    try useSession()
    let before = try pipeline.reading { connection throws(PostgresError) in
      if try runner.areIndexesGone(connection) { return nil as [(key: String, words: String)]? }
      let before = try runner.calledByRows(connection)
      try runner.run(command, connection)
      return before
    }
    if let before {
      try pipeline.renew()
      let now = try pipeline.reading { connection throws(PostgresError) in try runner.calledByRows(connection) }
      if let addition = StatementRunner.addition(to: before, in: now) { throw refusal(addition) }
    }
    forgetRelations()
    machine.carriedOutStatement()
    try check(statement)
  }

  /// Whether it has come to what it came to on the source.
  private func check(_ statement: RecordedStatement) throws(ApplyFailure) {
    let runner = StatementRunner(statement: statement)
    try useSession()
    let difference = try pipeline.reading { connection throws(PostgresError) in
      try runner.difference(connection)
    }
    if let difference { throw refusal(difference) }
  }

  /// Nothing that was known of a table holds behind a statement.
  private func forgetRelations() {
    layouts.removeAll()
    lanes.forgetStatements()
  }

  /// What has been carried out since the last call, to be told.
  public func takeCarriedOut() -> [String] {
    defer { carriedOut = [] }
    return carriedOut
  }

  /// Statements that were left out as ordered; progress is past their transactions.
  public func takeLeftOut() -> [SteppedOver] {
    defer { leftOut = [] }
    return leftOut
  }

  /// Progress is past the transaction whose statements were left out.
  func noteLeftOut(lsn: LSN) {
    leftOut += leavingOut.map { left in
      var done = left
      done.commit = lsn
      return done
    }
    leavingOut = []
  }
}

extension ApplyFailure {
  /// The failure of a statement: what it was, and the way out.
  fileprivate func ofStatement(_ statement: RecordedStatement) -> ApplyFailure {
    var failure = self
    failure.isStatement = true
    failure.operation = statement.tag
    failure.message =
      "\(message) (\(statement.description)); make its change on the target by hand, then 'pgconvoy skip' with this LSN "
      + "leaves out this statement and nothing else"
    return failure
  }
}
