import BlockingIO
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import StatementReplication

/// The apply session's pipeline: what is sent, what its answers belong to, and the transaction that is open there.
///
/// For one thread at a time: `ChangeApplier` and its `BatchLane` hand it to each other.
final class TargetPipeline {
  let session: ApplySession
  var connection: PostgresConnection { session.connection }
  /// The parameters of the statement that is sent next.
  var parameters = ParameterBuffer()
  private var expectations = ExpectationQueue()
  private var preparedCount = 0
  private var names: [RelationNumber: RelationName] = [:]

  /// Whether a BEGIN has been sent without its COMMIT.
  private(set) var isInTransaction = false
  /// Updates and deletes that hit no row, and inserts that stored none, since `takeMissedRows`.
  private var missedRows: UInt64 = 0
  /// What the server last called durable.
  private(set) var flushed = LSN.invalid

  init(_ session: ApplySession) throws(ApplyFailure) {
    self.session = session
    try prepareOwn()
  }

  private func prepareOwn() throws(ApplyFailure) {
    for (name, sql) in [
      ("begin", "BEGIN"), ("commit", "COMMIT"),
      ("origin", ApplySession.originStatement(serverVersion: session.connection.serverVersion)),
      ("durable", "SELECT pg_catalog.pg_replication_origin_session_progress(true)"),
      ("announce", "SELECT pg_catalog.pg_notify($1, $2)"),
      ("shape", TargetRelation.shapeQuery),
    ] {
      try prepareOwn(name, sql)
    }
    if !session.writing.values.isEmpty {
      try prepareOwn("reading", WritingSettings.reading.statement.sql)
      try prepareOwn("writing", session.writing.behindReading.statement.sql)
    }
    try synchronize()
  }

  private func prepareOwn(_ name: String, _ sql: String) throws(ApplyFailure) {
    try guarding { () throws(PostgresError) in
      try connection.pipelinePrepare(name: "pgconvoy_" + name, sql: sql)
    }
    expectations.append(.plain)
  }

  /// How many answers are still owed.
  var openAnswers: Int { expectations.count }

  /// Has failures name the relation.
  func name(_ number: RelationNumber, _ name: RelationName) { names[number] = name }

  func takeMissedRows() -> UInt64 {
    defer { missedRows = 0 }
    return missedRows
  }

  // MARK: transactions

  func beginIfNeeded() throws(ApplyFailure) {
    guard !isInTransaction else { return }
    parameters.reset()
    try execute("pgconvoy_begin", expecting: .plain)
    isInTransaction = true
  }

  /// Commits with the origin's progress, and waits for the answer: nothing may be sent behind a commit that fails.
  func commit(_ commit: GroupCommit) throws(ApplyFailure) {
    try beginIfNeeded()
    for announcement in commit.announcements {
      parameters.reset()
      parameters.append(text: MarkerAnnouncement.channel)
      parameters.append(text: announcement)
      try execute("pgconvoy_announce", expecting: .plain)
    }
    parameters.reset()
    parameters.append(text: commit.progress.description)
    if let time = commit.time { parameters.append(text: time) } else { parameters.appendNull() }
    try execute("pgconvoy_origin", expecting: .plain)
    parameters.reset()
    try execute("pgconvoy_commit", expecting: .commit(lsn: commit.progress, xid: commit.xid))
    try synchronize()
    isInTransaction = false
    if commit.flushes { try flush(reaching: commit.progress) }
  }

  /// Has the server flush the WAL of what the origin has, and say how far that is.
  func flush(reaching recorded: LSN) throws(ApplyFailure) {
    parameters.reset()
    try execute("pgconvoy_durable", expecting: .progress)
    try synchronize()
    guard flushed >= recorded else {
      throw ApplyFailure(.unreadable, "the target's origin stands at \(flushed), not at \(recorded)")
    }
  }

  /// Whether another session waits for a lock that this one holds, or for somebody who does.
  func blocks(_ backend: Int32) throws(ApplyFailure) -> Bool {
    try outsidePipeline { connection throws(PostgresError) in
      try connection.query(
        """
        WITH RECURSIVE waiting (pid) AS (
          SELECT $1::integer UNION SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) FROM waiting)
        SELECT 1 FROM waiting WHERE pid = pg_catalog.pg_backend_pid()
        """, ["\(backend)"], until: .after(.seconds(30))
      ).rowCount > 0
    }
  }

