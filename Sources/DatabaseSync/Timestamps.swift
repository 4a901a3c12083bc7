import Glibc

/// Seconds from a `timestamptz` in ISO style and UTC (`2026-11-23 05:01:12.345+00`) until now, never negative;
/// nil when the text is of another form.
func secondsSince(timestamp: String) -> Double? {
  let parts = timestamp.utf8.split { !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    .compactMap { Double(String(decoding: $0, as: UTF8.self)) }
  guard parts.count >= 6, timestamp.hasSuffix("+00") else { return nil }
  var time = tm()
  time.tm_year = Int32(parts[0]) - 1900
  time.tm_mon = Int32(parts[1]) - 1
  time.tm_mday = Int32(parts[2])
  time.tm_hour = Int32(parts[3])
  time.tm_min = Int32(parts[4])
  time.tm_sec = Int32(parts[5])
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return max(0, Double(now.tv_sec - timegm(&time)))
}

func millisecondsSince1970() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return UInt64(now.tv_sec) * 1000 + UInt64(now.tv_nsec) / 1_000_000
}
