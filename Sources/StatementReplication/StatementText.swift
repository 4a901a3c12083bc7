/// SQL text taken apart as PostgreSQL's scanner does it, as far as it matters to tell where a statement ends and which
/// words it is made of: quotes, escapes, dollar quotes, nested comments, whatever stands inside them left whole.
///
/// Works on bytes in any encoding that a server may have: in all of them a byte below 128 is an ASCII character.
/// <https://www.postgresql.org/docs/15/sql-syntax-lexical.html>
package struct StatementText: Sendable, Equatable {
  package enum Token: Sendable, Equatable {
    /// A key word or an unquoted identifier, in upper case (ASCII letters only).
    case word(String)
    /// `"…"` and `U&"…"`, without the quotes, as written.
    case quoted(String)
    /// A string or bit-string constant of any kind.
    case string
    case number
    /// `$1`.
    case parameter
    /// Any other single character.
    case symbol(UInt8)

    package static func symbol(_ character: Unicode.Scalar) -> Token { .symbol(UInt8(ascii: character)) }

    var word: String? {
      if case .word(let word) = self { return word }
      return nil
    }
  }

  package private(set) var tokens: [Token] = []
  /// Where each token begins, and where the last one ends.
  private(set) var starts: [Int] = []
  private(set) var end = 0

  private let bytes: [UInt8]
  private let standardStrings: Bool
  private var offset = 0

  /// Nil where the text ends inside a quote or a comment.
  ///
  /// - Parameter standardStrings: what `standard_conforming_strings` was: off, a backslash escapes in `'…'` too.
  package init?(_ bytes: [UInt8], standardStrings: Bool = true) {
    self.bytes = bytes
    self.standardStrings = standardStrings
    guard scan() else { return nil }
  }

  /// The text in one line, with `'…'` for every constant: what is shown to people may hold no secret.
  var shown: String {
    var text = ""
    for (index, token) in tokens.enumerated() {
      let next = index + 1 < starts.count ? starts[index + 1] : end
      text += token == .string ? "'…' " : String(decoding: bytes[starts[index]..<next], as: UTF8.self)
    }
    return text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
  }

  private func byte(_ distance: Int = 0) -> UInt8? {
    let place = offset + distance
    return place < bytes.count ? bytes[place] : nil
  }

  private func isAt(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Bool {
    byte() == UInt8(ascii: first) && byte(1) == UInt8(ascii: second)
  }

  private mutating func scan() -> Bool {
    while true {
      guard skipBlanks() else { return false }
      guard let next = byte() else { return true }
      let start = offset
      guard let token = token(next) else { return false }
      tokens.append(token)
      starts.append(start)
      end = offset
    }
  }

  private mutating func token(_ next: UInt8) -> Token? {
    switch next {
    case UInt8(ascii: "'"): return string(escapes: !standardStrings)
    case UInt8(ascii: "\""): return quotedIdentifier()
    case UInt8(ascii: "$"): return dollar()
    case _ where isDigit(next):
      while let more = byte(), isDigit(more) || more == UInt8(ascii: ".") { offset += 1 }
      return .number
    case _ where startsIdentifier(next): return word()
    default:
      offset += 1
      return .symbol(next)
    }
  }

  // MARK: blanks and comments

  /// False where a comment does not end.
  private mutating func skipBlanks() -> Bool {
    while let next = byte() {
      if isBlank(next) {
        offset += 1
      } else if isAt("-", "-") {
        skipLine()
      } else if isAt("/", "*") {
        guard skipComment() else { return false }
      } else {
        return true
      }
    }
    return true
  }

  private mutating func skipLine() {
    while let next = byte(), !isNewline(next) { offset += 1 }
  }

  private mutating func skipComment() -> Bool {
    var depth = 0
    while offset < bytes.count {
      if isAt("/", "*") {
        depth += 1
        offset += 2
      } else if isAt("*", "/") {
        depth -= 1
        offset += 2
        if depth == 0 { return true }
      } else {
        offset += 1
      }
    }
    return false
  }

  // MARK: words and quotes

  private mutating func word() -> Token? {
    let start = offset
    while let next = byte(), continuesIdentifier(next) { offset += 1 }
    let text = bytes[start..<offset]
    if byte() == UInt8(ascii: "'"), text.count == 1, let prefix = text.first {
      switch prefix | 0x20 {
      case UInt8(ascii: "e"): return string(escapes: true)
      case UInt8(ascii: "n"): return string(escapes: !standardStrings)
      case UInt8(ascii: "b"), UInt8(ascii: "x"): return string(escapes: false)
      default: break
      }
    }
    if text.count == 1, text.first.map({ $0 | 0x20 }) == UInt8(ascii: "u"), byte() == UInt8(ascii: "&") {
      if byte(1) == UInt8(ascii: "'") {
        offset += 1
        return string(escapes: false)
      }
      if byte(1) == UInt8(ascii: "\"") {
        offset += 1
        return quotedIdentifier()
      }
    }
    let upper = text.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) ? $0 - 32 : $0 }
    return .word(String(decoding: upper, as: UTF8.self))
  }

  private mutating func quotedIdentifier() -> Token? {
    offset += 1
    var name: [UInt8] = []
    while let next = byte() {
      offset += 1
      if next == UInt8(ascii: "\"") {
        guard byte() == UInt8(ascii: "\"") else { return .quoted(String(decoding: name, as: UTF8.self)) }
        offset += 1
      }
      name.append(next)
    }
    return nil
  }

  private mutating func string(escapes: Bool) -> Token? {
    offset += 1
    while let next = byte() {
      if next == UInt8(ascii: "\\") && escapes {
        offset += 2
      } else if next == UInt8(ascii: "'") {
        offset += 1
        if byte() == UInt8(ascii: "'") {
          offset += 1
        } else if !continuesString() {
          return .string
        }
      } else {
        offset += 1
      }
    }
    return nil
  }

  /// `'a'` and, behind a line's end, `'b'` are one constant, of the kind of the first. Moves behind the second quote.
  private mutating func continuesString() -> Bool {
    let before = offset
    var hasNewline = false
    while let next = byte() {
      if isBlank(next) {
        hasNewline = hasNewline || isNewline(next)
        offset += 1
      } else if isAt("-", "-") {
        skipLine()
      } else {
        break
      }
    }
    if hasNewline && byte() == UInt8(ascii: "'") {
      offset += 1
      return true
    }
    offset = before
    return false
  }

  private mutating func dollar() -> Token? {
    if let next = byte(1), isDigit(next) {
      offset += 1
      while let next = byte(), isDigit(next) { offset += 1 }
      return .parameter
    }
    var length = 1
    if let next = byte(1), startsIdentifier(next) {
      while let next = byte(length), continuesIdentifier(next), next != UInt8(ascii: "$") { length += 1 }
    }
    guard byte(length) == UInt8(ascii: "$") else {
      offset += 1
      return .symbol(UInt8(ascii: "$"))
    }
    let delimiter = bytes[offset...(offset + length)]
    offset += delimiter.count
    while offset + delimiter.count <= bytes.count {
      if bytes[offset..<(offset + delimiter.count)].elementsEqual(delimiter) {
        offset += delimiter.count
        return .string
      }
      offset += 1
    }
    return nil
  }

  // MARK: characters

  private func isNewline(_ byte: UInt8) -> Bool { byte == 10 || byte == 13 }
  private func isBlank(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
  private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  private func startsIdentifier(_ byte: UInt8) -> Bool {
    byte >= 128 || byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }
  private func continuesIdentifier(_ byte: UInt8) -> Bool {
    startsIdentifier(byte) || isDigit(byte) || byte == UInt8(ascii: "$")
  }
}