  // MARK: statements

  /// What the statements behind this one go by.
  enum Settings: String { case reading, writing }

  /// Where the session has settings for writing.
  func set(_ settings: Settings) throws(ApplyFailure) {
    let values =
      switch settings {
      case .reading: WritingSettings.reading.statement.values
      case .writing: session.writing.behindReading.statement.values
      }
    parameters.reset()
    for case let value? in values { parameters.append(text: value) }
    try execute("pgconvoy_" + settings.rawValue, expecting: .plain)
  }

  /// Sends a prepared statement with `parameters`.
  func execute(_ name: String, expecting expectation: ExpectationQueue.Entry) throws(ApplyFailure) {
    try execute(name, parameters, expecting: expectation)
  }

  /// Sends a prepared statement, whose parameters are copied.
  func execute(
    _ name: String, _ parameters: ParameterBuffer, expecting expectation: ExpectationQueue.Entry
  ) throws(ApplyFailure) {
    try guarding { () throws(PostgresError) in
      try parameters.withPointers { view throws(PostgresError) in
        try connection.pipelineExecute(
          name: name, parameters: view.values, lengths: view.lengths, formats: view.formats)
      }
    }
    expectations.append(expectation)
  }

  func prepare(
    _ sql: String, _ operation: ExpectationQueue.Operation, _ number: RelationNumber, lsn: LSN, xid: UInt32?
  ) throws(ApplyFailure) -> String {
    preparedCount += 1
    let name = "pgconvoy_\(preparedCount)"
    try sendingUTF8(expecting: .prepare(operation, number: number, lsn: lsn, xid: xid)) {
      () throws(PostgresError) in try connection.pipelinePrepare(name: name, sql: sql)
    }
    return name
  }

  func query(_ sql: String, expecting expectation: ExpectationQueue.Entry) throws(ApplyFailure) {
    try sendingUTF8(expecting: expectation) { () throws(PostgresError) in try connection.pipelineQuery(sql) }
  }

  /// Sends a statement whose text is UTF-8, as Swift's strings are, in a session whose client encoding is the
  /// database's own for the sake of the values.
  private func sendingUTF8(
    expecting expectation: ExpectationQueue.Entry, _ send: () throws(PostgresError) -> Void
  ) throws(ApplyFailure) {
    if let switching = session.encodingSwitch {
      try guarding { () throws(PostgresError) in try connection.pipelineQuery(switching.toUTF8) }
      expectations.append(.plain)
    }
    try guarding(send)
    expectations.append(expectation)
    if let switching = session.encodingSwitch {
      try guarding { () throws(PostgresError) in try connection.pipelineQuery(switching.back) }
      expectations.append(.plain)
    }
  }

  /// Has the transaction fail unless the table is what it was when it was read, and keeps it so to the transaction's end.
  ///
  /// COPY in binary says no types, and the bytes of a value of one type may be a value of another.
  func holdShape(of relation: TargetRelation, _ number: RelationNumber, lsn: LSN) throws(ApplyFailure) {
    try query("LOCK TABLE ONLY \(relation.name.quoted) IN ROW EXCLUSIVE MODE", expecting: .plain)
    parameters.reset()
    parameters.append(text: relation.name.quoted)
    try execute("pgconvoy_shape", expecting: .shape(relation.shape, number: number, lsn: lsn))
  }

  /// Sends what libpq has buffered as far as the socket takes it.
  func pump() throws(ApplyFailure) {
    try guarding { () throws(PostgresError) in try connection.pump() }
  }

  /// Runs what has no place in a pipeline: COPY, or a look at the catalogs.
  func outsidePipeline<Result>(
    _ body: (PostgresConnection) throws(PostgresError) -> Result
  ) throws(ApplyFailure) -> Result {
    try synchronize()
    do throws(PostgresError) {
      try connection.leavePipeline()
      let result = try body(connection)
      try connection.enterPipeline()
      return result
    } catch {
      throw ApplyFailure(error)
    }
  }

  /// As `outsidePipeline`, under the settings that reading wants.
  func reading<Result>(
    _ body: (PostgresConnection) throws(PostgresError) -> Result
  ) throws(ApplyFailure) -> Result {
    let session = self.session
    return try outsidePipeline { _ throws(PostgresError) in try session.reading(body) }
  }

