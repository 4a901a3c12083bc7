import BlockingIO
import OriginSession
import PostgresClient
import ReplicationModel
import Testing

@testable import ChangeApply

/// What the machine decides, one rule a test: what is done in which order, to the letter.
///
/// `commit 1+2@0/30` is a group of transactions 1 and 2, change by change, whose progress is 0/30; `first 1@0/10` one in
/// batches, handed to the first session's lane.
struct Decisions {
  // MARK: groups

  @Test func caughtUpEachTransactionIsCommittedAsTheQueueIsDry() throws {
    var driver = Driver.make(backlog: false)
    for number in 1...3 {
      try driver.transaction(number, 2, at: LSN(0x10 + UInt64(number) * 0x10))
      try driver.wish { $0.settle() }
    }
    #expect(driver.takeLog() == ["commit 1@0/20", "commit 2@0/30", "commit 3@0/40"])
    #expect(driver.machine.progress.recorded == LSN(0x40))
  }

  @Test func withoutABacklogTransactionsGoTogetherUntilTheQueueIsDry() throws {
    var driver = Driver.make(backlog: false)
    for number in 1...3 { try driver.transaction(number, 2, at: LSN(0x10 + UInt64(number) * 0x10)) }
    #expect(driver.takeLog() == [])
    #expect(driver.machine.hasOpenGroup)
    #expect(!driver.machine.isBatching)
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["commit 1+2+3@0/40"])
  }

  /// How many transactions with so many changes of so many bytes make a group, with a target that is busy or idle.
  @Test(arguments: [
    (changes: 1, bytes: 10, busy: true, group: 100), (changes: 1, bytes: 10, busy: false, group: 10),
    (changes: 7, bytes: 10, busy: true, group: 15), (changes: 250, bytes: 10, busy: true, group: 1),
    // By bytes; where changes are wide, earlier.
    (changes: 1, bytes: 1000, busy: true, group: 20), (changes: 1, bytes: 2000, busy: true, group: 5),
    (changes: 1, bytes: 500, busy: false, group: 6),
  ])
  func aBacklogIsGroupedUpToTheLimits(changes: Int, bytes: Int, busy: Bool, group: Int) throws {
    let limits = BatchLimits(changes: 100, bytes: 20_000, wideBytes: 10_000, least: 10, leastBytes: 3_000)
    var driver = Driver.make(backlog: true, limits: limits)
    var lsn: UInt64 = 0x10
    if busy {
      // A group of its own is under way, without an answer.
      try driver.transaction(0, 10, at: LSN(0x1000))
      lsn = 0x1000
      #expect(driver.takeLog() == ["first 0@0/1000"])
    }
    var number = 0
    while driver.takeLog().isEmpty, number < 200 {
      number += 1
      lsn += 0x1000
      try driver.transaction(number, changes, at: LSN(lsn), bytes: bytes)
    }
    #expect(number == group)
  }

  @Test func aTargetWithNothingToDoGetsItAtOnceAndABusyOneLater() throws {
    var driver = Driver.make(backlog: true, limits: BatchLimits(changes: 100, bytes: 1 << 20, least: 10))
    try driver.transaction(1, 10, at: LSN(0x100))
    try driver.transaction(2, 10, at: LSN(0x200))
    #expect(driver.takeLog() == ["first 1@0/100"])
    driver.finishJob()
    try driver.transaction(3, 1, at: LSN(0x300))
    #expect(driver.takeLog() == ["first 2+3@0/300"])
  }

  /// Whatever its size: pieces go within the one transaction.
  @Test(arguments: [true, false]) func aHugeTransactionIsNeverCommittedInTheMiddle(backlog: Bool) throws {
    var driver = Driver.make(backlog: backlog)
    try driver.begin(1, at: LSN(0x11))
    for index in 0..<1000 {
      try driver.change(at: LSN(0x12 + UInt64(index)), bytes: 1 << 14)
      if index % 100 == 0 {
        try driver.wish { $0.settle() }
        try driver.wish { $0.recordPosition() }
        try driver.wish { $0.keepalive(LSN(0x10000), record: true) }
      }
    }
    let pieces = driver.takeLog()
    #expect(Set(pieces) == (backlog ? ["piece"] : []))
    #expect(driver.target.transactions == [])
    #expect(driver.machine.progress.position == LSN(0x10))
    try driver.commit(at: LSN(0x1000))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == (backlog ? ["first 1@0/1000", "await"] : ["commit 1@0/1000"]))
  }

  /// Others go whole, with their COMMIT.
  @Test func onlyALargeTransactionIsSentInPieces() throws {
    var driver = Driver.make(backlog: true, limits: BatchLimits(changes: 1000, bytes: 1 << 20, least: 10))
    try driver.transaction(1, 10, at: LSN(0x100))
    for number in 2...30 { try driver.transaction(number, 2, at: LSN(UInt64(number) * 0x100)) }
    driver.finishJob()
    try driver.transaction(31, 2, at: LSN(0x2000))
    #expect(driver.takeLog() == ["first 1@0/100", "first \((2...31).map(String.init).joined(separator: "+"))@0/2000"])
  }

  @Test func batchesNeedASessionThatTakesThem() throws {
    var driver = Driver(start: LSN(0x10), takesBatches: false)
    driver.machine.hasBacklog = true
    try driver.transaction(1, 2, at: LSN(0x20))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["commit 1@0/20"])
  }

  @Test func anEmptyTransactionMovesThePositionAndOpensNoGroup() throws {
    var driver = Driver.make(backlog: true)
    try driver.transaction(1, 0, at: LSN(0x20))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == [])
    #expect(!driver.machine.hasOpenGroup)
    try driver.wish { $0.recordPosition() }
    #expect(driver.takeLog() == ["first @0/20", "await"])
    #expect(driver.machine.progress.recorded == LSN(0x20))
    try driver.wish { $0.recordPosition() }
    #expect(driver.takeLog() == [])
  }

  // MARK: what ends a group

  @Test(arguments: [true, false]) func aMarkerClosesItsGroupEvenAnEmptyOne(backlog: Bool) throws {
    var driver = Driver.make(backlog: backlog)
    try driver.transaction(1, 2, at: LSN(0x20))
    try driver.transaction(2, 0, at: LSN(0x30), marker: true)
    try driver.transaction(3, 0, at: LSN(0x40), marker: true)
    #expect(
      driver.takeLog()
        == (backlog ? ["first 1@0/30", "first @0/40"] : ["commit 1@0/30", "commit @0/40"]))
  }

  @Test func aStatementEndsItsGroup() throws {
    var driver = Driver.make(backlog: true)
    try driver.transaction(1, 2, at: LSN(0x20))
    try driver.begin(2, at: LSN(0x21))
    try driver.statement(at: LSN(0x22))
    try driver.commit(at: LSN(0x30))
    try driver.transaction(3, 2, at: LSN(0x40))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["first 1+2@0/30", "first 3@0/40", "await"])
  }

  @Test func whatIsLeftOutIsCommittedByItself() throws {
    var driver = Driver.make(backlog: true)
    try driver.begin(1, at: LSN(0x11))
    driver.machine.passOver()
    try driver.commit(at: LSN(0x20), settles: true)
    #expect(driver.takeLog() == ["first @0/20", "await"])
    #expect(driver.machine.progress.recorded == LSN(0x20))
  }

  @Test func upToTheEndOfAReplayTransactionsGoOneByOne() throws {
    var driver = Driver.make(backlog: true, strictUntil: LSN(0x31))
    for number in 1...5 { try driver.transaction(number, 2, at: LSN(0x10 + UInt64(number) * 0x10)) }
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["commit 1@0/20", "commit 2@0/30", "commit 3+4+5@0/60"])
    try driver.transaction(6, 2, at: LSN(0x70))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["first 6@0/70", "await"])
  }

  // MARK: the gate

  @Test func aGateIsAskedBeforeAndBetweenSingleTransactions() throws {
    var driver = Driver.make(backlog: true)
    try driver.transaction(1, 2, at: LSN(0x20))
    driver.gateStays = { $0 <= LSN(0x40) }
    try driver.wish { $0.setGate(true) }
    try driver.transaction(2, 2, at: LSN(0x30))
    try driver.wish { $0.keepalive(LSN(0x38), record: false) }
    try driver.transaction(3, 2, at: LSN(0x50))
    try driver.transaction(4, 2, at: LSN(0x60))
    try driver.wish { $0.settle() }
    #expect(
      driver.takeLog() == [
        "first 1@0/20", "await", "between 0/20", "before 0/30", "commit 2@0/30", "between 0/30", "before 0/38",
        // It is done, and its transaction is free to go with the next one.
        "before 0/50", "commit 3+4@0/60",
      ])
  }

  @Test func aGateWaitsForTheEndOfTheTransactionInHand() throws {
    var driver = Driver.make(backlog: true)
    try driver.begin(1, at: LSN(0x11))
    try driver.change(at: LSN(0x12))
    try driver.wish { $0.setGate(true) }
    #expect(driver.takeLog() == [])
    try driver.commit(at: LSN(0x20))
    #expect(driver.takeLog() == ["first 1@0/20", "await", "between 0/20"])
    try driver.wish { $0.setGate(false) }
    try driver.transaction(2, 2, at: LSN(0x30))
    #expect(driver.takeLog() == [])
  }

  // MARK: failures

  private static let mismatch = ApplyFailure(.batchMismatch, "a set of 10 rows hit 9")
  private static let duplicate = failure(.server, SQLState(rawValue: "23505"))
  private static let deadlock = failure(.server, .deadlockDetected)
  private static let lost = failure(.connectionLost, nil)

  private static func failure(_ reason: PostgresError.Reason, _ state: SQLState?) -> ApplyFailure {
    ApplyFailure(PostgresError(reason, sqlState: state, message: "no", server: "target"))
  }

  @Test(arguments: [(mismatch, true), (duplicate, true), (deadlock, true), (lost, false)])
  func aFailedBatchIsReplayedStrictly(failure: ApplyFailure, replays: Bool) throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...2)
    driver.failure = failure
    try driver.begin(3, at: LSN(0x2001))
    try driver.change(at: LSN(0x2002))
    #expect(throws: failure) { try driver.send(by: LSN(0x2003)) }
    #expect(driver.machine.progress.recorded == LSN(0x10))
    #expect(driver.machine.replayEnd(after: failure) == (replays ? LSN(0x2003) : nil))
    // It stays so: who asks later is told the same.
    #expect(throws: failure) {
      try driver.wish { $0.makeDurable() }; try driver.send(by: LSN(0x2004))
    }
    #expect(driver.target.transactions == [])
  }

  /// A second session that could not be begun, say: what was to go there is gone.
  @Test func afterAFailureTheLanesAreAskedBeforeAnythingIsCommitted() throws {
    var driver = Driver.make(backlog: true)
    try driver.begin(1, at: LSN(0x11))
    try driver.change(at: LSN(0x12))
    driver.machine.batchFailed()
    #expect(driver.machine.lanesAreBusy)
    #expect(driver.machine.isBatching)
  }

  /// The failed transaction's records may stand before a COMMIT that came before them.
  @Test func aReplayGoesBeyondTheTransactionThatBeganEarly() throws {
    var driver = Driver.make(backlog: true)
    try driver.transaction(1, 100, at: LSN(0x1000))
    try driver.begin(2, at: LSN(0x20))
    try driver.change(at: LSN(0x21))
    driver.failure = Self.mismatch
    #expect(throws: Self.mismatch) { try driver.send(by: LSN(0x22)) }
    #expect(driver.machine.replayEnd(after: Self.mismatch) == LSN(0x1001))
  }

  /// The change that failed is known, and would be the same again.
  @Test func aSingleChangeThatFailsIsNotReplayed() throws {
    var driver = Driver.make(backlog: false)
    try driver.begin(1, at: LSN(0x11))
    try driver.change(at: LSN(0x12))
    #expect(driver.machine.replayEnd(after: Self.duplicate) == nil)
  }

  @Test func whatIsOutOfOrderIsRefused() throws {
    var driver = Driver.make(backlog: false)
    #expect(throws: ApplyFailure.self) { try driver.machine.commit(at: LSN(0x20)) }
    try driver.machine.begin()
    #expect(throws: ApplyFailure.self) { try driver.machine.begin() }
  }

  // MARK: keepalives

  @Test func aKeepaliveMovesProgressWhereNothingBeforeItIsUnapplied() throws {
    var driver = Driver.make(backlog: false)
    try driver.wish { $0.keepalive(LSN(0x20), record: false) }
    #expect(driver.machine.progress.position == LSN(0x20))
    #expect(driver.machine.progress.recorded == LSN(0x10))
    try driver.wish { $0.keepalive(LSN(0x30), record: true) }
    #expect(driver.takeLog() == ["commit @0/30"])
    #expect(driver.machine.progress.recorded == LSN(0x30))
    // What was received before it goes with it.
    try driver.transaction(1, 2, at: LSN(0x40))
    try driver.wish { $0.keepalive(LSN(0x50), record: true) }
    #expect(driver.takeLog() == ["commit 1@0/50"])
    // Within a transaction it says nothing of that.
    try driver.begin(2, at: LSN(0x51))
    try driver.wish { $0.keepalive(LSN(0x1000), record: true) }
    #expect(driver.takeLog() == [])
    #expect(driver.machine.progress.position == LSN(0x50))
    #expect(driver.machine.progress.received == LSN(0x1000))
  }

  /// A peer may say anything.
  @Test func whatGoesBackMovesNothing() throws {
    var driver = Driver.make(backlog: false)
    try driver.transaction(1, 2, at: LSN(0x40))
    try driver.wish { $0.keepalive(LSN(0x20), record: true) }
    #expect(driver.machine.progress.recorded == LSN(0x40))
    try driver.transaction(2, 2, at: LSN(0x30))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["commit 1@0/40", "commit 2@0/40"])
    try driver.wish { $0.keepalive(LSN(.max), record: true) }
    #expect(driver.machine.progress.replayEnd == LSN(.max))
    #expect(driver.machine.progress.breach == nil)
  }

  @Test func whatTheTargetCallsDurableIsNeverMoreThanWhatIsRecorded() {
    var progress = Progress(start: LSN(0x10))
    progress.flushed(LSN(0x1000))
    #expect(progress.durable == LSN(0x10))
    #expect(progress.confirm() == nil)
    progress.committed(LSN(0x50))
    #expect(progress.recorded == LSN(0x10))
    #expect(progress.breach == nil)
  }
}
