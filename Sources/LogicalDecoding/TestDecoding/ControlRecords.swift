/// The records that carry no rows: transactions, messages, and the block markers of `stream-changes`.
extension RecordCursor {
  @inline(never)
  mutating func controlRecord() throws(MalformedRecord) -> DecodedRecord {
    if skip("BEGIN") {
      let xid = isAt(" ") ? try spacedXID() : nil
      try expectEnd()
      return .begin(xid: xid)
    }
    if skip("COMMIT PREPARED ") {
      let (gid, xid, timestamp) = try prepared()
      return .commitPrepared(gid: gid, xid: xid, timestamp: timestamp)
    }
    if starts(with: "COMMIT P") {
      throw mismatch("COMMIT PREPARED ", "expected 'COMMIT PREPARED'")
    }
    if skip("COMMIT") {
      let xid = isAt(" ") && !starts(with: " (") ? try spacedXID() : nil
      let timestamp = try optionalTimestamp()
      try expectEnd()
      return .commit(xid: xid, timestamp: timestamp)
    }
    if skip("PREPARE TRANSACTION ") {
      let (gid, xid, timestamp) = try prepared()
      return .prepare(gid: gid, xid: xid, timestamp: timestamp)
    }
    if skip("ROLLBACK PREPARED ") {
      let (gid, xid, timestamp) = try prepared()
      return .rollbackPrepared(gid: gid, xid: xid, timestamp: timestamp)
    }
    if skip("message: transactional: ") { return try message() }
    return try streamControl()
  }

  /// ` 123`; absent where the record was written without `include-xids`.
  private mutating func spacedXID() throws(MalformedRecord) -> UInt32 {
    offset += 1
    return try xid()
  }

  /// ` (at 2024-01-01 00:00:00.123+00)`, as the span between `(at ` and `)`; it always ends the record.
  private mutating func optionalTimestamp() throws(MalformedRecord) -> Span? {
    guard isAt(" ") else { return nil }
    try expect(" (at ", "expected a timestamp")
    let start = offset
    while offset < count, !isAt(")") {
      guard byte(at: offset) >= 0x20, !isAt("("), !isAt("'"), !isAt("\"") else { throw fail("expected a timestamp") }
      offset += 1
    }
    guard offset > start else { throw fail("expected a timestamp") }
    let end = offset
    try expect(")", "expected ')' after the timestamp")
    return Span(start, end)
  }

  /// `'gid', txid 1 (at …)`.
  private mutating func prepared() throws(MalformedRecord) -> (gid: String, xid: UInt32?, timestamp: Span?) {
    let gid = try literal()
    let xid = isAt(",") ? try requiredXID() : nil
    let timestamp = try optionalTimestamp()
    try expectEnd()
    return (gid, xid, timestamp)
  }

  private mutating func requiredXID() throws(MalformedRecord) -> UInt32 {
    try expect(", txid ", "expected ', txid' after the transaction's identifier")
    return try xid()
  }

  /// What quote_literal() writes: `'it''s'`, and with a backslash inside `E'a\\b'`.
  private mutating func literal() throws(MalformedRecord) -> String {
    _ = starts(with: " E") && skip(" ")
    let escapes = isAt("E")
    if escapes { try expect("E'", "expected a quoted identifier of a prepared transaction") }
    if !escapes { try expect("'", "expected a quoted identifier of a prepared transaction") }
    var bytes: [UInt8] = []
    while offset < count {
      let next = byte(at: offset)
      if next == UInt8(ascii: "'") {
        offset += 1
        guard isAt("'") else { return String(decoding: bytes, as: UTF8.self) }
      } else if escapes, next == UInt8(ascii: "\\") {
        offset += 1
        guard isAt("\\") else { throw fail("expected a second backslash") }
      }
      bytes.append(next)
      offset += 1
    }
    throw fail("the identifier of a prepared transaction is not closed")
  }

  // MARK: Messages

  /// `1 prefix: P, sz: N content:…`.
  private mutating func message() throws(MalformedRecord) -> DecodedRecord {
    let transactional = try transactionalFlag()
    let prefix = offset
    let (end, content) = try messageContent(from: prefix)
    offset = count
    return .message(transactional: transactional, prefix: Span(prefix, end), content: Span(content, count))
  }

  private mutating func transactionalFlag() throws(MalformedRecord) -> Bool {
    guard offset < count else { throw fail("expected 0 or 1") }
    let flag = byte(at: offset)
    guard flag | 1 == UInt8(ascii: "1") else { throw fail("expected 0 or 1") }
    offset += 1
    try expect(" prefix: ", "expected ' prefix: '")
    return flag == UInt8(ascii: "1")
  }

