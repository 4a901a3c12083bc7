import BlockingIO
import OriginSession
import ReplicationModel
import Testing

@testable import ChangeApply

/// A target that a test plays: two sessions with an origin each, and what is visible.
struct PlayedTarget: Equatable {
  /// Source transactions whose changes are there, in the order in which they came.
  var transactions: [Int] = []
  var first: LSN
  var second = LSN.invalid
  var progress: LSN { max(first, second) }

  init(_ start: LSN) { first = start }

  mutating func commit(_ transactions: [Int], _ progress: LSN, in session: GroupMachine.Session) {
    #expect(progress >= self.progress, "progress went back from \(self.progress) to \(progress)")
    self.transactions += transactions
    switch session {
    case .first: first = progress
    case .second: second = progress
    }
  }
}

/// Does what a machine says, as the applier does it, on a played target; writes down what it did; and holds the
/// machine to its rules.
struct Driver {
  var machine: GroupMachine
  var now = Deadline(nanoseconds: 1_000_000_000)
  var target: PlayedTarget
  /// What a crash of the target leaves.
  var durable: PlayedTarget
  private(set) var log: [String] = []

  /// A group that a lane carries out.
  private struct Job {
    var transactions: [Int]
    var end: GroupEnd
    var session: GroupMachine.Session
  }

  private var jobs: [Job] = []
  /// Jobs that are done, of which the machine does not know yet.
  private var answers: [GroupEnd] = []
  private var hasPiece = false
  /// The group before, which the next one may be beside.
  private var hasNeighbour = false
  /// The source's transactions that the open group holds changes of.
  private var inGroup: [Int] = []
  private(set) var inHand: Int?
  /// Whether a group has gone to the second session.
  private(set) var hasUsedSecond = false

  /// Whether a second session can be opened.
  var hasSecond = true
  /// Whether any row of the next group may be written before the group before is committed.
  var hasFreeRows = true
  /// How the next batch fails.
  var failure: ApplyFailure?
  /// Whether the gate stays.
  var gateStays: (LSN) -> Bool = { _ in true }

  init(
    start: LSN, strictUntil: LSN = .invalid, limits: BatchLimits = BatchLimits(), takesBatches: Bool = true,
    target: PlayedTarget? = nil
  ) {
    machine = GroupMachine(
      Progress(start: start, strictUntil: strictUntil), limits: limits, takesBatches: takesBatches, now: now)
    self.target = target ?? PlayedTarget(start)
    durable = self.target
  }

  var lanesAreIdle: Bool { jobs.isEmpty && !hasPiece }

  mutating func takeLog() -> [String] {
    defer { log = [] }
    return log
  }

  // MARK: the stream

  mutating func begin(_ transaction: Int, at lsn: LSN) throws {
    machine.received(record: lsn)
    try machine.begin()
    inHand = transaction
  }

  /// - Parameter fits: whether a batch takes it.
  mutating func change(at lsn: LSN, bytes: Int = 100, fits: Bool = true) throws {
    let transaction = try #require(inHand)
    machine.received(record: lsn)
    let wasOpen = machine.hasOpenGroup
    let route = machine.change()
    #expect(route == .single || !machine.progress.isStrict || wasOpen, "a batch where the stream is strict")
    if inGroup.last != transaction { inGroup.append(transaction) }
    guard route == .batch, fits else {
      try send()
      machine.sentSingle(bytes: bytes)
      return
    }
    switch machine.batched(bytes: bytes) {
    case .goesOn: break
    case .goesIfIdle: if lanesAreIdle { try sendPiece() }
    case .goes: try sendPiece()
    }
  }

  mutating func commit(at lsn: LSN, settles: Bool = false) throws {
    machine.received(record: lsn)
    try machine.commit(at: lsn, settles: settles)
    inHand = nil
    try obey()
  }

  /// A whole transaction: `changes` changes before the COMMIT that ends at `lsn`.
  mutating func transaction(
    _ number: Int, _ changes: Int, at lsn: LSN, bytes: Int = 100, fits: Bool = true, marker: Bool = false,
    settles: Bool = false
  ) throws {
    try begin(number, at: LSN(lsn.rawValue - UInt64(changes) - 1))
    for index in 0..<changes {
      try change(at: LSN(lsn.rawValue - UInt64(changes - index)), bytes: bytes, fits: fits)
    }
    if marker { machine.marker() }
    try commit(at: lsn, settles: settles)
  }

  /// A statement of `ddl: replicate`.
  mutating func statement(at lsn: LSN) throws {
    machine.received(record: lsn)
    machine.passOver()
    machine.openGroup()
    if let inHand, inGroup.last != inHand { inGroup.append(inHand) }
    try send()
    machine.carriedOutStatement()
  }

  mutating func wish(_ wish: (inout GroupMachine) -> Void) throws {
    wish(&machine)
    try obey()
  }

