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

  /// A first pull may bring nothing, or next to it, where the WAL is that of other databases.
  @Test func onlyManyWideRecordsAreLeftToTheWalsender() {
    #expect(!limits.areWide(records: 0, bytes: 0))
    #expect(!limits.areWide(records: 3, bytes: 1 << 20))
    #expect(!limits.areWide(records: 1000, bytes: 1000 * 1023))
    #expect(limits.areWide(records: 1000, bytes: 1000 * 1024))
    #expect(!PullLimits(wide: .max).areWide(records: 1000, bytes: 1 << 40))
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
