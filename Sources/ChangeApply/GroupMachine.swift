import BlockingIO
import OriginSession
import ReplicationModel

/// Decides, as a pure value, how source transactions become target transactions: when a group begins and ends, how its
/// changes go in, in which session it is committed, what is waited for, and where progress stands.
///
/// What happens comes in by its methods: BEGIN, a change, COMMIT, a keepalive, a queue that is dry, an answer of the
/// target. At the rare points (everything but a change) the owner then asks `next()` until it says nothing, and each
/// time does what it says and answers. It sees no clock and no connection, so that a test can play both.
///
/// What always holds:
///
/// - A group is made of whole source transactions, in the order of the stream, each in just one group.
/// - A group is closed between two source transactions only, however large one is.
/// - Before anything is sent by itself in the first session, and before another group's progress is moved there, what
///   the lanes have is waited for: nothing is sent behind a COMMIT before its answer.
/// - `Progress` holds, see there.
///
/// After a failure it is thrown away, with the session; see `replayEnd(after:)`.
struct GroupMachine {
  private(set) var progress: Progress
  private let limits: BatchLimits
  /// Whether batches are possible at all.
  private let takesBatches: Bool
  /// Whether more of the stream is waiting: then the next group goes in by set-based statements.
  var hasBacklog = false

  /// Whether the stream stands between a BEGIN and its COMMIT.
  private(set) var isInTransaction = false
  /// All that came in.
  private(set) var seenChanges: UInt64 = 0
  /// What it was when the source transaction in hand began.
  private var changesBefore: UInt64 = 0
  /// Whether the group ends with the transaction in hand: what follows may not share a transaction with its statement.
  private var endsGroup = false
  private var hasMarker = false

  /// The open group, or the next one.
  private var group = Group()
  /// What waits in all batches: bounded, however many tables there are.
  private var waiting = (changes: 0, bytes: 0)
  /// The groups that the lanes commit, until they are known to be done.
  private var underWay: [ClosedGroup] = []
  /// Whether the lanes were given anything since they were waited for.
  private(set) var lanesAreBusy = false
  /// Which session was the last to be given a commit: its origin is the further one.
  private(set) var lastSession = Session.first
  private var hasFailedBatch = false
  private var nextFlush: Deadline

  private var gate = Gate.none

  private var arrival: Arrival?
  private var due: Due = []

  /// How long a group's flush may be put off while the stream is behind; each costs the target one.
  private static let flushInterval: UInt64 = 1_000_000_000

  /// - Parameter takesBatches: whether set-based statements are possible at all.
  init(_ progress: Progress, limits: BatchLimits, takesBatches: Bool, now: Deadline) {
    self.progress = progress
    self.limits = limits
    self.takesBatches = takesBatches
    nextFlush = Deadline(nanoseconds: now.nanoseconds &+ Self.flushInterval)
  }

  /// Whether the group holds anything that is not committed yet.
  var hasOpenGroup: Bool { group.isOpen || !underWay.isEmpty }

  /// Whether a group in hand goes in by set-based statements, or the one that has failed. A failure of such a group says
  /// little about the change that caused it.
  var isBatching: Bool { hasFailedBatch || group.isBatching || !underWay.isEmpty }

  // MARK: the stream

  @inline(__always)
  mutating func received(record lsn: LSN) { progress.received(record: lsn) }

  mutating func begin() throws(ApplyFailure) {
    guard !isInTransaction else { throw ApplyFailure(.unreadable, "BEGIN inside a transaction") }
    isInTransaction = true
    changesBefore = seenChanges
  }

  /// A change that belongs to the transaction, and nothing is sent for it.
  @inline(__always)
  mutating func passOver() { seenChanges += 1 }

  /// A change that is to be applied.
  @inline(__always)
  mutating func change() -> Route {
    seenChanges += 1
    if !group.isOpen { open() }
    return group.isBatching ? .batch : .single
  }

  /// Records that batches point into are kept, and count in full.
  @inline(__always)
  mutating func keeps(bytes: Int) {
    group.bytes += bytes
    waiting.bytes += bytes
  }

  /// A change has gone into a batch.
  ///
  /// A large source transaction is sent in pieces of bounded size, within one target transaction. Others go whole, with
  /// their COMMIT: then nothing has to wait for a piece before it.
  @inline(__always)
  mutating func batched(bytes: Int) -> Waiting {
    group.changes += 1
    group.bytes += bytes
    waiting.changes += 1
    waiting.bytes += bytes
    if limits.areReached(changes: waiting.changes * 4 / 5, bytes: waiting.bytes * 4 / 5) { return .goes }
    guard seenChanges - changesBefore >= limits.least else { return .goesOn }
    return limits.areWorthwhile(changes: waiting.changes / 4, bytes: waiting.bytes / 4) ? .goesIfIdle : .goesOn
  }