  /// Finds the `, sz: N content:` whose N is the number of bytes that remain. Prefix and content may hold text that
  /// looks like it; where two fit, the first one counts, because a content that quotes another message is likelier
  /// than such a prefix.
  private func messageContent(from start: Int) throws(MalformedRecord) -> (prefixEnd: Int, content: Int) {
    var search = start
    var nearest: MalformedRecord?
    while let header = MessageHeader.find(in: UnsafeRawBufferPointer(start: base, count: count), from: search) {
      switch header {
      case .whole(let comma, let content, let size):
        if size == count - content { return (comma, content) }
        if nearest == nil {
          nearest =
            size > count - content
            ? fail("the message is shorter than its size says", at: count)
            : fail("the message is longer than its size says", at: content + size)
        }
        search = comma + 1
      case .broken(let comma, let mismatch):
        if nearest == nil, mismatch < count { nearest = fail("expected ', sz: N content:'", at: mismatch) }
        search = comma + 1
      case .cut:
        throw nearest ?? fail("expected ', sz: N content:'", at: count)
      }
    }
    throw nearest ?? fail("expected ', sz: N content:'", at: count)
  }

  // MARK: Streamed blocks

  private mutating func streamControl() throws(MalformedRecord) -> DecodedRecord {
    if skip("opening a streamed block for transaction") || skip("closing a streamed block for transaction")
      || skip("aborting streamed (sub)transaction") || skip("committing streamed transaction")
    {
      if starts(with: " T") {
        try expect(" TXN ", "expected a transaction")
        _ = try xid()
      }
      _ = try optionalTimestamp()
    } else if skip("preparing streamed transaction ") {
      _ = skip("TXN ")
      _ = try prepared()
    } else if skip("streaming message: transactional: ") {
      if try !transactionalFlag() {
        _ = try messageContent(from: offset)
      } else {
        try streamedMessageSize()
      }
      offset = count
    } else if skip("streaming change for ") || skip("streaming truncate for ") {
      if !skip("transaction") {
        try expect("TXN ", "expected a transaction")
        _ = try xid()
      }
    } else {
      throw mismatchOfAll(RecordOpening.all, "expected the start of a record")
    }
    try expectEnd()
    return .streamControl
  }

  /// A transactional message inside a streamed block ends in its size, without its content.
  private func streamedMessageSize() throws(MalformedRecord) {
    var end = count
    while end > offset, Self.isDigit(byte(at: end - 1)) { end -= 1 }
    let literal: StaticString = ", sz: "
    let start = end - literal.utf8CodeUnitCount
    var tail = self
    tail.offset = max(start, offset)
    guard end < count, start >= offset, tail.starts(with: literal) else {
      throw fail("expected ', sz: N' at the end", at: count)
    }
  }

  /// An error at the first byte that none of the literals has there.
  @inline(never)
  func mismatchOfAll(_ literals: [StaticString], _ reason: StaticString) -> MalformedRecord {
    var shared = 0
    for literal in literals { shared = max(shared, sharedPrefix(with: literal)) }
    return MalformedRecord(offset: offset + shared, reason: "\(reason)")
  }

  /// A name without a type behind it; in a cut record it may be the start of ` old-key:` or ` new-tuple:`.
  @inline(never)
  func notAColumn(_ name: Span) -> MalformedRecord {
    var start = self
    start.offset = name.start
    let shared = max(start.sharedPrefix(with: "old-key:"), start.sharedPrefix(with: "new-tuple:"))
    if start.offset + shared == count { return fail("expected '[' after the name of a column", at: count) }
    return fail("expected '[' after the name of a column")
  }
}

/// The texts that records start with.
enum RecordOpening {
  static let all: [StaticString] =
    endingOutsideQuotes + ["message: transactional: ", "streaming message: transactional: "]

  /// All but the messages, whose ends are found by a rule of their own.
  static let endingOutsideQuotes: [StaticString] = [
    "PREPARE TRANSACTION ", "ROLLBACK PREPARED ", "COMMIT PREPARED ", "table ", "BEGIN", "COMMIT",
    "opening a streamed block for transaction", "closing a streamed block for transaction",
    "aborting streamed (sub)transaction", "committing streamed transaction", "preparing streamed transaction ",
    "streaming change for ", "streaming truncate for ",
  ]
}
