import LogicalDecoding
import ReplicationModel
import Testing

/// pgoutput's messages as the server writes them, byte by byte.
@Suite struct PgoutputParserTests {
  /// `public.t (id integer, "say ""a""" text, note text)`, id the key.
  private static let relation: [UInt8] =
    bytes("R") + word(16385) + bytes("public\0t\0d") + [0, 3]
    + [1] + bytes("id\0") + word(23) + word(.max)
    + [0] + bytes("say \"a\"\0") + word(25) + word(.max)
    + [0] + bytes("note\0") + word(25) + word(.max)

  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
  private static func word(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
  private static func long(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
  private static func value(_ text: String) -> [UInt8] { bytes("t") + word(UInt32(text.utf8.count)) + bytes(text) }

  /// A column as test_decoding would have shown it.
  private struct Column: Equatable {
    var name: String
    var value: String?
    var isUnchanged = false
  }

  private func columns(
    _ list: [DecodedColumn]?, _ parser: PgoutputParser, _ record: UnsafeRawBufferPointer
  ) -> [Column]? {
    list?.map { column in
      var value: [UInt8] = []
      appendValue(column, of: record, to: &value)
      return Column(
        name: unquotedIdentifier(column.name, in: parser.tupleNames(of: record).bytes),
        value: column.form == .verbatim ? String(decoding: value, as: UTF8.self) : nil,
        isUnchanged: column.form == .unchangedToast)
    }
  }

  private func read(
    _ message: [UInt8], with parser: inout PgoutputParser
  ) throws -> (record: DecodedRecord, new: [Column]?, old: [Column]?) {
    try message.withUnsafeBytes { buffer in
      let record = try parser.parse(buffer)
      return (record, columns(parser.newColumns, parser, buffer), columns(parser.oldColumns, parser, buffer))
    }
  }

  private func described() throws -> PgoutputParser {
    var parser = PgoutputParser()
    #expect(try read(Self.relation, with: &parser).record == .relation)
    return parser
  }

  @Test func anInsertNamesItsColumnsByTheDescription() throws {
    var parser = try described()
    let message =
      Self.bytes("I") + Self.word(16385) + Self.bytes("N") + [0, 3] + Self.value("7") + Self.value("it's 'x'")
      + Self.bytes("n")
    let (record, new, old) = try read(message, with: &parser)
    #expect(record == .insert(0))
    #expect(
      new == [
        Column(name: "id", value: "7"), Column(name: "say \"a\"", value: "it's 'x'"), Column(name: "note", value: nil),
      ])
    #expect(old == nil)
    #expect(parser.relationName(0) == RelationName(schema: "public", name: "t"))
  }

  @Test func anUpdateKeepsUnchangedToastAndLeavesNullsOutOfTheOldKey() throws {
    var parser = try described()
    let new = [UInt8](arrayLiteral: 0, 3) + Self.value("8") + Self.value("b") + Self.bytes("u")
    let key = [UInt8](arrayLiteral: 0, 3) + Self.value("7") + Self.bytes("nn")
    let plain = try read(Self.bytes("U") + Self.word(16385) + Self.bytes("N") + new, with: &parser)
    #expect(plain.record == .update(0, hasOldKey: false))
    #expect(plain.new?.last == Column(name: "note", value: nil, isUnchanged: true))
    #expect(plain.old == nil)
    let moved = try read(
      Self.bytes("U") + Self.word(16385) + Self.bytes("K") + key + Self.bytes("N") + new, with: &parser)
    #expect(moved.record == .update(0, hasOldKey: true))
    #expect(moved.old == [Column(name: "id", value: "7")])
    let gone = try read(Self.bytes("D") + Self.word(16385) + Self.bytes("K") + key, with: &parser)
    #expect(gone.record == .delete(0))
    #expect(gone.old == [Column(name: "id", value: "7")])
  }

  @Test func aDescriptionReplacesTheOneBefore() throws {
    var parser = try described()
    let version = Self.bytes("x").withUnsafeBytes { parser.tupleNames(of: $0).version }
    let renamed =
      Self.bytes("R") + Self.word(16385) + Self.bytes("\0other\0f") + [0, 1, 0] + Self.bytes("a\0") + Self.word(25)
      + Self.word(.max)
    #expect(try read(renamed, with: &parser).record == .relation)
    let (record, new, _) = try read(
      Self.bytes("I") + Self.word(16385) + Self.bytes("N") + [0, 1] + Self.value("x"), with: &parser)
    #expect(record == .insert(1))
    // The plugin leaves the name of this schema out.
    #expect(parser.relationName(1) == RelationName(schema: "pg_catalog", name: "other"))
    #expect(new == [Column(name: "a", value: "x")])
    #expect(Self.bytes("x").withUnsafeBytes { parser.tupleNames(of: $0).version } != version)
  }

  @Test func transactionsTruncatesAndMessages() throws {
    var parser = try described()
    let begin = Self.bytes("B") + Self.long(0x1000) + Self.long(5) + Self.word(731)
    #expect(try read(begin, with: &parser).record == .begin(xid: 731))
    let commit = Self.bytes("C") + [0] + Self.long(0x1000) + Self.long(0x1010) + Self.long(800_000_000_000_001)
    #expect(try read(commit, with: &parser).record == .commit(xid: nil, timestamp: Span(18, 26)))
    commit.withUnsafeBytes {
      #expect(parser.commitTime(Span(18, 26), of: $0) == .microseconds(800_000_000_000_001))
    }
    let truncate = Self.bytes("T") + Self.word(1) + [3] + Self.word(16385)
    #expect(try read(truncate, with: &parser).record == .truncate([0], restartIdentity: true, cascade: true))
    let message = Self.bytes("M") + [1] + Self.long(0x1000) + Self.bytes("p\0") + Self.word(2) + Self.bytes("ab")
    #expect(
      try read(message, with: &parser).record
        == .message(transactional: true, prefix: Span(10, 11), content: Span(16, 18)))
  }

