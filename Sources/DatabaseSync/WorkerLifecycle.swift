import BlockingIO

/// Whether a worker should run, and whether it does. `@unchecked Sendable`: every property is touched with
/// `condition` locked only.
final class WorkerLifecycle: @unchecked Sendable {
  private let condition = ConditionVariable()
  private var stopRequested = false
  private var running = false
  private var isHurried = false
  private var interrupts: [WakeUp] = []

  var isStopRequested: Bool { condition.withLock { stopRequested } }

  func begin() { condition.withLock { running = true } }

  func end() {
    condition.withLock {
      running = false
      condition.broadcast()
    }
  }

  func requestStop() {
    condition.withLock {
      stopRequested = true
      condition.broadcast()
    }
  }

  /// The wake-ups that end a statement which blocks the apply thread, in whichever session.
  func attach(_ wakeUps: [WakeUp]) { condition.withLock { interrupts = wakeUps } }
  func detach() { condition.withLock { interrupts = [] } }

  /// Waits for the end of the thread. Halfway to the deadline a statement that blocks it (a lock on the target, say)
  /// is given up: the group is rolled back and will be streamed again.
  func waitForEnd(until deadline: Deadline) -> Bool {
    let half = Deadline.after(deadline.remaining / 2)
    return condition.withLock {
      while running {
        if condition.wait(until: half.hasPassed ? deadline : half) { continue }
        if deadline.hasPassed { return !running }
        for interrupt in interrupts { interrupt.signal() }
      }
      return true
    }
  }

  /// Waits, unless a stop is requested meanwhile or `hurry` is called, before or meanwhile.
  func pause(_ duration: Duration) {
    let deadline = Deadline.after(duration)
    condition.withLock {
      while !stopRequested && !isHurried && condition.wait(until: deadline) {}
      isHurried = false
    }
  }

  /// Ends the next pause, or the one under way.
  func hurry() {
    condition.withLock {
      isHurried = true
      condition.broadcast()
    }
  }
}

/// A thread's end, to wait for.
final class ThreadEnd: @unchecked Sendable {
  // `ended` is touched with `condition` locked only.
  private let condition = ConditionVariable()
  private var ended = false

  func signal() {
    condition.withLock {
      ended = true
      condition.broadcast()
    }
  }

  func wait() {
    condition.withLock { while !ended { condition.wait() } }
  }
}
