public import BlockingIO
public import LogicalDecoding
public import OriginSession
public import ReplicationModel

/// Applies one database's stream to the target, exactly once and verbatim.
///
/// Source transactions are grouped: while more of the stream is at hand they go into one target transaction; when the
/// queue is dry the group is committed at once. The origin's progress moves in that same transaction, to the end of
/// the last COMMIT in it. Nothing after a COMMIT is sent before its answer has come: a commit that fails must not be
/// followed by changes that the next commit would then declare complete.
///
/// With a backlog the changes of a group are netted in batches, which a `BatchLane` carries out while the next ones are
/// being filled. Then `recorded` says what is known to be committed, which may be one batch behind.
///
/// After any failure the session must be thrown away: the server rolls back, and the stream is read again from the
/// origin's progress. Call `end()` before the session is closed.
public final class ChangeApplier<Parser: RecordParser> {
  /// The prefix of the messages that `pgconvoy` emits to find a point in a stream.
  public static var markerPrefix: String { MarkerAnnouncement.messagePrefix }
  /// The channel on the target where a marker's arrival is announced, in the transaction that moves progress past it.
  public static var markerChannel: String { MarkerAnnouncement.channel }

  public internal(set) var counters = ApplyCounters()

  /// Decides what becomes of what comes in; everything here obeys it.
  ///
  /// Of the applying thread alone, and its methods call nothing that could come back here: no two accesses overlap, and
  /// millions of changes need not have that looked at. The same goes for `records` and `steppingOver`.
  @exclusivity(unchecked) var machine: GroupMachine
  let pipeline: TargetPipeline
  let lanes: ApplyLanes
  var parser: Parser
  /// Tells the announcements of this applier from those of an earlier one, whose counts it does not know.
  let identity: String
  var layouts: [RelationLayout?] = []

  /// The source's transaction in hand.
  var sourceTransaction: UInt32?
  var commitTime = CommitClock()
  var markers = Markers()
  /// What the groups that the lanes commit have come to, in their order.
  var turns: [CommitTurn] = []
  @exclusivity(unchecked) var steppingOver: SteppingOver
  var gate: (any CommitGate)?
  /// The source's protected table of statements; nil where none are carried over.
  let statementTable: RelationName?
  /// Statements to leave out, named by their records.
  let orderedStatements: Set<LSN>
  var statementNumber: RelationNumber?
  /// The record of migrations, if the stream has named it.
  var recordNumber: RelationNumber?
  /// How many relations have been looked at to find it.
  var namedRelations = 0
  /// The beginning of a statement that is on the target; its rows come now.
  var startedStatement: [UInt8]?
  /// Statements that the transaction in hand leaves out, and those that are past.
  var leavingOut: [SteppedOver] = []
  var leftOut: [SteppedOver] = []
  var carriedOut: [String] = []
  /// Relations with changes that wait in their batches, in the order of their first one.
  var pendingBatches: [RelationNumber] = []
  /// Who knows what has become of relations that the target lacks; nil where nobody does.
  let fates: (any RelationFates)?
  /// Relations of the transaction in hand that are gone, with their oids, and how many changes of them are left out.
  var gone: [RelationNumber: (oid: UInt32?, changes: UInt64)] = [:]
  /// Room of a large batch that is past.
  var spareRoom: NetChangeBatch.Room?
  @exclusivity(unchecked) var records = KeptRecords()