  /// Any message cut anywhere is refused, and so is one with a byte too many.
  @Test func everyCutIsRefused() throws {
    let messages = [
      Self.relation,
      Self.bytes("I") + Self.word(16385) + Self.bytes("N") + [0, 3] + Self.value("7") + Self.bytes("nu"),
      Self.bytes("U") + Self.word(16385) + Self.bytes("K") + [0, 3] + Self.value("7") + Self.bytes("nnN") + [0, 3]
        + Self.bytes("nnn"),
      Self.bytes("B") + Self.long(1) + Self.long(2) + Self.word(3),
      Self.bytes("T") + Self.word(1) + [0] + Self.word(16385),
      Self.bytes("M") + [0] + Self.long(1) + Self.bytes("p\0") + Self.word(2) + Self.bytes("ab"),
    ]
    for message in messages {
      var parser = try described()
      _ = try read(message, with: &parser)
      for length in 0..<message.count {
        #expect(throws: MalformedRecord.self) { try read(Array(message.prefix(length)), with: &parser) }
      }
      #expect(throws: MalformedRecord.self) { try read(message + [0], with: &parser) }
    }
  }

  @Test func whatWasNotDescribedOrNotAskedForIsRefused() throws {
    var parser = try described()
    for message in [
      Self.bytes("I") + Self.word(16386) + Self.bytes("N") + [0, 0],
      Self.bytes("I") + Self.word(16385) + Self.bytes("N") + [0, 1] + Self.value("7"),
      Self.bytes("I") + Self.word(16385) + Self.bytes("N") + [0, 3] + Self.bytes("b") + Self.word(1) + [7]
        + Self.bytes("nn"),
      Self.bytes("T") + Self.word(.max) + [0] + Self.word(16385),
      Self.bytes("S") + Self.word(1) + [1],
    ] {
      #expect(throws: MalformedRecord.self) { try read(message, with: &parser) }
    }
  }
}
