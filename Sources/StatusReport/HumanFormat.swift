/// Numbers as people read them. Nil is "unknown" and becomes `–`, never 0.
public enum HumanFormat {
  /// What stands for a value that nobody knows.
  public static let unknown = "–"

  /// Bytes in units of 1024, named as PostgreSQL names them: `512 B`, `1.2 MB`, `118 GB`.
  public static func bytes(_ bytes: UInt64?) -> String {
    guard let bytes else { return unknown }
    if bytes < 1024 { return "\(bytes) B" }
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
    // In 1/1024 of the unit, small enough that nothing below overflows.
    var scaled = bytes
    var index = 0
    while scaled >= 1 << 20 && index < units.count - 1 {
      scaled >>= 10
      index += 1
    }
    // 1023.6 kB is 1.0 MB.
    if scaled >= (1 << 20) - 512 && index < units.count - 1 {
      scaled = 1024
      index += 1
    }
    let tenths = (scaled * 10 + 512) / 1024
    return (tenths < 1000 ? "\(tenths / 10).\(tenths % 10)" : "\((scaled + 512) / 1024)") + " " + units[index]
  }

  /// A stretch of time by its two largest units: `0 s`, `250 ms`, `4.2 s`, `3 min 5 s`, `2 h 14 min`, `3 d 4 h`.
  public static func duration(seconds: Double?) -> String {
    guard let seconds, seconds.isFinite else { return unknown }
    return duration(milliseconds: UInt64(min(max(0, seconds * 1000), 1e15).rounded()))
  }

  public static func duration(milliseconds: UInt64?) -> String {
    guard let milliseconds else { return unknown }
    if milliseconds == 0 { return "0 s" }
    if milliseconds < 1000 { return "\(milliseconds) ms" }
    if milliseconds < 59_950 {
      let tenths = (milliseconds + 50) / 100
      return "\(tenths / 10).\(tenths % 10) s"
    }
    let seconds = milliseconds / 1000 + (milliseconds % 1000 >= 500 ? 1 : 0)
    if seconds < 3600 { return "\(seconds / 60) min \(seconds % 60) s" }
    if seconds < 86_400 { return "\(seconds / 3600) h \(seconds / 60 % 60) min" }
    return "\(count(seconds / 86_400)) d \(seconds / 3600 % 24) h"
  }

  /// A count with a comma at the thousands: `1,234,567`.
  public static func count(_ count: UInt64?) -> String {
    guard let count else { return unknown }
    var text = ""
    for (index, digit) in String(count).reversed().enumerated() {
      if index > 0 && index % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  /// A rate: whole from 10 on, one decimal below.
  public static func rate(_ rate: Double?) -> String {
    guard let rate, rate.isFinite else { return unknown }
    let bounded = min(max(0, rate), 1e15)
    let tenths = UInt64((bounded * 10).rounded())
    if tenths >= 100 || tenths % 10 == 0 { return count(UInt64(bounded.rounded())) }
    return "\(tenths / 10).\(tenths % 10)"
  }

  /// `1 database`, `2 databases`.
  static func counted(_ number: UInt64, _ noun: String) -> String {
    "\(count(number)) \(noun)\(number == 1 ? "" : "s")"
  }
}
