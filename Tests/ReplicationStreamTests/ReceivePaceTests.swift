import ReplicationModel
import Testing

@testable import ReplicationStream

@Suite struct ReceivePaceTests {
  private let millisecond: UInt64 = 1_000_000

  /// A reference, so that an expectation may ask it.
  private final class Pace {
    private var pace: ReceivePace
    init(_ pace: ReceivePace) { self.pace = pace }
    func record(bytes: Int, lsn: LSN) { pace.record(bytes: bytes, lsn: lsn) }
    func pauses(at now: UInt64) -> Bool { pace.pauses(at: now) }
  }

  private func pace(sourceEnd: LSN = .invalid) -> Pace { Pace(ReceivePace(sourceEnd: sourceEnd)) }

  @Test func aDenseStreamIsLeftAloneForAMoment() {
    let pace = pace()
    for number in 0..<100 { pace.record(bytes: 60, lsn: LSN(UInt64(1000 + number))) }
    #expect(pace.pauses(at: 10 * millisecond))
    // What came before the pause says nothing about now.
    pace.record(bytes: 60, lsn: LSN(2000))
    #expect(!pace.pauses(at: 12 * millisecond))
  }

  /// However often the socket is dry in between: whoever wakes up for each record slows the walsender down.
  @Test func recordsThatComeOneByOneAreDenseToo() {
    let pace = pace()
    var paused = 0
    for number in UInt64(0)..<100 {
      pace.record(bytes: 60, lsn: LSN(1000 + number))
      if pace.pauses(at: 10 * millisecond + number * 5_000) { paused += 1 }
    }
    #expect(paused > 0)
  }

  @Test func aTrickleIsTakenAtOnce() {
    let pace = pace(sourceEnd: LSN(1000))
    for transaction in UInt64(0)..<1000 {
      for record in UInt64(0)..<6 {
        pace.record(bytes: 90, lsn: LSN(1000 + transaction * 10 + record))
        #expect(!pace.pauses(at: (10 + transaction * 5) * millisecond + record * 10_000))
      }
    }
  }

  @Test func farBehindTheSourceNothingIsUrgent() {
    let sourceEnd = LSN(1 << 30)
    let pace = pace(sourceEnd: sourceEnd)
    pace.record(bytes: 60, lsn: LSN(1 << 20))
    #expect(pace.pauses(at: 10 * millisecond))
    pace.record(bytes: 60, lsn: LSN((1 << 30) - 1000))
    #expect(!pace.pauses(at: 20 * millisecond))
  }

  /// They are worth a wake-up each, and would fill the socket meanwhile.
  /// A record may name any place.
  @Test func theEndOfAllPositionsIsNotFarBeforeAnything() {
    #expect(!LSN(UInt64.max).isFarBefore(LSN(UInt64.max)))
    #expect(!LSN(UInt64.max - 1).isFarBefore(LSN(100 << 20)))
    #expect(LSN(1).isFarBefore(LSN(UInt64.max)))
  }

  @Test func largeRecordsAreTakenAtOnce() {
    let pace = pace(sourceEnd: LSN(1 << 30))
    pace.record(bytes: 8 << 10, lsn: LSN(1 << 20))
    pace.record(bytes: 60, lsn: LSN(1 << 20))
    #expect(!pace.pauses(at: 10 * millisecond))
  }

  @Test func aSocketWithoutRecordsIsWaitedFor() {
    let pace = pace(sourceEnd: LSN(1 << 30))
    #expect(!pace.pauses(at: 10 * millisecond))
    pace.record(bytes: 60, lsn: LSN(1 << 20))
    #expect(pace.pauses(at: 20 * millisecond))
    #expect(!pace.pauses(at: 30 * millisecond))
  }
}