  /// - Parameters:
  ///   - start: the origin's progress, where the stream begins.
  ///   - sourceEnd: where the source's WAL ended when the stream was asked for.
  ///   - identity: unique for this applier.
  ///   - strictUntil: no set-based statements before this position.
  ///   - steppingOver: a transaction to leave out. It is an error if it does not hold the record that is named.
  ///   - statements: the source's table of statements, which are carried out where they stand.
  ///   - leavingOut: records of statements to leave out, and nothing else of their transactions.
  ///   - fates: says what has become of relations that the target lacks.
  ///   - usesSecondSession: whether batches may go to a second session too.
  public init(
    session: ApplySession, parser: Parser, start: LSN, sourceEnd: LSN = .invalid, identity: String,
    limits: BatchLimits = BatchLimits(), strictUntil: LSN = .invalid, steppingOver: SteppedOver? = nil,
    statements: RelationName? = nil,
    leavingOut orderedStatements: Set<LSN> = [], fates: (any RelationFates)? = nil, usesSecondSession: Bool = true
  ) throws(ApplyFailure) {
    self.fates = fates
    statementTable = statements
    self.orderedStatements = orderedStatements
    self.steppingOver = SteppingOver(steppingOver)
    self.parser = parser
    self.identity = identity
    machine = GroupMachine(
      Progress(start: start, sourceEnd: sourceEnd, strictUntil: strictUntil), limits: limits,
      takesBatches: session.encodingSwitch == nil, now: .now())
    pipeline = try TargetPipeline(session)
    lanes = ApplyLanes(pipeline, usesSecond: usesSecondSession)
  }

  deinit { lanes.end() }

  /// Breaks off what is under way on the target. Only closing the session makes sense afterwards.
  public func end() { lanes.end() }

  /// Every position of the stream that is known.
  public var progress: Progress { machine.progress }
  /// What the origin has, or will have when the server's WAL is flushed.
  public var recorded: LSN { machine.progress.recorded }
  /// The part of `recorded` that survives a crash of the target.
  public var durable: LSN { machine.progress.durable }
  /// Whether more of the stream is waiting: then the next group goes in by set-based statements.
  public var hasBacklog: Bool {
    get { machine.hasBacklog }
    set { machine.hasBacklog = newValue }
  }
  /// Whether the group holds anything that is not committed yet.
  public var hasOpenGroup: Bool { machine.hasOpenGroup }
  /// Whether the stream stands between a BEGIN and its COMMIT.
  public var isMidTransaction: Bool { machine.isInTransaction }
  /// Whether a group in hand goes in by set-based statements, or the one that has failed. A failure of such a group says
  /// little about the change that caused it: the stream has to be read again, with `strictUntil` beyond it.
  public var isBatching: Bool { machine.isBatching }
  /// Where a replay of the group in hand may send sets again.
  public var replayEnd: LSN { machine.progress.replayEnd }
  /// How far the stream has to be read again change by change after a failure; nil where that would tell nothing.
  public func replayEnd(after failure: ApplyFailure) -> LSN? { machine.replayEnd(after: failure) }
  /// What the source is to be told now, once: all before it may be forgotten there.
  public func confirm() -> LSN? { machine.confirm() }
  /// The transaction to leave out, which has a `commit` when progress is past it.
  public var steppedOver: SteppedOver? { steppingOver.order }
  /// The commit time of the last transaction that came in, as a timestamp of PostgreSQL's.
  public var lastCommitTime: String? { commitTime.text }

  // MARK: the stream

  /// Applies one record of the stream.
  ///
  /// - Parameter storage: what the record stands in, and what is kept for as long as any of it is needed.
  // Not asked for by anything but speed: a parser without its line is read all the same.
  @specialized(where Parser == PgoutputParser)
  @specialized(where Parser == TestDecodingParser)
  public func apply(
    lsn: LSN, record: UnsafeRawBufferPointer, in storage: StableBytes
  ) throws(ApplyFailure) {
    records.take(storage)
    machine.received(record: lsn)
    let decoded: DecodedRecord
    do throws(MalformedRecord) {
      decoded = try parser.parse(record)
    } catch {
      // Whatever it says, it is left out.
      if steppingOver.isInHand { return steppingOver.leaveOut(lsn) }
      let failure = ApplyFailure(.unreadable, "malformed record: \(error.reason) at byte \(error.offset)")
      throw failure.located(relation: nil, operation: nil, lsn: lsn, xid: sourceTransaction)
    }
    do throws(ApplyFailure) {
      try apply(decoded, lsn: lsn, record: record)
    } catch {
      throw error.located(
        relation: relation(of: decoded), operation: operation(of: decoded), lsn: lsn, xid: sourceTransaction)
    }
  }

