import BlockingIO
import ReplicationModel
import Testing

@testable import ChangeApply

/// Which session a group goes to, and what is waited for and flushed before.
struct SessionDecisions {
  @Test func fullGroupsGoToTheTwoSessionsInTurn() throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...3)
    #expect(driver.takeLog() == ["first 1@0/1000", "second 2@0/2000", "first 3@0/3000"])
    #expect(driver.machine.progress.recorded == LSN(0x1000))
    #expect(driver.machine.progress.sent == LSN(0x3000))
    try driver.full(4...4)
    // The first origin is what others look at.
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["second 4@0/4000", "await", "origin 0/4000"])
    #expect(driver.target.transactions == [1, 2, 3, 4])
    #expect(driver.machine.lastSession == .first)
  }

  @Test func nothingIsGainedBesideAGroupWhoseRowsAllWait() throws {
    var driver = Driver.make(backlog: true)
    driver.hasFreeRows = false
    try driver.full(1...2)
    #expect(driver.takeLog() == ["first 1@0/1000", "first 2@0/2000"])
  }

  @Test func whereThereIsNoSecondSessionTheFirstDoesItAll() throws {
    var driver = Driver.make(backlog: true)
    driver.hasSecond = false
    try driver.full(1...3)
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["first 1@0/1000", "first 2@0/2000", "first 3@0/3000", "await"])
  }

  @Test func behindTheSecondSessionsGroupTheFirstWaitsWhereItCannotBeBeside() throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...2)
    try driver.full(3...3, marker: true)
    #expect(driver.takeLog() == ["first 1@0/1000", "second 2@0/2000", "await", "first 3@0/3000"])
  }

  /// What was sent by itself was sent in the first session, and nothing starts beside it.
  @Test func whatWasSentByItselfHoldsItsGroupInTheFirstSession() throws {
    var driver = Driver.make(backlog: true)
    try driver.begin(1, at: LSN(0x11))
    try driver.change(at: LSN(0x12))
    #expect(driver.machine.end(now: driver.now).leavesKeys)
    #expect(!driver.machine.end(now: driver.now).isFirst)
    try driver.send(by: LSN(0x13))
    let end = driver.machine.end(now: driver.now)
    #expect(end.isFirst && !end.leavesKeys && end.isBatching)
    #expect(driver.machine.place(end, hasNeighbour: true, hasFreeRows: true) == .first)
  }

  @Test func aGroupThatSendsByItselfIsTheFirstSessionsAndAlone() throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...1)
    try driver.full(2...2, fits: false)
    try driver.full(3...3)
    #expect(driver.takeLog() == ["first 1@0/1000", "await", "first 2@0/2000", "first 3@0/3000"])
  }

  @Test func aFlushIsTheFirstSessions() throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...1)
    driver.now = Deadline(nanoseconds: driver.now.nanoseconds + 1_000_000_000)
    try driver.full(2...3)
    // Put off for a second at most, and no flush comes earlier.
    #expect(driver.takeLog() == ["first 1@0/1000", "first 2@0/2000 flushed", "second 3@0/3000"])
    try driver.wish { $0.settle() }
    #expect(driver.durable.transactions == [1, 2])
    #expect(driver.machine.progress.durable == LSN(0x2000))
  }

  @Test func caughtUpAFlushIsForTheMomentsBetween() throws {
    var driver = Driver.make(backlog: false)
    driver.now = Deadline(nanoseconds: driver.now.nanoseconds + 5_000_000_000)
    try driver.transaction(1, 1, at: LSN(0x20))
    try driver.wish { $0.settle() }
    #expect(driver.takeLog() == ["commit 1@0/20"])
    #expect(driver.machine.progress.durable == LSN(0x10))
    try driver.wish { $0.makeDurable() }
    try driver.wish { $0.makeDurable() }
    #expect(driver.takeLog() == ["flush 0/20"])
    #expect(driver.machine.confirm() == LSN(0x20))
    #expect(driver.machine.confirm() == nil)
  }

  @Test func beforeARestTheFirstOriginIsMoved() throws {
    var driver = Driver.make(backlog: true)
    try driver.full(1...2)
    try driver.wish { $0.rest() }
    #expect(driver.takeLog() == ["first 1@0/1000", "second 2@0/2000"])
    try driver.wish { $0.settle() }
    try driver.wish { $0.rest() }
    #expect(driver.takeLog() == ["await", "origin 0/2000", "rest"])
  }

  /// A failed commit must not be followed by changes that the next one would declare complete.
  @Test func nothingIsSentBehindACommitBeforeItsAnswer() throws {
    var driver = Driver.make(backlog: true, limits: BatchLimits(changes: 100, bytes: 1 << 20, least: 10))
    try driver.transaction(1, 10, at: LSN(0x100))
    try driver.transaction(2, 1, at: LSN(0x200), fits: false)
    #expect(driver.takeLog() == ["first 1@0/100", "await"])
    driver.machine.hasBacklog = false
    try driver.wish { $0.settle() }
    try driver.transaction(3, 1, at: LSN(0x300))
    #expect(driver.takeLog() == ["first 2@0/200", "await"])
  }
}