  /// Makes the session what it was at its beginning, whatever the functions of a statement have left in it, and within
  /// the open transaction. Nothing that was prepared before is there any more.
  func renew() throws(ApplyFailure) {
    let session = self.session
    try outsidePipeline { connection throws(PostgresError) in
      try connection.script(StatementRunner.cleaning)
      try session.pin()
    }
    try prepareOwn()
  }

  // MARK: answers

  /// Reads answers while statements are sent, or both sides' buffers fill up.
  func keepAnswersBounded() throws(ApplyFailure) {
    if expectations.count & 63 == 0 {
      try pump()
      try takeReadyOutcomes()
    }
    if expectations.count >= 2048 {
      try guarding { () throws(PostgresError) in try connection.pipelineFlushRequest() }
      while expectations.count > 512 { try takeOutcome() }
    }
  }

  /// Ends the pipeline's segment and waits for all answers.
  func synchronize() throws(ApplyFailure) {
    guard !expectations.isEmpty else { return }
    try guarding { () throws(PostgresError) in try connection.pipelineSync() }
    expectations.append(.sync)
    while !expectations.isEmpty { try takeOutcome() }
  }

  private func takeReadyOutcomes() throws(ApplyFailure) {
    while !expectations.isEmpty {
      var ready: PostgresConnection.PipelineOutcome?
      try guarding { () throws(PostgresError) in ready = try connection.pipelineOutcomeIfReady() }
      guard let ready else { return }
      try settle(expectations.removeFirst(), with: ready)
    }
  }

  private func takeOutcome() throws(ApplyFailure) {
    var outcome: PostgresConnection.PipelineOutcome?
    try guarding { () throws(PostgresError) in outcome = try connection.pipelineOutcome(until: .never) }
    guard let outcome, !expectations.isEmpty else {
      throw ApplyFailure(.unreadable, "the target sent an answer to nothing")
    }
    try settle(expectations.removeFirst(), with: outcome)
  }

  private func settle(
    _ expectation: ExpectationQueue.Entry, with outcome: PostgresConnection.PipelineOutcome
  ) throws(ApplyFailure) {
    switch (expectation, outcome) {
    case (.sync, .sync): return
    case (_, .failed(let error)):
      throw ApplyFailure(error).located(
        relation: relation(of: expectation), operation: expectation.operationName, lsn: expectation.lsn,
        xid: expectation.xid)
    case (.row, .done(let affected)):
      if affected != 1 { missedRows += 1 }
    case (.set(let operation, _, let rows, _), .done(let affected)):
      guard affected == rows else {
        throw ApplyFailure(.batchMismatch, "a set of \(rows) rows hit \(affected)")
          .located(
            relation: relation(of: expectation), operation: "\(operation)", lsn: expectation.lsn, xid: nil)
      }
    case (.shape(let expected, _, let lsn), .rows(let result)):
      guard let found = result.first, found.utf8.elementsEqual(expected.utf8) else {
        throw ApplyFailure(.batchMismatch, "the table has been altered since its columns were read")
          .located(relation: relation(of: expectation), operation: "insert", lsn: lsn, xid: nil)
      }
    case (.progress, .rows(let result)):
      guard let reached = result.first.flatMap({ LSN($0) }) else {
        throw ApplyFailure(.unreadable, "the target's replication origin has no progress")
      }
      flushed = reached
    case (_, .done), (_, .rows): return
    case (_, .aborted), (_, .sync):
      throw ApplyFailure(.unreadable, "the target's answers are out of step")
    }
  }

  private func relation(of expectation: ExpectationQueue.Entry) -> RelationName? {
    expectation.number.flatMap { names[$0] }
  }

  private func guarding(_ body: () throws(PostgresError) -> Void) throws(ApplyFailure) {
    do throws(PostgresError) { try body() } catch { throw ApplyFailure(error) }
  }
}

/// The end of a group: what its COMMIT says.
struct GroupCommit: Sendable {
  /// Where the origin stands then: the end of the last COMMIT in the group, or a keepalive behind that.
  var progress: LSN
  /// The commit time on the source.
  var time: String?
  var xid: UInt32?
  /// What is told to those who wait for markers.
  var announcements: [String] = []
  /// Whether the server is to flush it at once, and say so.
  var flushes = false
}