  /// A change has been sent by itself.
  @inline(__always)
  mutating func sentSingle(bytes: Int) {
    group.changes += 1
    group.bytes += bytes
  }

  /// Nothing waits in batches any more.
  mutating func nothingWaits() { waiting = (0, 0) }

  /// A statement of `ddl: replicate` begins: whatever waits goes before it.
  mutating func openGroup() { if !group.isOpen { open() } }

  /// A statement has been carried out.
  mutating func carriedOutStatement() {
    group.changes += 1
    endsGroup = true
  }

  /// A statement was left out: so that nothing else is said to be.
  mutating func leftOutStatement() { endsGroup = true }

  /// The transaction in hand has a marker.
  mutating func marker() { hasMarker = true }

  /// - Parameter settles: whether the group ends with this transaction and is waited for, even if it is empty.
  mutating func commit(at lsn: LSN, settles: Bool = false) throws(ApplyFailure) {
    guard isInTransaction else { throw ApplyFailure(.unreadable, "COMMIT without its BEGIN") }
    isInTransaction = false
    arrival = .commit(lsn, settles: settles)
  }

  /// A position up to which the server has sent everything. It moves progress only when nothing received before it is
  /// unapplied.
  ///
  /// - Parameter record: whether to write it to the origin now.
  mutating func keepalive(_ walEnd: LSN, record: Bool) {
    progress.received(keepalive: walEnd)
    guard !isInTransaction else { return }
    arrival = .keepalive(walEnd, record: record)
  }

  // MARK: wishes

  /// The queue is dry: what is whole is committed, and waited for.
  mutating func settle() {
    guard !isInTransaction else { return }
    due.formUnion(.settled)
  }

  /// The origin is to have the position, even if no group moves it there.
  mutating func recordPosition() {
    guard !isInTransaction else { return }
    if hasOpenGroup { settle() }
    due.insert(.record)
  }

  /// What is recorded is to be durable.
  mutating func makeDurable() {
    guard !group.isOpen else { return }
    due.formUnion([.drain, .firstOrigin, .flush])
  }

  /// The stream is caught up.
  mutating func rest() {
    guard !hasOpenGroup else { return }
    due.formUnion([.firstOrigin, .rest])
  }

  /// Somebody wants to decide between one source transaction and the next, or nobody does any more.
  mutating func setGate(_ isThere: Bool) {
    gate = isThere ? .set : .none
    due.remove(.between)
    guard isThere, !isInTransaction else { return }
    settle()
    due.insert(.between)
  }

  // MARK: what follows

  /// What is to be done next; nil when the stream may go on. It says the same again until it has been answered.
  mutating func next() -> Step? {
    if let arrival {
      if gate == .asked { return lanesAreBusy ? .awaitLanes : .askBefore(place(of: arrival)) }
      arrive(arrival)
    }
    // Nearly always.
    if due.isEmpty { return nil }
    if due.contains(.closeIfIdle) {
      guard !lanesAreBusy || due.contains(.close) else { return .askLanes }
      due.formUnion(.close)
      due.remove(.closeIfIdle)
    }
    while true {
      if due.contains(.close), group.isOpen { return .close }
      due.remove(.close)
      // Whoever looks at the first origin finds everything there.
      let movesFirst = due.contains(.firstOrigin) && lastSession == .second && !group.isOpen
      if lanesAreBusy, movesFirst || due.contains(.drain) { return .awaitLanes }
      due.remove(.drain)
      if movesFirst { return .moveFirstOrigin(progress.recorded) }
      due.remove(.firstOrigin)
      guard due.contains(.record) else { break }
      due.remove(.record)
      guard progress.position > progress.recorded else { break }
      open()
      due.formUnion(.settled)
    }
    if due.contains(.flush), progress.durable < progress.recorded { return .flush(reaching: progress.recorded) }
    due.remove(.flush)
    if due.contains(.between) { return .askBetween(progress.recorded) }
    guard due.contains(.rest) else { return nil }
    due.remove(.rest)
    return .rest
  }

  private func place(of arrival: Arrival) -> LSN {
    switch arrival {
    case .commit(let lsn, _), .keepalive(let lsn, _): lsn
    }
  }

  private mutating func arrive(_ arrival: Arrival) {
    self.arrival = nil
    switch arrival {
    case .commit(let lsn, let settles):
      progress.reached(lsn)
      endTransaction(settles: settles)
    case .keepalive(let walEnd, let record):
      progress.reached(walEnd)
      if record { recordPosition() }
    }
  }

