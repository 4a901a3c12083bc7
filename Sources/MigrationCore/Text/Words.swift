/// The first five, and how many more.
package func few(_ items: [String], separator: String = ", ") -> String {
  guard items.count > 5 else { return items.joined(separator: separator) }
  return items.prefix(5).joined(separator: separator) + "\(separator)and \(items.count - 5) more"
}

/// `12.3 GB`, powers of 1024.
package func readableBytes(_ bytes: UInt64) -> String {
  var value = Double(bytes)
  for unit in ["bytes", "kB", "MB", "GB"] {
    if value < 1024 {
      return unit == "bytes" ? "\(bytes) bytes" : "\((value * 10).rounded() / 10) \(unit)"
    }
    value /= 1024
  }
  return "\((value * 10).rounded() / 10) TB"
}

/// Without blanks at both ends.
package func trimmed(_ text: some StringProtocol) -> String {
  let start = text.drop { $0.isWhitespace }
  return String(start.reversed().drop { $0.isWhitespace }.reversed())
}
