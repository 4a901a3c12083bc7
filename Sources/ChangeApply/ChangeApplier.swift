public import BlockingIO
public import LogicalDecoding
public import ReplicationModel

/// What an applier has done since it was made.
public struct ApplyCounters: Sendable, Equatable {
  public var transactions: UInt64 = 0
  /// Row changes, and one for each TRUNCATE.
  public var changes: UInt64 = 0
  /// Updates and deletes that found no row, and inserts that stored none.
  public var missedRows: UInt64 = 0
  /// Rows of materialized views, which are rebuilt and not applied.
  public var skippedRows: UInt64 = 0

  public init() {}
}

/// How many changes go into one target transaction.
///
/// A target that waits gets what there is; one that is busy gets the more at once, netted further, the longer it is.
public struct BatchLimits: Sendable {
  public var changes: Int
  /// Bytes that the changes of one batch take here, with the records that they stand in.
  public var bytes: Int
  /// The same where changes have more than a kilobyte each: little of them is netted, and what does not fit into the
  /// processor's caches costs the target more.
  public var wideBytes: Int
  /// Changes that are worth a batch while the target has nothing to do.
  public var least: Int
  /// Bytes that are.
  public var leastBytes: Int

  public init(
    changes: Int = 100_000, bytes: Int = 12 << 20, wideBytes: Int = 3 << 20, least: Int = 5_000,
    leastBytes: Int = 1 << 20
  ) {
    self.changes = changes
    self.bytes = bytes
    self.wideBytes = wideBytes
    self.least = least
    self.leastBytes = leastBytes
  }

  /// Whether so much is enough for a batch, however busy the target is.
  @inline(__always)
  func areReached(changes count: Int, bytes size: Int) -> Bool {
    count >= changes || size >= bytes || size >= wideBytes && size >> 10 > count
  }

