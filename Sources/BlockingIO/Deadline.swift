import Glibc

/// A moment on the monotonic clock by which something must have happened.
public struct Deadline: Sendable, Comparable {
  /// Nanoseconds on CLOCK_MONOTONIC.
  public let nanoseconds: UInt64

  public static func now() -> Deadline {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Deadline(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  public static func after(_ duration: Duration) -> Deadline {
    let (seconds, attoseconds) = duration.components
    let span = max(0, seconds) &* 1_000_000_000 &+ attoseconds / 1_000_000_000
    let (sum, overflow) = now().nanoseconds.addingReportingOverflow(UInt64(clamping: span))
    return Deadline(nanoseconds: overflow ? .max : sum)
  }

  public static let never = Deadline(nanoseconds: .max)

  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  public var hasPassed: Bool { Deadline.now() >= self }

  /// What is left, zero when it has passed.
  public var remaining: Duration {
    let now = Deadline.now().nanoseconds
    return nanoseconds > now ? .nanoseconds(Int64(clamping: nanoseconds - now)) : .zero
  }

  /// What `poll(2)` takes: whole milliseconds, rounded up so that a caller does not spin; -1 for `never`.
  public var pollTimeout: Int32 {
    if nanoseconds == .max { return -1 }
    let now = Deadline.now().nanoseconds
    guard nanoseconds > now else { return 0 }
    return Int32(clamping: (nanoseconds - now + 999_999) / 1_000_000)
  }

  var monotonicTime: timespec {
    let bounded = min(nanoseconds, UInt64(Int64.max))
    return timespec(tv_sec: Int(bounded / 1_000_000_000), tv_nsec: Int(bounded % 1_000_000_000))
  }

  public static func < (left: Deadline, right: Deadline) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}
