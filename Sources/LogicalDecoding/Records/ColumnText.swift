import Glibc

/// The name in an identifier's span: without its surrounding double quotes, inner ones undoubled.
///
/// `"Order"` gives Order, `"say ""a"""` gives say "a", `a` gives a. The span must come from this record. Bytes that
/// aren't UTF-8 become U+FFFD; where the database has another encoding, take `appendUnquotedIdentifier`.
public func unquotedIdentifier(_ span: Span, in record: UnsafeRawBufferPointer) -> String {
  let text = UnsafeRawBufferPointer(rebasing: record[span.start..<span.end])
  guard text.first == UInt8(ascii: "\"") else { return String(decoding: text, as: UTF8.self) }
  var bytes: [UInt8] = []
  appendUnquotedIdentifier(span, of: record, to: &bytes)
  return String(decoding: bytes, as: UTF8.self)
}

/// Appends the name in an identifier's span, as `unquotedIdentifier` gives it, in the record's own encoding.
public func appendUnquotedIdentifier(_ span: Span, of record: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
  let text = UnsafeRawBufferPointer(rebasing: record[span.start..<span.end])
  if text.count >= 2, text.first == UInt8(ascii: "\"") {
    appendUndoubled(
      UnsafeRawBufferPointer(rebasing: text[1..<(text.count - 1)]), quote: UInt8(ascii: "\""), to: &bytes)
  } else {
    bytes.append(contentsOf: text)
  }
}

/// Appends a column's value as PostgreSQL's output function wrote it: quotes undoubled, nothing else changed.
/// Null and unchanged TOAST append nothing. The column must come from this record.
public func appendValue(_ column: DecodedColumn, of record: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
  switch column.form {
  case .null, .unchangedToast:
    return
  case .verbatim:
    bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: record[column.value.start..<column.value.end]))
  case .doubledQuotes:
    let text = UnsafeRawBufferPointer(rebasing: record[column.value.start..<column.value.end])
    appendUndoubled(text, quote: UInt8(ascii: "'"), to: &bytes)
  }
}

/// Appends text in which every quote is doubled, each pair as one quote.
private func appendUndoubled(_ text: UnsafeRawBufferPointer, quote: UInt8, to bytes: inout [UInt8]) {
  var rest = text
  while let pair = rest.firstPair(of: quote) {
    bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest[..<(pair + 1)]))
    rest = UnsafeRawBufferPointer(rebasing: rest[min(pair + 2, rest.count)...])
  }
  bytes.append(contentsOf: rest)
}

extension UnsafeRawBufferPointer {
  /// Where the first doubled quote starts.
  @inline(__always)
  func firstPair(of quote: UInt8) -> Int? {
    guard let base = baseAddress, let hit = memchr(base, Int32(quote), count) else { return nil }
    return UnsafeRawPointer(hit) - base
  }
}
