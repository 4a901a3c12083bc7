import BlockingIO
import ReplicationModel

/// A thread of its own that carries out batches on the target while the next one is being filled.
///
/// One batch is under way, at most one more is being made: memory is bounded by two. Batches go in the order in which
/// they were submitted. After a failure nothing is carried out any more: every later call throws it.
///
/// `@unchecked Sendable`: `job`, `outcome`, `failure`, `isEnding` and `hasEnded` are touched with `condition` locked. `writer`,
/// and the connection inside it, is used by the lane's thread while there is a job and by the owner at other times;
/// the lock, which both take in between, orders the two.
final class BatchLane: @unchecked Sendable {
  private let condition = ConditionVariable()
  /// Carries out batches. The owner may use it too when nothing is under way.
  let writer: BatchWriter
  private let interrupt: WakeUp
  private var job: BatchJob?
  private var outcome: BatchOutcome?
  private var failure: ApplyFailure?
  private var isEnding = false
  private var hasEnded = true

  init(_ writer: BatchWriter, interrupt: WakeUp) {
    self.writer = writer
    self.interrupt = interrupt
  }

  /// Waits for the batch before, and starts this one. Returns what has come of a group that ended there, once.
  func submit(_ next: BatchJob) throws(ApplyFailure) -> BatchOutcome? {
    condition.lock()
    defer { condition.unlock() }
    let known = try awaitIdle()
    job = next
    if hasEnded {
      hasEnded = false
      startThread(name: "apply-sets") { self.run() }
    }
    condition.broadcast()
    return known
  }

  /// Waits until nothing is under way; then the owner may use the session again. Returns what has come of a group that ended there, once.
  func drain() throws(ApplyFailure) -> BatchOutcome? {
    condition.lock()
    defer { condition.unlock() }
    return try awaitIdle()
  }

  /// Whether nothing is under way: a batch that is submitted now is carried out at once.
  var isIdle: Bool {
    condition.lock()
    defer { condition.unlock() }
    return job == nil
  }

  private func awaitIdle() throws(ApplyFailure) -> BatchOutcome? {
    while job != nil { condition.wait() }
    if let failure { throw failure }
    defer { outcome = nil }
    return outcome
  }

  /// Breaks off what is under way and ends the thread. The session is of no use afterwards.
  func end() {
    condition.lock()
    defer { condition.unlock() }
    isEnding = true
    if job != nil { interrupt.signal() }
    condition.broadcast()
    while !hasEnded { condition.wait() }
  }

  private func run() {
    condition.lock()
    while true {
      while job == nil && !isEnding { condition.wait() }
      guard let current = job else { break }
      condition.unlock()
      let result: Result<BatchOutcome?, ApplyFailure>
      do throws(ApplyFailure) { result = .success(try writer.carryOut(current)) } catch { result = .failure(error) }
      condition.lock()
      switch result {
      case .success(let done): outcome = done ?? outcome
      case .failure(let error): failure = error
      }
      job = nil
      condition.broadcast()
    }
    hasEnded = true
    condition.broadcast()
    condition.unlock()
  }
}
