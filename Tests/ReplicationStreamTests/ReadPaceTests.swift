import BlockingIO
import Testing

@testable import ReplicationStream

@Suite struct ReadPaceTests {
  /// Records of a size, evenly spread over some milliseconds from `start`.
  private func pause(
    after milliseconds: UInt64, records: Int, bytes: Int, _ pace: inout ReadPace, from start: UInt64 = 0
  ) -> UInt64 {
    for _ in 0..<records { pace.received(bytes: bytes) }
    return pace.pause(now: Deadline(nanoseconds: start + milliseconds * 1_000_000))
  }

  @Test func manySmallRecordsAreLeftToGather() {
    var pace = ReadPace(now: Deadline(nanoseconds: 0))
    #expect(pause(after: 10, records: 3_000, bytes: 80, &pace) == ReadPace.longest)
    // The same until the next window is over.
    #expect(pause(after: 11, records: 10, bytes: 80, &pace) == ReadPace.longest)
  }

  @Test func aTrickleIsNeverMadeToWait() {
    var pace = ReadPace(now: Deadline(nanoseconds: 0))
    // 200 transactions a second of six records.
    for turn in 1...20 as ClosedRange<UInt64> {
      #expect(pause(after: turn * 5, records: 6, bytes: 100, &pace) == 0)
    }
  }

  @Test func theFasterBytesComeTheShorterThePause() {
    var pace = ReadPace(now: Deadline(nanoseconds: 0))
    let some = pause(after: 10, records: 1_000, bytes: 2_000, &pace)
    #expect(some > 0 && some < ReadPace.longest)
    #expect(pause(after: 10, records: 1_000, bytes: 4_000, &pace, from: 10_000_000) == some / 2)
    // Buffers would be full before the shortest one is over.
    #expect(pause(after: 10, records: 1_000, bytes: 20_000, &pace, from: 20_000_000) == 0)
  }

  @Test func itEndsWithTheBurst() {
    var pace = ReadPace(now: Deadline(nanoseconds: 0))
    #expect(pause(after: 10, records: 3_000, bytes: 80, &pace) > 0)
    #expect(pause(after: 16, records: 2, bytes: 80, &pace) == 0)
  }
}

@Suite struct PullLimitsTests {
  private let limits = PullLimits(largest: 2 << 30, records: 128 << 20)

  @Test func pullsGrowUpToWhatTheyShouldBring() {
    #expect(limits.next(after: 16 << 20, records: 1 << 20) == 48 << 20)
    #expect(limits.next(after: 100 << 20, records: 64 << 20) == 200 << 20)
    // Never smaller again: each pull decodes anew.
    #expect(limits.next(after: 100 << 20, records: 256 << 20) == 100 << 20)
    #expect(limits.next(after: 1 << 30, records: 1) == 2 << 30)
  }

  @Test func aPullThatWouldLeaveLittleTakesAllThereIs() {
    #expect(limits.next(after: 16 << 20, records: 1, left: 60 << 20) == 60 << 20)
    #expect(limits.next(after: 16 << 20, records: 1, left: 20 << 20) == 20 << 20)
    #expect(limits.next(after: 16 << 20, records: 1, left: 100 << 20) == 48 << 20)
    #expect(limits.next(after: 1 << 30, records: 1, left: 5 << 29) == 2 << 30)
  }
}
