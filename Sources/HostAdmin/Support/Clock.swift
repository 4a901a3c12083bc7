import Glibc

/// The wall clock, for moments that must survive in the journal.
package func millisecondsSince1970() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
}

/// How long it has been since then.
package func wholeMilliseconds(since start: ContinuousClock.Instant) -> UInt64 {
  UInt64(max(0, start.duration(to: .now) / .milliseconds(1)))
}
