import ReplicationModel
import Testing

@testable import DatabaseSync

struct SecondLookTests {
  @Test func oneMoreLookForEachPlaceAndNoMore() {
    var look = SecondLook()
    let due = [LSN(5), LSN(5), LSN(6), LSN(6), LSN(5)].map { look.isDue(after: $0) }
    #expect(due == [true, false, true, false, true])
  }

  /// Such a failure came again and again, without a pause.
  @Test func aFailureWithoutAPlaceIsLookedAtOnceMore() {
    var look = SecondLook()
    let due = [LSN?.none, nil, nil].map { look.isDue(after: $0) }
    #expect(due == [true, false, false])
  }
}
