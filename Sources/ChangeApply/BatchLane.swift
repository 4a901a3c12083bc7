import BlockingIO
import OriginSession
import ReplicationModel

/// A thread of its own that carries out batches on the target while the next one is being filled.
///
/// One batch is under way, at most one more is being made: memory is bounded by two. Batches go in the order in which
/// they were submitted. After a failure nothing is carried out any more: every later call throws it.
///
/// `@unchecked Sendable`: `job`, `failure`, `isEnding` and `hasEnded` are touched with `condition` locked. `writer`,
/// and the connection inside it, is used by the lane's thread while there is a job and by the owner at other times;
/// the lock, which both take in between, orders the two.
final class BatchLane: @unchecked Sendable {
  private let condition = ConditionVariable()
  /// Carries out batches. The owner may use it too when nothing is under way.
  let writer: BatchWriter
  private let interrupt: WakeUp
  private var job: BatchJob?
  private var failure: ApplyFailure?
  private var isEnding = false
  private var hasEnded = true

  init(_ writer: BatchWriter, interrupt: WakeUp) {
    self.writer = writer
    self.interrupt = interrupt
  }

  /// Waits for the batch before, and starts this one.
  func submit(_ next: BatchJob) throws(ApplyFailure) {
    condition.lock()
    defer { condition.unlock() }
    try awaitIdle()
    job = next
    if hasEnded {
      hasEnded = false
      startThread(name: "apply-sets") { self.run() }
    }
    condition.broadcast()
  }

  /// Waits until nothing is under way; then the owner may use the session again.
  func drain() throws(ApplyFailure) {
    condition.lock()
    defer { condition.unlock() }
    try awaitIdle()
  }

  /// Whether nothing is under way: a batch that is submitted now is carried out at once.
  var isIdle: Bool {
    condition.lock()
    defer { condition.unlock() }
    return job == nil
  }

  private func awaitIdle() throws(ApplyFailure) {
    while job != nil { condition.wait() }
    if let failure { throw failure }
  }

  /// Breaks off what is under way. The session is of no use afterwards.
  func breakOff() {
    condition.lock()
    defer { condition.unlock() }
    isEnding = true
    if job != nil { interrupt.signal() }
    condition.broadcast()
  }

  /// Breaks off what is under way and ends the thread.
  func end() {
    breakOff()
    condition.lock()
    defer { condition.unlock() }
    while !hasEnded { condition.wait() }
  }

  private func run() {
    condition.lock()
    while true {
      while job == nil && !isEnding { condition.wait() }
      guard let current = job else { break }
      condition.unlock()
      var failed: ApplyFailure?
      do throws(ApplyFailure) { try writer.carryOut(current) } catch { failed = error }
      condition.lock()
      if let failed {
        failure = failed
        // What its transaction has locked is free then, for a lane that would wait for it without end.
        writer.abandon()
      }
      job = nil
      condition.broadcast()
    }
    hasEnded = true
    condition.broadcast()
    condition.unlock()
  }
}
