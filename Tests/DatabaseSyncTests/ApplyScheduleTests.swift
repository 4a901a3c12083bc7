import BlockingIO
import Testing

@testable import DatabaseSync

struct ApplyScheduleTests {
  private let start = Deadline(nanoseconds: 1_000_000_000)
  private func after(_ seconds: Double) -> Deadline {
    Deadline(nanoseconds: start.nanoseconds + UInt64(seconds * 1_000_000_000))
  }

  @Test func positionsAreFlushedEverySecondAndRecordedEveryTen() {
    var schedule = ApplySchedule(now: start)
    #expect(schedule.due(isQueueEmpty: true, now: after(0.9)) == [])
    #expect(schedule.due(isQueueEmpty: false, now: after(1)) == .flush)
    // A second from when it was done, however long that took.
    schedule.did(.flush, now: after(1.5))
    #expect(schedule.due(isQueueEmpty: true, now: after(2.4)) == [])
    #expect(schedule.due(isQueueEmpty: true, now: after(2.5)) == .flush)
    #expect(schedule.due(isQueueEmpty: true, now: after(10)) == [.flush, .record])
    schedule.did([.flush, .record], now: after(10))
    #expect(schedule.due(isQueueEmpty: true, now: after(19.9)) == .flush)
  }

  @Test func onlyACaughtUpStreamGivesUpWhatABacklogNeeds() {
    var schedule = ApplySchedule(now: start)
    schedule.receivedKeepalive(isUrgent: false)
    #expect(schedule.due(isQueueEmpty: true, now: after(10)).contains(.rest))
    schedule.receivedRecord()
    #expect(!schedule.due(isQueueEmpty: true, now: after(10)).contains(.rest))
  }

  /// A source that shuts down waits for the answer.
  @Test func anUrgentKeepaliveIsAnsweredAsTheQueueIsEmpty() {
    var schedule = ApplySchedule(now: start)
    schedule.receivedKeepalive(isUrgent: true)
    schedule.receivedKeepalive(isUrgent: false)
    #expect(schedule.due(isQueueEmpty: false, now: start) == [])
    #expect(schedule.due(isQueueEmpty: true, now: start) == [.record, .flush])
    schedule.did([.record, .flush], now: start)
    #expect(schedule.due(isQueueEmpty: true, now: start) == [])
  }

  @Test func aGroupInBatchesWaitsForMoreOfTheBacklog() {
    var schedule = ApplySchedule(now: start)
    #expect(schedule.settles(isBatching: false))
    #expect(!schedule.settles(isBatching: true))
    schedule.receivedKeepalive(isUrgent: false)
    #expect(schedule.settles(isBatching: true))
    #expect(schedule.patience(isBatching: true, isMidTransaction: false) == .milliseconds(20))
    #expect(schedule.patience(isBatching: true, isMidTransaction: true) == .milliseconds(250))
    #expect(schedule.patience(isBatching: false, isMidTransaction: false) == .milliseconds(250))
  }
}
