package import FoundationEssentials

/// Figures as people read them: bytes, stretches of time, counts, rates and moments. Nil is "unknown" and becomes `–`,
/// never 0.
package enum HumanFormat {
  /// What stands for a value that nobody knows.
  package static let unknown = "–"

  /// Where bytes are read; the units are the same everywhere.
  package enum ByteForm: Sendable {
    /// Three digits, for columns and rates that are compared: `512 B`, `1.2 MB`, `118 GB`.
    case column
    /// One decimal, in a sentence that weighs one amount against another: `512 bytes`, `1.2 MB`, `118.3 GB`.
    case sentence
    /// One decimal, of what has been carried, which is never said to be more than it is: 1.49 GB are `1.4 GB`.
    case carried
  }

  /// Bytes in units of 1024, named as PostgreSQL names them.
  package static func bytes(_ bytes: UInt64?, _ form: ByteForm = .column) -> String {
    guard let bytes else { return unknown }
    if bytes < 1024 { return "\(bytes) \(form == .sentence ? "bytes" : "B")" }
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
    let index = (63 - bytes.leadingZeroBitCount) / 10 - 1
    let unit = UInt64(1) << UInt64(10 * (index + 1))
    // The rest is below 2^60, so that ten times it, and half a unit, still fit.
    let (whole, rest) = (bytes / unit, bytes % unit)
    let tenths = whole * 10 + (rest * 10 + (form == .carried ? 0 : unit / 2)) / unit
    let rounded = whole + (rest >= unit / 2 ? 1 : 0)
    // 1023.6 kB in three digits is 1.0 MB.
    let isNext = form == .column ? rounded == 1024 : tenths == 10_240
    if isNext { return "1.0 \(units[index + 1])" }
    let digits = form == .column && tenths >= 1000 ? "\(rounded)" : "\(tenths / 10).\(tenths % 10)"
    return "\(digits) \(units[index])"
  }

  /// How many bytes a second: `8.2 MB/s`; unknown where no time has passed.
  package static func rate(bytes: UInt64, over duration: Duration, _ form: ByteForm = .column) -> String {
    guard duration > .zero else { return unknown }
    let perSecond = Double(bytes) / (duration / .seconds(1))
    return "\(Self.bytes(UInt64(min(perSecond, 1e18)), form))/s"
  }

  /// A stretch of time by its two largest units: `0 s`, `250 ms`, `4.2 s`, `3 min 5 s`, `2 h 14 min`, `3 d 4 h`.
  package static func duration(seconds: Double?) -> String {
    guard let seconds, seconds.isFinite else { return unknown }
    return duration(milliseconds: UInt64(min(max(0, seconds * 1000), 1e15).rounded()))
  }

  package static func duration(milliseconds: UInt64?) -> String {
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

  /// The time that a piece of work took or will take, in one word, for lines that follow each other while it goes on:
  /// `0.4s`, `12.3s`, `3m05s`, `2h03m`.
  package static func elapsed(_ duration: Duration) -> String {
    let (seconds, attoseconds) = min(max(duration, .zero), .seconds(1_000_000_000_000)).components
    let tenths = seconds * 10 + (attoseconds + 50_000_000_000_000_000) / 100_000_000_000_000_000
    if tenths < 600 { return "\(tenths / 10).\(tenths % 10)s" }
    let whole = (tenths + 5) / 10
    let twoDigits = { (number: Int64) in number < 10 ? "0\(number)" : "\(number)" }
    if whole < 3600 { return "\(whole / 60)m\(twoDigits(whole % 60))s" }
    return "\(whole / 3600)h\(twoDigits(whole % 3600 / 60))m"
  }

  /// A count with a comma at the thousands: `1,234,567`.
  package static func count(_ count: UInt64?) -> String {
    guard let count else { return unknown }
    var text = ""
    for (index, digit) in String(count).reversed().enumerated() {
      if index > 0 && index % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  /// `1 database`, `2 databases`.
  package static func counted(_ number: some BinaryInteger, _ noun: String) -> String {
    "\(count(UInt64(clamping: number))) \(noun)\(number == 1 ? "" : "s")"
  }

  /// A rate: whole from 10 on, one decimal below.
  package static func rate(_ rate: Double?) -> String {
    guard let rate, rate.isFinite else { return unknown }
    let bounded = min(max(0, rate), 1e15)
    let tenths = UInt64((bounded * 10).rounded())
    if tenths >= 100 || tenths % 10 == 0 { return count(UInt64(bounded.rounded())) }
    return "\(tenths / 10).\(tenths % 10)"
  }

  /// A moment, in UTC, to the second: `2026-03-01T10:00:00Z`.
  package static func moment(_ date: Date) -> String { date.formatted(.iso8601) }
}
