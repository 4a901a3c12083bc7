import ChangeApply
import ReplicationModel
import Testing

@testable import DatabaseSync

struct FlowMeterTests {
  private let millisecond: UInt64 = 1_000_000

  /// Many small pieces are a backlog too, though hardly anything waits at any moment.
  @Test func manySmallPiecesAreDense() {
    var flow = FlowMeter()
    for turn in 0..<100 { flow.record(bytes: 20 << 10, at: 1_000 * millisecond + UInt64(turn) * millisecond) }
    #expect(flow.isDense)
  }

  @Test func aTrickleIsNot() {
    var flow = FlowMeter()
    for turn in 0..<1000 {
      flow.record(bytes: 2 << 10, at: 1_000 * millisecond + UInt64(turn) * millisecond)
      #expect(!flow.isDense)
    }
  }

  /// What follows a burst is judged by itself.
  @Test func aBurstIsForgotten() {
    var flow = FlowMeter()
    flow.record(bytes: 10 << 20, at: 1_000 * millisecond)
    #expect(flow.isDense)
    flow.record(bytes: 100, at: 1_100 * millisecond)
    #expect(!flow.isDense)
    flow.record(bytes: 10 << 20, at: 1_105 * millisecond)
    flow.record(bytes: 100, at: 1_112 * millisecond)
    #expect(flow.isDense)
    flow.record(bytes: 100, at: 1_123 * millisecond)
    #expect(!flow.isDense)
  }

  @Test func aStreamFarBehindIsABacklogHoweverLittleOfItWaits() {
    let backlog = BacklogSense()
    func reached(_ lsn: LSN) -> Progress { Progress(start: lsn, sourceEnd: LSN(100 << 20)) }
    #expect(backlog.isThere(waiting: 100, at: reached(.invalid)))
    #expect(backlog.isThere(waiting: 100, at: reached(LSN(91 << 20))))
    #expect(!backlog.isThere(waiting: 100, at: reached(LSN(92 << 20))))
    #expect(!backlog.isThere(waiting: 100, at: reached(LSN(200 << 20))))
    #expect(backlog.isThere(waiting: 1 << 20, at: reached(LSN(200 << 20))))
  }

  @Test func aDenseStreamIsABacklogNearTheEndToo() {
    var backlog = BacklogSense()
    let progress = Progress(start: LSN(1 << 20))
    #expect(!backlog.isThere(waiting: 100, at: progress))
    backlog.flow.record(bytes: 1 << 20, at: 1_000_000_000)
    #expect(backlog.isThere(waiting: 100, at: progress))
  }
}
