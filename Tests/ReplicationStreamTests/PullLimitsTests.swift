import Testing

@testable import ReplicationStream

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
    #expect(limits.next(after: 16 << 20, records: 1, left: 61 << 20) == 48 << 20)
    #expect(limits.next(after: 1 << 30, records: 1, left: 5 << 29) == 2 << 30)
  }

  /// The last pull is applied while the source has nothing to do.
  @Test func noPullTakesMoreThanAThirdOfTheBacklog() {
    let bounded = limits.bounded(by: 150 << 20)
    #expect(bounded.next(after: 48 << 20, records: 1, left: 100 << 20) == 50 << 20)
    #expect(bounded.next(after: 48 << 20, records: 1, left: 51 << 20) == 50 << 20)
    #expect(bounded.next(after: 48 << 20, records: 1, left: 50 << 20) == 50 << 20)
    #expect(PullLimits(first: 6 << 20).bounded(by: 3 << 20).largest == 6 << 20)
    #expect(limits.bounded(by: 1 << 40).largest == limits.largest)
  }
}
