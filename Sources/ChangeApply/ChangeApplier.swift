public import BlockingIO
public import LogicalDecoding
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
  public static var markerPrefix: String { "pgconvoy.marker" }
  /// The channel on the target where a marker's arrival is announced, in the transaction that moves progress past it.
  public static var markerChannel: String { GroupCommit.markerChannel }

  public internal(set) var counters = ApplyCounters()
  /// Progress: the position that the origin has, or will have when the server's WAL is flushed.
  public internal(set) var recorded: LSN
  /// The part of `recorded` that survives a crash of the target.
  public internal(set) var durable: LSN

  let pipeline: TargetPipeline
  let lanes: ApplyLanes
  var parser: Parser
  let limits: BatchLimits
  /// Tells the announcements of this applier from those of an earlier one, whose counts it does not know.
  let identity: String
  /// Everything committed before it is in the target, in the open group, or was empty.
  var position: LSN
  var layouts: [RelationLayout?] = []

  var sourceTransaction: UInt32?
  private var isInTransaction = false
  var commitTime = CommitClock()
  var isGroupOpen = false
  var groupChanges = 0
  var groupBytes = 0
  var groupTransactions: UInt64 = 0
  var groupMarkers: [(nonce: String, changes: UInt64)] = []
  var transactionMarkers: [(nonce: String, changes: UInt64)] = []
  var seenChanges: UInt64 = 0
  /// What it was when the source transaction in hand began.
  var changesBefore: UInt64 = 0
  /// The groups that the lanes commit, until they are known to be done.
  var committing: [(group: ClosedGroup, turn: CommitTurn)] = []
  /// Whether the group in hand has sent something that no job says, in the first session.
  var isGroupSending = false
  var nextFlush = Deadline.after(.seconds(1))

  /// Whether more of the stream is waiting: then the next group goes in by set-based statements.
  public var hasBacklog = false
  /// Whether a group in hand does, or the one that has failed. A failure of such a group says little about the change
  /// that caused it: the stream has to be read again, with `strictUntil` beyond it.
  public var isBatching: Bool { hasFailedBatch || isGroupBatching || !committing.isEmpty }
  /// Whether the open group does.
  var isGroupBatching = false
  var hasFailedBatch = false
  /// The last record that came in.
  public private(set) var lastRecord = LSN.invalid
  /// Where a replay of the group in hand may send sets again: behind all that came in, and behind the transaction that
  /// is under way, whose records may stand before the last COMMIT in the WAL.
  public var replayEnd: LSN { max(lastRecord, LSN(position.rawValue + 1)) }
  /// The transaction to leave out, which has a `commit` when progress is past it.
  public private(set) var steppedOver: SteppedOver?
  var isSteppingOver = false
  private var hasSeenNamedRecord = false
  /// Up to here every source transaction is applied on its own, change by change in the stream's order.
  let strictUntil: LSN
  var gate: (any CommitGate)?
  /// Whether the gate has been told that nothing is open.
  var isGateAsked = false
  /// The source's protected table of statements; nil where none are carried over.
  let statementTable: RelationName?
  /// Statements to leave out, named by their records.
  let orderedStatements: Set<LSN>
  var statementNumber: RelationNumber?
  /// How many relations have been looked at to find it.
  var namedRelations = 0
  /// The beginning of a statement that is on the target; its rows come now.
  var startedStatement: [UInt8]?
  /// Statements that the transaction in hand leaves out, and those that are past.
  var leavingOut: [SteppedOver] = []
  var leftOut: [SteppedOver] = []
  var carriedOut: [String] = []
  /// Whether the group ends with the transaction in hand: what follows may not share a transaction with its statement.
  var endsGroup = false
  /// Relations with changes that wait in their batches, in the order of their first one.
  var pendingBatches: [RelationNumber] = []
  /// What waits in all of them: bounded, however many tables there are.
  var waitingChanges = 0
  var waitingBytes = 0
  /// Room of a large batch that is past.
  var spareRoom: NetChangeBatch.Room?
  /// What the record in hand stands in.
  var recordStorage: StableBytes?
  /// What the records of waiting changes stand in.
  var recordsKept: [StableBytes] = []
  /// The last of them.
  var keptStorage: StableBytes?
  /// What was counted last: in full and once, however often what waits is sent meanwhile.
  var countedStorage: StableBytes?

  /// - Parameters:
  ///   - start: the origin's progress, where the stream begins.
  ///   - identity: unique for this applier.
  ///   - strictUntil: no set-based statements before this position.
  ///   - steppingOver: a transaction to leave out. It is an error if it does not hold the record that is named.
  ///   - statements: the source's table of statements, which are carried out where they stand.
  ///   - leavingOut: records of statements to leave out, and nothing else of their transactions.
  ///   - usesSecondSession: whether batches may go to a second session too.
  public init(
    session: ApplySession, parser: Parser, start: LSN, identity: String, limits: BatchLimits = BatchLimits(),
    strictUntil: LSN = .invalid, steppingOver: SteppedOver? = nil, statements: RelationName? = nil,
    leavingOut orderedStatements: Set<LSN> = [], usesSecondSession: Bool = true
  ) throws(ApplyFailure) {
    statementTable = statements
    self.orderedStatements = orderedStatements
    self.strictUntil = strictUntil
    steppedOver = steppingOver
    self.parser = parser
    self.limits = limits
    self.identity = identity
    recorded = start
    durable = start
    position = start
    pipeline = try TargetPipeline(session)
    lanes = ApplyLanes(pipeline, usesSecond: usesSecondSession)
  }

  deinit { lanes.end() }

  /// Breaks off what is under way on the target. Only closing the session makes sense afterwards.
  public func end() { lanes.end() }

  /// Whether the group holds anything that is not committed yet.
  public var hasOpenGroup: Bool { isGroupOpen || !committing.isEmpty }
  /// Whether the stream stands between a BEGIN and its COMMIT.
  public var isMidTransaction: Bool { isInTransaction }
  /// The commit time of the last transaction that came in, as a timestamp of PostgreSQL's.
  public var lastCommitTime: String? { commitTime.text }

  // MARK: the stream

  /// Applies one record of the stream.
  ///
  /// - Parameter storage: what the record stands in, and what is kept for as long as any of it is needed.
  @specialized(where Parser == PgoutputParser)
  @specialized(where Parser == TestDecodingParser)
  public func apply(
    lsn: LSN, record: UnsafeRawBufferPointer, in storage: StableBytes
  ) throws(ApplyFailure) {
    if storage !== recordStorage { recordStorage = storage }
    lastRecord = max(lastRecord, lsn)
    let decoded: DecodedRecord
    do throws(MalformedRecord) {
      decoded = try parser.parse(record)
    } catch {
      if isSteppingOver {
        // Whatever it says, it is left out.
        hasSeenNamedRecord = hasSeenNamedRecord || lsn == steppedOver?.lsn
        return
      }
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
      guard isInTransaction else { throw ApplyFailure(.unreadable, "a change outside a transaction") }
      if isSteppingOver { return leaveOut(decoded, lsn: lsn) }
      if isStatement(decoded) { return try takeStatement(decoded, lsn: lsn, record: record) }
      try applyChange(decoded, lsn: lsn, record: record)
    case .begin(let xid):
      guard !isInTransaction else { throw ApplyFailure(.unreadable, "BEGIN inside a transaction") }
      isInTransaction = true
      sourceTransaction = xid
      changesBefore = seenChanges
      isSteppingOver = xid == steppedOver?.xid && steppedOver?.commit == nil
      hasSeenNamedRecord = false
    case .commit(_, let timestamp):
      guard isInTransaction else { throw ApplyFailure(.unreadable, "COMMIT without its BEGIN") }
      isInTransaction = false
      if let timestamp { commitTime.note(parser.commitTime(timestamp, of: record), of: record) }
      if isSteppingOver {
        try endSteppingOver(lsn: lsn)
      } else if !leavingOut.isEmpty {
        try endLeavingOut(lsn: lsn)
      } else {
        try endTransaction(lsn: lsn)
      }
      startedStatement = nil
      sourceTransaction = nil
    case .message(let transactional, let prefix, let content):
      guard transactional, isInTransaction, let nonce = markerNonce(prefix, content, record) else { return }
      transactionMarkers.append((nonce, seenChanges))
    case .prepare, .commitPrepared, .rollbackPrepared:
      throw ApplyFailure(
        .unreadable, "a two-phase record: the slot was made with TWO_PHASE, which sends such rows twice or not at all")
    case .relation: return
    case .streamControl:
      throw ApplyFailure(.unreadable, "a streamed block, which carries no rows")
    }
  }

  private func leaveOut(_ decoded: DecodedRecord, lsn: LSN) {
    seenChanges += 1
    hasSeenNamedRecord = hasSeenNamedRecord || lsn == steppedOver?.lsn
    if let relation = relation(of: decoded) { steppedOver?.changes[relation, default: 0] += 1 }
  }

  /// Moves progress past the transaction at once, so that what was left out is known to be just this.
  private func endSteppingOver(lsn: LSN) throws(ApplyFailure) {
    guard hasSeenNamedRecord || lsn == steppedOver?.lsn else {
      throw ApplyFailure(.unreadable, "the transaction that was to be stepped over is another one now")
    }
    isSteppingOver = false
    openGroupIfNeeded()
    try endTransaction(lsn: lsn)
    try commitGroup()
    steppedOver?.commit = lsn
  }

  /// Says that no more records of the chunk in hand will come, which may be large.
  public func endChunk() {
    recordStorage = nil
    countedStorage = nil
  }

  /// A position up to which the server has sent everything. It moves progress only when nothing received before it
  /// is unapplied.
  ///
  /// - Parameter record: whether to write it to the origin now: an idle database would hold the source's WAL otherwise.
  public func keepalive(_ walEnd: LSN, record: Bool) throws(ApplyFailure) {
    guard !isInTransaction else { return }
    try askBefore(walEnd)
    position = max(position, walEnd)
    if record { try recordPosition() }
  }

  /// Commits what has been applied so far, as far as the last COMMIT in the stream, and waits for it. Call when the
  /// queue is dry.
  public func commitGroup() throws(ApplyFailure) {
    guard !isInTransaction else { return }
    if isGroupOpen { try closeGroup() }
    try drainLanes()
    try moveFirstOrigin()
  }

  /// Writes the current position to the origin, if progress is behind it.
  public func recordPosition() throws(ApplyFailure) {
    guard !isInTransaction else { return }
    if hasOpenGroup { try commitGroup() }
    guard position > recorded else { return }
    openGroup()
    try commitGroup()
  }

  /// Gives up what only a backlog needs. Call now and then when the stream is caught up.
  public func rest() throws(ApplyFailure) {
    guard !hasOpenGroup else { return }
    try moveFirstOrigin()
    lanes.rest()
  }

  /// Has the server flush the WAL of everything recorded; only then `durable` may be confirmed to the source.
  public func makeDurable() throws(ApplyFailure) {
    guard !isGroupOpen else { return }
    try drainLanes()
    try moveFirstOrigin()
    guard durable < recorded else { return }
    try pipeline.flush(reaching: recorded)
    durable = pipeline.flushed
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