  /// Whether so much is worth a batch.
  @inline(__always)
  func areWorthwhile(changes count: Int, bytes size: Int) -> Bool { count >= least || size >= leastBytes }
}

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
  /// Progress: the position that the origin has, or will have when the server's WAL is flushed.
  public private(set) var recorded: LSN
  /// The part of `recorded` that survives a crash of the target.
  public private(set) var durable: LSN

  let pipeline: TargetPipeline
  let lanes: ApplyLanes
  var parser: Parser
  let limits: BatchLimits
  /// Tells the announcements of this applier from those of an earlier one, whose counts it does not know.
  private let identity: String
  /// Everything committed before it is in the target, in the open group, or was empty.
  var position: LSN
  var layouts: [RelationLayout?] = []

  var sourceTransaction: UInt32?
  private var isInTransaction = false
  private var commitTime = CommitClock()
  private var isGroupOpen = false
  var groupChanges = 0
  var groupBytes = 0
  private var groupTransactions: UInt64 = 0
  private var groupMarkers: [(nonce: String, changes: UInt64)] = []
  private var transactionMarkers: [(nonce: String, changes: UInt64)] = []
  var seenChanges: UInt64 = 0
  /// What it was when the source transaction in hand began.
  var changesBefore: UInt64 = 0
  /// The groups that the lanes commit, until they are known to be done.
  private var committing: [(group: ClosedGroup, turn: CommitTurn)] = []
  /// Whether the group in hand has sent something that no job says, in the first session.
  var isGroupSending = false
  private var nextFlush = Deadline.after(.seconds(1))

  /// Whether more of the stream is waiting: then the next group goes in by set-based statements.
  public var hasBacklog = false
  /// Whether a group in hand does, or the one that has failed. A failure of such a group says little about the change
  /// that caused it: the stream has to be read again, with `strictUntil` beyond it.
  public var isBatching: Bool { hasFailedBatch || isGroupBatching || !committing.isEmpty }
  /// Whether the open group does.
  private(set) var isGroupBatching = false
  private var hasFailedBatch = false
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
  private let strictUntil: LSN
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
  // Not asked for by anything but speed: a parser without its line is read all the same.
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

  // MARK: groups

  func openGroupIfNeeded() {
    if !isGroupOpen { openGroup() }
  }

  private func openGroup() {
    isGroupOpen = true
    isGroupBatching = hasBacklog && gate == nil && position >= strictUntil && pipeline.session.encodingSwitch == nil
  }

  func endTransaction(lsn: LSN) throws(ApplyFailure) {
    try askBefore(lsn)
    position = max(position, lsn)
    groupTransactions += 1
    let hasMarker = !transactionMarkers.isEmpty
    if hasMarker {
      groupMarkers += transactionMarkers
      transactionMarkers.removeAll()
      openGroupIfNeeded()
    }
    let isFull =
      limits.areReached(changes: groupChanges, bytes: groupBytes)
      || isGroupBatching && limits.areWorthwhile(changes: groupChanges, bytes: groupBytes) && lanes.isIdle
    if hasMarker || isFull || endsGroup || (position < strictUntil || gate != nil) && isGroupOpen { try closeGroup() }
    endsGroup = false
    if gate != nil {
      try drainLanes()
      askBetween()
    }
  }

  /// Commits the group; its progress is `position`, the end of the last COMMIT in it or a keepalive behind that.
  private func closeGroup() throws(ApplyFailure) {
    var commit = GroupCommit(
      progress: position, time: lastCommitTime, xid: sourceTransaction, announcements: groupMarkers.map(announcement))
    let closing = ClosedGroup(progress: position, transactions: groupTransactions, changes: UInt64(groupChanges))
    // Behind, nobody else may ask for a long time: `makeDurable` is for the moments between two transactions.
    if isGroupBatching || hasBacklog, nextFlush.hasPassed {
      commit.flushes = true
      nextFlush = .after(.seconds(1))
    }
    if isGroupBatching {
      committing.append((closing, try submit(commit)))
    } else {
      try useSession()
      try pipeline.commit(commit)
      lanes.noteFirst()
      noteCommitted(closing, BatchOutcome(of: pipeline))
    }
    isGroupOpen = false
    isGroupBatching = false
    isGroupSending = false
    groupChanges = 0
    groupBytes = 0
    groupTransactions = 0
    groupMarkers.removeAll()
  }

  private struct ClosedGroup {
    var progress: LSN
    var transactions: UInt64
    var changes: UInt64
  }

  private func noteCommitted(_ group: ClosedGroup, _ outcome: BatchOutcome) {
    recorded = group.progress
    counters.transactions += group.transactions
    counters.changes += group.changes
    counters.missedRows += outcome.missedRows
    durable = max(durable, min(outcome.flushed, recorded))
  }

  /// Waits until the lanes have carried out all that they were given.
  func drainLanes() throws(ApplyFailure) {
    try watchingLanes { () throws(ApplyFailure) in try lanes.drain() }
  }

  /// Takes the session back from its lane, for statements of our own.
  func useSession() throws(ApplyFailure) {
    try drainLanes()
    guard isGroupOpen else { return }
    isGroupSending = true
    try pipeline.beginIfNeeded()
  }

  /// Others look at the first session's origin alone, so it is left behind while batches go to both, and no longer.
  private func moveFirstOrigin() throws(ApplyFailure) {
    guard lanes.isLastOnSecond, !isGroupOpen else { return }
    try pipeline.commit(GroupCommit(progress: recorded, time: lastCommitTime))
    lanes.noteFirst()
  }

  /// What the lanes have done is known afterwards, whatever they do now. A batch that failed may be of a group before,
  /// whatever the group in hand is.
  func watchingLanes<Result>(_ body: () throws(ApplyFailure) -> Result) throws(ApplyFailure) -> Result {
    defer {
      while let first = committing.first, case .success(let outcome) = first.turn.outcome {
        committing.removeFirst()
        noteCommitted(first.group, outcome)
      }
    }
    do throws(ApplyFailure) {
      return try body()
    } catch {
      hasFailedBatch = true
      throw error
    }
  }

  private func announcement(_ marker: (nonce: String, changes: UInt64)) -> String {
    MarkerAnnouncement(nonce: marker.nonce, lsn: position, changes: marker.changes, applier: identity).payload
  }

  /// Any role may emit a message with any content, so only what could be a nonce of ours is taken for one.
  private func markerNonce(_ prefix: Span, _ content: Span, _ record: UnsafeRawBufferPointer) -> String? {
    guard prefix.count == Self.markerPrefix.utf8.count, (1...64).contains(content.count),
      record[prefix.start..<prefix.end].elementsEqual(Self.markerPrefix.utf8)
    else { return nil }
    let nonce = record[content.start..<content.end]
    let isHexadecimal = nonce.allSatisfy { byte in
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
    return isHexadecimal ? String(decoding: nonce, as: UTF8.self) : nil
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
