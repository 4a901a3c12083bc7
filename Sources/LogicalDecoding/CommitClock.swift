import Glibc

/// The commit time that came last, kept as the stream says it and made text when somebody asks.
package struct CommitClock {
  private var printed: [UInt8] = []
  private var microseconds: Int64?

  package init() {}

  package mutating func note(_ time: CommitTime, of record: UnsafeRawBufferPointer) {
    switch time {
    case .text(let span):
      printed.removeAll(keepingCapacity: true)
      printed.append(contentsOf: record[span.start..<span.end])
      microseconds = nil
    case .microseconds(let count): microseconds = count
    }
  }

  /// `2026-01-02 03:04:05.000006+00`
  package var text: String? {
    guard let microseconds else { return printed.isEmpty ? nil : String(decoding: printed, as: UTF8.self) }
    let secondsSince2000 = microseconds.quotientFloored(by: 1_000_000)
    var seconds = time_t(secondsSince2000 + 946_684_800)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ number: some BinaryInteger, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let date = "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-\(padded(parts.tm_mday, 2))"
    let time = "\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):\(padded(parts.tm_sec, 2))"
    return "\(date) \(time).\(padded(microseconds - secondsSince2000 * 1_000_000, 6))+00"
  }
}

extension Int64 {
  fileprivate func quotientFloored(by divisor: Int64) -> Int64 {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}