  // MARK: the target

  /// A lane finishes its job; the machine hears of it with the next call that looks.
  mutating func finishJob() {
    guard !jobs.isEmpty, failure == nil else { return }
    hasPiece = false
    let job = jobs.removeFirst()
    if jobs.isEmpty { hasNeighbour = false }
    target.commit(job.transactions, job.end.progress, in: job.session)
    if job.end.flushes { durable = target }
    answers.append(job.end)
  }

  private mutating func listen() {
    for end in answers {
      let group = machine.answered(flushed: end.flushes ? end.progress : .invalid)
      #expect(group?.progress == end.progress)
    }
    answers = []
  }

  private mutating func awaitLanes() throws {
    log.append("await")
    try finish { _ in true }
    hasPiece = false
    hasNeighbour = false
    listen()
    machine.drained()
  }

  /// Waits for jobs, the first of which may fail, and with it all behind it.
  private mutating func finish(_ isMeant: (Job) -> Bool) throws {
    if let failure, !jobs.isEmpty || hasPiece {
      listen()
      machine.batchFailed()
      throw failure
    }
    while jobs.contains(where: isMeant) { finishJob() }
  }

  /// Before anything goes to the first session by itself.
  private mutating func send() throws {
    if machine.lanesAreBusy { try awaitLanes() }
    #expect(lanesAreIdle, "something was sent by itself while a lane had the session")
    _ = machine.sends()
  }

  private mutating func sendPiece() throws {
    machine.nothingWaits()
    if machine.sendsPiece() { try awaitLanes() }
    // One batch is under way in a session at most.
    try finish { $0.session == .first }
    #expect(!jobs.contains { $0.session == .second }, "a piece was sent before the COMMIT of the group before")
    log.append("piece")
    hasPiece = true
    hasNeighbour = false
    listen()
    machine.handedOverPiece()
  }

  mutating func obey() throws {
    while let step = machine.next() {
      #expect(machine.progress.breach == nil)
      switch step {
      case .awaitLanes: try awaitLanes()
      case .askLanes: machine.lanes(areIdle: lanesAreIdle)
      case .close: try close()
      case .moveFirstOrigin(let progress):
        #expect(lanesAreIdle && progress == target.progress)
        log.append("origin \(progress)")
        target.commit([], progress, in: .first)
        machine.movedFirstOrigin()
      case .flush(let progress):
        #expect(lanesAreIdle)
        #expect(target.first == progress, "what is called durable can be checked by the first origin")
        log.append("flush \(progress)")
        durable = target
        machine.flushed(progress)
      case .askBefore(let lsn):
        #expect(lanesAreIdle)
        log.append("before \(lsn)")
        answer(lsn)
      case .askBetween(let lsn):
        #expect(lanesAreIdle && inGroup.isEmpty && lsn == target.progress)
        log.append("between \(lsn)")
        answer(lsn)
      case .rest: log.append("rest")
      }
    }
    #expect(machine.progress.breach == nil)
  }

  private mutating func answer(_ lsn: LSN) {
    let stays = gateStays(lsn)
    machine.gateAnswered(stays: stays)
  }

  private mutating func close() throws {
    #expect(!machine.isInTransaction, "a group was closed in the middle of a source transaction")
    let end = machine.end(now: now)
    let isStrict = end.progress < machine.progress.strictUntil
    #expect(!isStrict || inGroup.count <= 1 && !end.isBatching, "a group where the stream is strict")
    let extent = "\(inGroup.map(String.init).joined(separator: "+"))@\(end.progress)\(end.flushes ? " flushed" : "")"
    guard end.isBatching else {
      try send()
      log.append("commit \(extent)")
      target.commit(inGroup, end.progress, in: .first)
      if end.flushes { durable = target }
      let group = machine.committed(flushed: end.flushes ? end.progress : .invalid)
      #expect(group.progress == end.progress)
      inGroup = []
      return
    }
    machine.nothingWaits()
    let isBeside = hasNeighbour && !jobs.isEmpty && !end.isFirst
    let last = jobs.last?.session
    var session = GroupMachine.Session.first
    switch machine.place(end, hasNeighbour: isBeside, hasFreeRows: hasFreeRows) {
    case .first: #expect(last != .second, "its COMMIT could come before that of the group before")
    case .firstAfterLanes: try awaitLanes()
    case .firstBesideSecond: #expect(isBeside && last == .second)
    case .second:
      #expect(isBeside && last == .first && hasFreeRows)
      if hasSecond { session = .second }
    }
    #expect(session == .first || !end.isFirst)
    try finish { $0.session == session }
    listen()
    log.append("\(session) \(extent)")
    jobs.append(Job(transactions: inGroup, end: end, session: session))
    hasNeighbour = end.leavesKeys
    machine.handedOver(to: session)
    inGroup = []
    if session == .second { hasUsedSecond = true }
  }

}
