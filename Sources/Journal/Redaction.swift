/// Takes passwords out of text that is about to be kept: `password=…` (libpq's key words), `PASSWORD '…'` (SQL's) and
/// `scheme://user:…@host`.
///
/// A net below the rule that no secret gets here in the first place, not a replacement for it.
func redacted(_ text: String) -> String {
  redactedKeywords(redactedURIs(Array(text.utf8)[...]))
}

private let stars = Array("***".utf8)

private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

/// `postgres://u:secret@h/d` becomes `postgres://u:***@h/d`.
private func redactedURIs(_ input: ArraySlice<UInt8>) -> [UInt8] {
  let separator = Array("://".utf8)
  var result: [UInt8] = []
  var rest = input
  while let start = rest.firstRange(of: separator)?.upperBound {
    result += rest[rest.startIndex..<start]
    let end = rest[start...].firstIndex { isSpace($0) || $0 == UInt8(ascii: "/") } ?? rest.endIndex
    let authority = rest[start..<end]
    if let at = authority.lastIndex(of: UInt8(ascii: "@")),
      let colon = authority[..<at].firstIndex(of: UInt8(ascii: ":"))
    {
      result += authority[...colon] + stars + authority[at...]
    } else {
      result += authority
    }
    rest = rest[end...]
  }
  return result + rest
}

/// `password=secret`, `PASSWORD = 'a b'`, `sslpassword=x` and `PASSWORD E'a\'b'` lose their values.
private func redactedKeywords(_ input: [UInt8]) -> String {
  let keyword = Array("password".utf8)
  var result: [UInt8] = []
  var index = 0
  while index < input.count {
    let end = index + keyword.count
    let matches = end <= input.count && zip(input[index..<end], keyword).allSatisfy { $0 | 0x20 == $1 }
    guard matches else {
      result.append(input[index])
      index += 1
      continue
    }
    var next = end
    while next < input.count, isSpace(input[next]) { next += 1 }
    if next < input.count, input[next] == UInt8(ascii: "=") {
      next += 1
      while next < input.count, isSpace(input[next]) { next += 1 }
    } else if let literal = startOfLiteral(input[next...]) {
      next = literal
    } else {
      result += input[index..<end]
      index = end
      continue
    }
    result += input[index..<next] + stars
    if next < input.count, input[next] == UInt8(ascii: "'") || input[next] == UInt8(ascii: "\"") {
      let quote = input[next]
      next += 1
      // A quote within is doubled (SQL), or has a backslash before it (libpq, E'').
      while next < input.count {
        if input[next] == UInt8(ascii: "\\") {
          next += 2
        } else if input[next] != quote {
          next += 1
        } else if next + 1 < input.count, input[next + 1] == quote {
          next += 2
        } else {
          break
        }
      }
      next += 1
    } else {
      while next < input.count, !isSpace(input[next]), input[next] != UInt8(ascii: "&") { next += 1 }
    }
    index = min(next, input.count)
  }
  return String(decoding: result, as: UTF8.self)
}

/// Where the quote of an SQL string literal stands that begins here: `'…'` or `E'…'`.
private func startOfLiteral(_ input: ArraySlice<UInt8>) -> Int? {
  guard let first = input.first else { return nil }
  let start = first | 0x20 == UInt8(ascii: "e") ? input.startIndex + 1 : input.startIndex
  return start < input.endIndex && input[start] == UInt8(ascii: "'") ? start : nil
}
