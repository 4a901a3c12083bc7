import Glibc

/// A POSIX mutex with its condition variable, on the monotonic clock.
///
/// `@unchecked Sendable`: the two C objects live at stable addresses for the object's whole life, and POSIX makes
/// every operation on them safe from any thread.
public final class ConditionVariable: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  public init() {
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  public func lock() { pthread_mutex_lock(mutex) }
  public func unlock() { pthread_mutex_unlock(mutex) }
  public func signal() { pthread_cond_signal(condition) }
  public func broadcast() { pthread_cond_broadcast(condition) }

  /// Waits for a signal. The lock must be held; wake-ups without a cause happen, so wait in a loop.
  public func wait() { pthread_cond_wait(condition, mutex) }

  /// Waits for a signal until the deadline; false when it has passed.
  public func wait(until deadline: Deadline) -> Bool {
    var moment = deadline.monotonicTime
    return pthread_cond_timedwait(condition, mutex, &moment) == 0
  }

  public func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
    lock()
    defer { unlock() }
    return try body()
  }
}