  private mutating func endTransaction(settles: Bool) {
    group.transactions += 1
    if hasMarker || settles { openGroup() }
    group.isAnnounced = group.isAnnounced || hasMarker
    if group.isOpen {
      if hasMarker || endsGroup || settles || progress.isStrict || gate != .none
        || limits.areReached(changes: group.changes, bytes: group.bytes)
      {
        due.insert(.close)
      } else if group.isBatching, limits.areWorthwhile(changes: group.changes, bytes: group.bytes) {
        due.insert(.closeIfIdle)
      }
    }
    if settles { settle() }
    if gate != .none { due.formUnion([.drain, .between]) }
    hasMarker = false
    endsGroup = false
  }

  private mutating func open() {
    group.isOpen = true
    group.isBatching = hasBacklog && takesBatches && gate == .none && !progress.isStrict
  }

  // MARK: groups

  /// How the open group ends.
  mutating func end(now: Deadline) -> GroupEnd {
    // Behind, nobody else may ask for a long time: `makeDurable` is for the moments between two transactions.
    let flushes = (group.isBatching || hasBacklog) && now >= nextFlush
    if flushes { nextFlush = Deadline(nanoseconds: now.nanoseconds &+ Self.flushInterval) }
    return GroupEnd(
      progress: progress.position, isBatching: group.isBatching, flushes: flushes,
      isFirst: group.isSending || flushes || group.isAnnounced, leavesKeys: !group.isSending)
  }

  /// Where a group goes that is in batches.
  ///
  /// - Parameters:
  ///   - hasNeighbour: whether the group before is under way and may have one beside it.
  ///   - hasFreeRows: whether any of the rows may be written before that is committed.
  func place(_ end: GroupEnd, hasNeighbour: Bool, hasFreeRows: Bool) -> GroupPlace {
    let isBeside = hasNeighbour && !end.isFirst
    if lastSession == .second { return isBeside ? .firstBesideSecond : .firstAfterLanes }
    return isBeside && hasFreeRows ? .second : .first
  }

  /// The group's COMMIT is a lane's now.
  mutating func handedOver(to session: Session) {
    underWay.append(close())
    lanesAreBusy = true
    lastSession = session
  }

  /// A piece of the group goes to the first session. True when the lanes have to be waited for before.
  mutating func sendsPiece() -> Bool {
    group.isSending = true
    return lastSession == .second
  }

  mutating func handedOverPiece() { lanesAreBusy = true }

  /// Something goes to the first session by itself, for which the lanes have been waited for. True when it belongs to
  /// the open group's transaction.
  @inline(__always)
  mutating func sends() -> Bool {
    guard group.isOpen else { return false }
    group.isSending = true
    return true
  }

  private mutating func close() -> ClosedGroup {
    progress.closedGroup()
    assert(progress.breach == nil)
    defer {
      group = Group()
      due.remove(.close)
    }
    return ClosedGroup(
      progress: progress.position, transactions: group.transactions, changes: UInt64(group.changes))
  }

  // MARK: answers

  mutating func lanes(areIdle: Bool) {
    due.remove(.closeIfIdle)
    if areIdle { due.insert(.close) }
  }

  mutating func drained() { lanesAreBusy = false }

  /// The open group was committed in the first session, with nothing else under way.
  mutating func committed(flushed: LSN) -> ClosedGroup {
    let group = close()
    lastSession = .first
    note(group, flushed: flushed)
    return group
  }

  /// The first of the groups that the lanes commit is done; nil where there is none.
  mutating func answered(flushed: LSN) -> ClosedGroup? {
    guard !underWay.isEmpty else { return nil }
    let group = underWay.removeFirst()
    note(group, flushed: flushed)
    return group
  }

  private mutating func note(_ group: ClosedGroup, flushed: LSN) {
    progress.committed(group.progress)
    progress.flushed(flushed)
    assert(progress.breach == nil)
  }

  mutating func movedFirstOrigin() { lastSession = .first }

  mutating func flushed(_ lsn: LSN) {
    progress.flushed(lsn)
    due.remove(.flush)
    assert(progress.breach == nil)
  }

  mutating func gateAnswered(stays: Bool) {
    gate = stays ? .asked : .none
    if let arrival { arrive(arrival) } else { due.remove(.between) }
  }

  /// A lane has failed, with whatever it had. It may be a group before, whatever the group in hand is.
  mutating func batchFailed() {
    hasFailedBatch = true
    lanesAreBusy = true
  }

  mutating func confirm() -> LSN? { progress.confirm() }

  /// How far the stream has to be read again change by change after a failure: then it either goes through, or names the
  /// change. Nil where the failure names its change already, or may pass by itself.
  func replayEnd(after failure: ApplyFailure) -> LSN? {
    isBatching && failure.isReplayed ? progress.replayEnd : nil
  }
}
