import BlockingIO
import ReplicationModel
import Testing

@testable import ReplicationStream

struct FeedbackPolicyTests {
  private static let start = LSN(1000)

  private func at(_ milliseconds: UInt64) -> Deadline {
    Deadline(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000)
  }
  private func policy() -> FeedbackPolicy { FeedbackPolicy(start: Self.start, durable: Self.start, now: at(0)) }
  private func update(_ received: UInt64, _ flushed: UInt64) -> StandbyStatusUpdate {
    StandbyStatusUpdate(received: LSN(received), flushed: LSN(flushed), clock: 5)
  }

  @Test func nothingIsDueBeforeTheInterval() {
    var policy = policy()
    policy.receive(.data(start: LSN(2000), walEnd: LSN(9000)))
    #expect(policy.update(now: at(4999), clock: 5) == nil)
    #expect(policy.update(now: at(5000), clock: 5) == update(2000, 1000))
    #expect(policy.update(now: at(9999), clock: 5) == nil)
    #expect(policy.update(now: at(10000), clock: 5) == update(2000, 1000))
  }

  @Test func whatWasReceivedIsNeverFlushed() {
    var policy = policy()
    policy.receive(.data(start: LSN(2000), walEnd: LSN(9000)))
    policy.receive(.keepalive(walEnd: LSN(8000), replyRequested: true))
    #expect(policy.update(now: at(0), clock: 5) == update(8000, 1000))
    #expect(policy.forcedUpdate(now: at(1), clock: 5) == update(8000, 1000))
  }

  @Test func aReplyIsDueAtOnceAndOnce() {
    var policy = policy()
    policy.receive(.keepalive(walEnd: LSN(900), replyRequested: true))
    #expect(policy.nextUpdate == Deadline(nanoseconds: 0))
    #expect(policy.update(now: at(1), clock: 5) == update(1000, 1000))
    #expect(policy.update(now: at(2), clock: 5) == nil)
    policy.receive(.keepalive(walEnd: LSN(900), replyRequested: false))
    #expect(policy.update(now: at(3), clock: 5) == nil)
  }

  @Test func aDurablePositionWaitsForItsPatience() {
    var policy = policy()
    policy.becameDurable(LSN(1500))
    #expect(policy.nextUpdate == at(500))
    #expect(policy.update(now: at(499), clock: 5) == nil)
    #expect(policy.update(now: at(500), clock: 5) == update(1500, 1500))
    #expect(policy.nextUpdate == at(5500))
  }

  @Test func positionsNeverGoBack() {
    var policy = policy()
    policy.becameDurable(LSN(1500))
    policy.becameDurable(LSN(1200))
    policy.receive(.data(start: LSN(3000), walEnd: LSN(3000)))
    policy.receive(.data(start: LSN(2000), walEnd: LSN(3000)))
    #expect(policy.durable == LSN(1500))
    #expect(policy.received == LSN(3000))
    #expect(policy.forcedUpdate(now: at(1), clock: 5) == update(3000, 1500))
    policy.becameDurable(.invalid)
    #expect(policy.forcedUpdate(now: at(2), clock: 5) == update(3000, 1500))
  }
}