  private func apply(_ decoded: DecodedRecord, lsn: LSN, record: UnsafeRawBufferPointer) throws(ApplyFailure) {
    switch decoded {
    case .insert, .update, .delete, .truncate:
      guard machine.isInTransaction else { throw ApplyFailure(.unreadable, "a change outside a transaction") }
      if steppingOver.isInHand { return leaveOut(decoded, lsn: lsn) }
      switch content(decoded) {
      case .data: try applyChange(decoded, lsn: lsn, record: record)
      case .statement: try takeStatement(decoded, lsn: lsn, record: record)
      case .record: return
      }
    case .begin(let xid):
      try machine.begin()
      sourceTransaction = xid
      steppingOver.begin(xid: xid)
    case .commit(_, let timestamp):
      let isSteppingOver = steppingOver.isInHand
      if isSteppingOver { try steppingOver.end(lsn) }
      // What is left out is known to be just this: progress moves past it at once.
      try machine.commit(at: lsn, settles: isSteppingOver || !leavingOut.isEmpty)
      markers.endTransaction()
      if let timestamp { commitTime.note(parser.commitTime(timestamp, of: record), of: record) }
      try obey()
      if isSteppingOver { steppingOver.committed(lsn) }
      if !leavingOut.isEmpty { noteLeftOut(lsn: lsn) }
      if !gone.isEmpty { countGone() }
      startedStatement = nil
      sourceTransaction = nil
    case .message(let transactional, let prefix, let content):
      guard transactional, machine.isInTransaction, let nonce = markerNonce(prefix, content, record) else { return }
      markers.inTransaction.append((nonce, machine.seenChanges))
      machine.marker()
    case .prepare, .commitPrepared, .rollbackPrepared:
      throw ApplyFailure(
        .unreadable, "a two-phase record: the slot was made with TWO_PHASE, which sends such rows twice or not at all")
    case .relation: return
    case .streamControl:
      throw ApplyFailure(.unreadable, "a streamed block, which carries no rows")
    }
  }

  private func leaveOut(_ decoded: DecodedRecord, lsn: LSN) {
    machine.passOver()
    steppingOver.leaveOut(lsn)
    if let relation = relation(of: decoded) { steppingOver.count(relation) }
  }

  /// Says that no more records of the chunk in hand will come, which may be large.
  public func endChunk() { records.endChunk() }

  /// A position up to which the server has sent everything. It moves progress only when nothing received before it
  /// is unapplied.
  ///
  /// - Parameter record: whether to write it to the origin now: an idle database would hold the source's WAL otherwise.
  public func keepalive(_ walEnd: LSN, record: Bool) throws(ApplyFailure) {
    machine.keepalive(walEnd, record: record)
    try obey()
  }

  /// Commits what has been applied so far, as far as the last COMMIT in the stream, and waits for it. Call when the
  /// queue is dry.
  public func commitGroup() throws(ApplyFailure) {
    machine.settle()
    try obey()
  }

  /// Writes the current position to the origin, if progress is behind it.
  public func recordPosition() throws(ApplyFailure) {
    machine.recordPosition()
    try obey()
  }

  /// Gives up what only a backlog needs. Call now and then when the stream is caught up.
  public func rest() throws(ApplyFailure) {
    machine.rest()
    try obey()
  }

  /// Has the server flush the WAL of everything recorded; only then `durable` may be confirmed to the source.
  public func makeDurable() throws(ApplyFailure) {
    machine.makeDurable()
    try obey()
  }

  // MARK: words

  private func relation(of decoded: DecodedRecord) -> RelationName? {
    switch decoded {
    case .insert(let number), .update(let number, _), .delete(let number): parser.relationName(number)
    case .truncate(let numbers, _, _): numbers.first.map { parser.relationName($0) }
    default: nil
    }
  }

  private func operation(of decoded: DecodedRecord) -> String? {
    switch decoded {
    case .insert: "insert"
    case .update: "update"
    case .delete: "delete"
    case .truncate: "truncate"
    default: nil
    }
  }
}
