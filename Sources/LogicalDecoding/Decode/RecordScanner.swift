import Glibc

/// Looks for the end of one record in a text of records, over as many calls as it takes.
///
/// A record ends at the first line feed outside quotes. Messages have no quotes, their content is counted: such a
/// record ends at the line feed that stands exactly N bytes behind a `, sz: N content:`. Where the text shows early
/// that it is no record at all, the scan stops there and does not swallow what follows. Outcomes depend on the bytes
/// alone, never on how they were handed over.
struct RecordScanner {
  enum Outcome: Equatable {
    case needsMore
    /// The record is the bytes before this offset; a line feed follows, or the end of the input.
    case end(Int)
    case malformed(offset: Int, reason: String)
    /// The input ended inside the record.
    case truncated(reason: String)
  }

  private enum Rule {
    case opening
    case outside
    case singleQuotes
    case doubleQuotes
    case message
    /// A transactional message in a streamed block: a size, no content.
    case streamedMessage
  }

  private var rule = Rule.opening
  /// All before it has been looked at.
  private var offset = 0
  /// The `, sz: N content:` whose content's end is not there yet.
  private var candidate: (comma: Int, end: Int)?
  /// Why the first `, sz: ` of a message did not fit.
  private var problem: Outcome?

  /// Goes on with the record that starts at `bytes[0]`; each call gets at least the bytes of the call before.
  mutating func scan(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> Outcome {
    if rule == .opening, let outcome = open(bytes, isFinal: isFinal) { return outcome }
    switch rule {
    case .message: return scanMessage(bytes, isFinal: isFinal)
    case .streamedMessage: return scanStreamedMessage(bytes, isFinal: isFinal)
    default: return scanQuotes(bytes, isFinal: isFinal)
    }
  }

  // MARK: The start

  private static let messages: [(literal: StaticString, rule: Rule)] = [
    ("message: transactional: 0 prefix: ", .message), ("message: transactional: 1 prefix: ", .message),
    ("streaming message: transactional: 0 prefix: ", .message),
    ("streaming message: transactional: 1 prefix: ", .streamedMessage),
  ]

  /// Finds the rule; an outcome when there is none or not yet.
  private mutating func open(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> Outcome? {
    guard let base = bytes.baseAddress, let first = bytes.first else { return .needsMore }
    let cursor = RecordCursor(base: base, count: bytes.count)
    if cursor.starts(with: "table ") || cursor.starts(with: "BEGIN") || cursor.starts(with: "COMMIT") {
      rule = .outside
      return nil
    }
    if first == UInt8(ascii: "\n") { return .malformed(offset: 0, reason: "an empty line between records") }
    var shared = 0
    for (literal, found) in Self.messages {
      let length = cursor.sharedPrefix(with: literal)
      shared = max(shared, length)
      if length == literal.utf8CodeUnitCount {
        rule = found
        offset = length
        return nil
      }
    }
    for literal in RecordOpening.endingOutsideQuotes {
      let length = cursor.sharedPrefix(with: literal)
      shared = max(shared, length)
      if length == literal.utf8CodeUnitCount {
        rule = .outside
        offset = length
        return nil
      }
    }
    if shared < bytes.count { return .malformed(offset: shared, reason: "expected the start of a record") }
    return isFinal ? .truncated(reason: "the input ends inside a record") : .needsMore
  }

  // MARK: Quotes

  private mutating func scanQuotes(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> Outcome {
    guard let base = bytes.baseAddress else { return .needsMore }
    let count = bytes.count
    while offset < count {
      if rule == .outside {
        if let outcome = scanOutside(base, count) { return outcome }
      } else {
        let quote = rule == .singleQuotes ? UInt8(ascii: "'") : UInt8(ascii: "\"")
        guard let hit = memchr(base + offset, Int32(quote), count - offset) else {
          offset = count
          break
        }
        offset = UnsafeRawPointer(hit) - base + 1
        rule = .outside
      }
    }
    guard isFinal else { return .needsMore }
    switch rule {
    case .singleQuotes: return .truncated(reason: "the input ends inside a quoted value")
    case .doubleQuotes: return .truncated(reason: "the input ends inside a double-quoted name")
    default: return .end(count)
    }
  }

  /// Up to the next quote, the line feed, or the end. A doubled quote closes and opens again.
  private mutating func scanOutside(_ base: UnsafeRawPointer, _ count: Int) -> Outcome? {
    var position = offset
    var previous = position > 0 ? base.load(fromByteOffset: position - 1, as: UInt8.self) : 0
    while position < count {
      let next = base.load(fromByteOffset: position, as: UInt8.self)
      switch next {
      case UInt8(ascii: "\n"):
        offset = position
        return .end(position)
      case UInt8(ascii: "'"):
        guard Self.mayPrecedeSingleQuote(previous) else {
          return .malformed(offset: position, reason: "a quote cannot stand here")
        }
        rule = .singleQuotes
        offset = position + 1
        return nil
      case UInt8(ascii: "\""):
        guard Self.mayPrecedeDoubleQuote(previous) else {
          return .malformed(offset: position, reason: "a double quote cannot stand here")
        }
        rule = .doubleQuotes
        offset = position + 1
        return nil
      default:
        // The byte before is a quote only where a value has just been closed.
        if previous == UInt8(ascii: "'"), next != UInt8(ascii: " "), next != UInt8(ascii: ",") {
          return .malformed(offset: position, reason: Self.afterQuote(next))
        }
      }
      previous = next
      position += 1
    }
    offset = position
    return nil
  }

  private static func afterQuote(_ byte: UInt8) -> String {
    byte == UInt8(ascii: "\r")
      ? "a carriage return at the end of the record; lines end in a line feed alone"
      : "expected a space or the end of the record after a quoted value"
  }

  @inline(__always)
  private static func mayPrecedeSingleQuote(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: ":"), UInt8(ascii: "B"), UInt8(ascii: " "), UInt8(ascii: "E"), UInt8(ascii: "'"): true
    default: false
    }
  }

  @inline(__always)
  private static func mayPrecedeDoubleQuote(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: " "), UInt8(ascii: "."), UInt8(ascii: "["), UInt8(ascii: "\""): true
    default: false
    }
  }

  // MARK: Messages

  /// The first `, sz: N content:` with a line feed, or the end, N bytes behind it. A prefix may hold text that looks
  /// like one; but once one did not fit, a line that starts a record ends the search: the size is wrong then, and the
  /// records below must not vanish into the prefix of a later message.
  private mutating func scanMessage(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> Outcome {
    while true {
      if let (comma, end) = candidate {
        if end < bytes.count, bytes[end] == UInt8(ascii: "\n") { return .end(end) }
        if end == bytes.count, isFinal { return .end(end) }
        if end >= bytes.count, !isFinal { return .needsMore }
        candidate = nil
        offset = comma + 1
        if problem == nil {
          problem =
            end < bytes.count
            ? .malformed(offset: end, reason: "the message is longer than its size says")
            : .truncated(reason: "the input ends inside a message")
        }
      }
      let header = MessageHeader.find(in: bytes, from: offset)
      let comma: Int
      switch header {
      case .whole(let position, _, _), .broken(let position, _), .cut(let position): comma = position
      case nil: comma = bytes.count
      }
      if let problem, startsRecord(bytes, from: offset, to: comma) { return problem }
      switch header {
      case .whole(_, let content, let size):
        candidate = (comma, content + size)
      case .broken(_, let mismatch):
        problem = problem ?? .malformed(offset: mismatch, reason: "expected ', sz: N content:'")
        offset = comma + 1
      case .cut, nil:
        if isFinal { return problem ?? .truncated(reason: "the input ends inside a message") }
        // Before a problem is known, nothing before the comma matters. Afterwards a line feed may still turn out to
        // start a record.
        if problem == nil { offset = comma } else { offset = lastLineFeed(bytes, from: offset, to: comma) ?? comma }
        return .needsMore
      }
    }
  }

  /// Whether a line between the two offsets starts like a record.
  private func startsRecord(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) -> Bool {
    guard let base = bytes.baseAddress else { return false }
    var cursor = RecordCursor(base: base, count: end)
    cursor.offset = start
    while let lineFeed = cursor.find(UInt8(ascii: "\n"), from: cursor.offset) {
      cursor.offset = lineFeed + 1
      if RecordOpening.all.contains(where: { cursor.starts(with: $0) }) { return true }
    }
    return false
  }

  /// The last line feed between the two offsets: what follows may be a record whose start is not complete yet.
  private func lastLineFeed(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) -> Int? {
    bytes[start..<end].lastIndex(of: UInt8(ascii: "\n"))
  }

  /// Ends at the first line feed, or the end of the input, that has `, sz: N` in front of it.
  private mutating func scanStreamedMessage(_ bytes: UnsafeRawBufferPointer, isFinal: Bool) -> Outcome {
    while let base = bytes.baseAddress, offset < bytes.count,
      let hit = memchr(base + offset, 10, bytes.count - offset)
    {
      let lineFeed = UnsafeRawPointer(hit) - base
      if endsInSize(bytes, lineFeed) { return .end(lineFeed) }
      offset = lineFeed + 1
    }
    offset = bytes.count
    guard isFinal else { return .needsMore }
    return endsInSize(bytes, bytes.count) ? .end(bytes.count) : .truncated(reason: "the input ends inside a message")
  }

  private func endsInSize(_ bytes: UnsafeRawBufferPointer, _ end: Int) -> Bool {
    var digits = end
    while digits > 0, RecordCursor.isDigit(bytes[digits - 1]) { digits -= 1 }
    guard digits < end, digits >= 6, let base = bytes.baseAddress else { return false }
    return memcmp(base + digits - 6, ", sz: ", 6) == 0
  }
}
