import ReplicationModel
import Testing

@testable import LogicalDecoding

/// Feeds the input in pieces; the output and the error, if any.
func decode(_ input: [UInt8], pieces: [Int] = []) -> (output: String, error: DecodeInputError?) {
  var pipeline = DecodePipeline()
  var output: [UInt8] = []
  do throws(DecodeInputError) {
    var start = 0
    for end in pieces + [input.count] {
      try pipeline.feed(Array(input[start..<end]), to: &output)
      start = end
    }
    try pipeline.finish(to: &output)
    return (String(decoding: output, as: UTF8.self), nil)
  } catch {
    return (String(decoding: output, as: UTF8.self), error)
  }
}

func decode(_ text: String) -> (output: String, error: DecodeInputError?) { decode(Array(text.utf8)) }

@Suite struct DecodeJSONTests {
  @Test(arguments: [
    ("BEGIN 1", #"{"kind":"begin","xid":1}"#), ("BEGIN", #"{"kind":"begin"}"#), ("COMMIT", #"{"kind":"commit"}"#),
    (
      "COMMIT 1 (at 2024-01-01 00:00:00.123+00)",
      #"{"kind":"commit","xid":1,"timestamp":"2024-01-01 00:00:00.123+00"}"#
    ),
    (
      "table s.t: INSERT: a[integer]:1 b[boolean]:true c[bit]:B'101' d[text]:null e[text]:'' f[text]:'it''s'",
      #"{"kind":"insert","schema":"s","table":"t","new":[{"name":"a","type":"integer","value":"1"},"#
        + #"{"name":"b","type":"boolean","value":"true"},{"name":"c","type":"bit","value":"101"},"#
        + #"{"name":"d","type":"text","value":null},{"name":"e","type":"text","value":""},"#
        + #"{"name":"f","type":"text","value":"it's"}]}"#
    ),
    ("table s.t: INSERT:", #"{"kind":"insert","schema":"s","table":"t","new":[]}"#),
    ("table s.t: INSERT: (no-tuple-data)", #"{"kind":"insert","schema":"s","table":"t","new":null}"#),
    (
      "table s.t: UPDATE: a[text]:unchanged-toast-datum",
      #"{"kind":"update","schema":"s","table":"t","new":[{"name":"a","type":"text","unchanged_toast":true}]}"#
    ),
    (
      #"table s."Or""der": UPDATE: old-key: "Order"[text]:'1' new-tuple: "Or""d"["x]"[]]:'2'"#,
      #"{"kind":"update","schema":"s","table":"Or\"der","old":[{"name":"Order","type":"text","value":"1"}],"#
        + #""new":[{"name":"Or\"d","type":"\"x]\"[]","value":"2"}]}"#
    ),
    ("table s.t: UPDATE: old-key: new-tuple:", #"{"kind":"update","schema":"s","table":"t","old":[],"new":[]}"#),
    (
      "table s.t: DELETE: a[integer]:1",
      #"{"kind":"delete","schema":"s","table":"t","old":[{"name":"a","type":"integer","value":"1"}]}"#
    ),
    ("table s.t: DELETE: (no-tuple-data)", #"{"kind":"delete","schema":"s","table":"t","old":null}"#),
    (
      "table s.t, s.u: TRUNCATE: restart_seqs",
      #"{"kind":"truncate","tables":[{"schema":"s","table":"t"},{"schema":"s","table":"u"}],"#
        + #""restart_identity":true,"cascade":false}"#
    ),
    (
      "message: transactional: 1 prefix: p, sz: 3 content:a\nb",
      #"{"kind":"message","transactional":true,"prefix":"p","content":"a\nb"}"#
    ),
    ("PREPARE TRANSACTION 'g', txid 1", #"{"kind":"prepare","gid":"g","xid":1}"#),
    (
      #"COMMIT PREPARED E'g\\', txid 1 (at 2024-01-01 00:00:00+00)"#,
      #"{"kind":"commit_prepared","gid":"g\\","xid":1,"timestamp":"2024-01-01 00:00:00+00"}"#
    ),
    ("ROLLBACK PREPARED 'g'", #"{"kind":"rollback_prepared","gid":"g"}"#),
    ("streaming change for TXN 7", #"{"kind":"stream_control","text":"streaming change for TXN 7"}"#),
  ])
  func writes(record: String, object: String) {
    let (output, error) = decode(record + "\n")
    #expect(output == object + "\n")
    #expect(error == nil)
  }

  @Test func escapesWhatJSONCannotHold() {
    let controls = (UInt8(1)..<0x20).map { String(UnicodeScalar($0)) }.joined()
    let (output, _) = decode("table s.t: INSERT: a[text]:'\(controls)\"\\/é🐘\u{7F}\u{2028}12345678''\"''9'\n")
    #expect(
      output == #"{"kind":"insert","schema":"s","table":"t","new":[{"name":"a","type":"text","value":"\u0001\u0002"#
        + #"\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016"#
        + #"\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\"\\/é🐘"# + "\u{7F}\u{2028}" + #"12345678'\"'9"}]}"#
        + "\n")
  }

  @Test(arguments: 0..<20)
  func findsASpecialAtEveryPlace(position: Int) {
    for (character, escape) in [("\"", "\\\""), ("\\", "\\\\"), ("\u{1F}", "\\u001f")] {
      let before = String(repeating: "\u{20}", count: position)
      let after = String(repeating: "é!#[]", count: 4)
      let (output, _) = decode("table s.t: INSERT: a[text]:'\(before)\(character)\(after)'\n")
      #expect(output.hasSuffix("\"value\":\"\(before)\(escape)\(after)\"}]}\n"))
    }
  }

  @Test func writesABinaryMessageInHexadecimal() {
    let input = Array("message: transactional: 1 prefix: bin, sz: 4 content:".utf8) + [0, 0xFF, 0x0A, 0x27, 0x0A]
    let (output, error) = decode(input)
    #expect(output == #"{"kind":"message","transactional":true,"prefix":"bin","content_hex":"00ff0a27"}"# + "\n")
    #expect(error == nil)
  }
}

@Suite struct DecodePipelineTests {
  @Test func givesTheRecordsBeforeAFault() {
    let (output, error) = decode("BEGIN 1\ntable s.t: INSERT: a[text]:'x\ny'\ntable s.t: INSERT: a[text]:1x\nBEGIN 2\n")
    #expect(
      output == """
        {"kind":"begin","xid":1}
        {"kind":"insert","schema":"s","table":"t","new":[{"name":"a","type":"text","value":"x\\ny"}]}

        """)
    #expect(
      error == DecodeInputError(kind: .malformed, line: 4, byteOffset: 67, reason: "expected the end of the record"))
    #expect(
      error?.convoyError.description == """
        error: line 4, byte 67: expected the end of the record [decode.malformed]
        hint: decode reads what pg_recvlogical wrote with the plugin test_decoding, unchanged
        """)
    #expect(error?.convoyError.exitStatus == 1)
  }

  @Test(arguments: [
    ("\n", DecodeInputError.Kind.malformed, 1, 0), ("BEGIN 1\n\nCOMMIT 1\n", .malformed, 2, 8),
    ("BEGIN 1\r\n", .malformed, 1, 7), ("table s.t: INSERT: a[text]:'x'\r\n", .malformed, 1, 30),
    ("BEGI\n", .malformed, 1, 4), ("BEGI", .truncated, 1, 4), ("BEGIN 1\ntab", .truncated, 2, 11),
    ("{\"kind\":\"begin\"}\n", .malformed, 1, 0), ("BEGIN 1\nhe's here\nCOMMIT 1\n", .malformed, 2, 8),
    ("table s.t: INSERT: a[text]:'x", .truncated, 1, 29), ("table s.t: INSERT: a[text]:'x\n", .truncated, 1, 30),
    ("table s.t: INSERT: a[text]:\nCOMMIT 1\n", .malformed, 1, 27), ("table s.t: INSERT: a[text]:", .truncated, 1, 27),
    ("table s.\"t\nBEGIN 1\n", .truncated, 1, 19),
    // A quote too many: the records below do not vanish into a value.
    ("table s.t: INSERT: a[text]:'it's'\nCOMMIT 1\n", .malformed, 1, 31),
    ("table s.t: INSERT: a[text]:'it\\'s' b[text]:'y'\nCOMMIT 1\n", .malformed, 1, 32),
    ("table s.t: INSERTED: a[text]:'x\n", .malformed, 1, 17),
    ("message: transactional: 1 prefix: p, sz: 9 content:abc\n", .truncated, 1, 55),
    ("message: transactional: 1 prefix: p, sz: 2 content:abc\nCOMMIT 1\n", .malformed, 1, 53),
    (
      "message: transactional: 1 prefix: p, sz: 2 content:abc\nmessage: transactional: 1 prefix: q, sz: 1 content:x\n",
      .malformed, 1, 53
    ),
    ("message: transactional: 1 prefix: p, sz: 3 content:abc\r\n", .malformed, 1, 54),
  ])
  func refuses(text: String, kind: DecodeInputError.Kind, line: Int, byteOffset: Int) {
    let error = decode(text).error
    #expect(error?.kind == kind)
    #expect(error?.line == line)
    #expect(error?.byteOffset == byteOffset)
    // The same whatever the pieces are.
    let bytes = Array(text.utf8)
    #expect(decode(bytes, pieces: Array(0...bytes.count)).error == error)
  }

  @Test func refusesWhatIsNotUTF8AtItsByte() {
    let input = Array("BEGIN 1\ntable s.t: INSERT: a[text]:'caf".utf8) + [0xE9] + Array("'\n".utf8)
    let (output, error) = decode(input)
    #expect(output == "{\"kind\":\"begin\",\"xid\":1}\n")
    #expect(error == DecodeInputError(kind: .encoding, line: 2, byteOffset: 39, reason: "not UTF-8"))
    #expect(error?.convoyError.code == "decode.encoding")
  }

  @Test func acceptsALastRecordWithoutItsLineFeed() {
    for text in [
      "BEGIN 1", "table s.t: DELETE: a[text]:'x'", "message: transactional: 0 prefix: p, sz: 3 content:a\nb",
    ] {
      #expect(decode(text).error == nil)
      #expect(decode(text).output == decode(text + "\n").output)
    }
    #expect(decode("").output == "")
    #expect(decode("").error == nil)
  }

  @Test func staysWithItsFirstError() throws {
    var pipeline = DecodePipeline()
    var output: [UInt8] = []
    #expect(throws: DecodeInputError.self) { try pipeline.feed(Array("x\n".utf8), to: &output) }
    #expect(throws: DecodeInputError.self) { try pipeline.feed(Array("BEGIN 1\n".utf8), to: &output) }
    #expect(throws: DecodeInputError.self) { try pipeline.finish(to: &output) }
    #expect(output.isEmpty)
  }

  @Test func givesTheSameForEverySplit() {
    let input = Array((ServerFixture.recvlogical + ServerFixture.streamed.joined(separator: "\n")).utf8)
    let whole = decode(input)
    #expect(whole.error == nil)
    #expect(decode(input, pieces: Array(0...input.count)).output == whole.output)
    // In two pieces, at every byte of a shorter input that has every kind of record.
    let short = Array(
      (#"table "S.""x"."t'": UPDATE: old-key: a[text]:'n''\' new-tuple: "b\#n'"["T]"[]]:'x\#n''"' c[bit]:B'1'"#
        + "\nmessage: transactional: 1 prefix: p\n', sz: 3 content:\", sz: 16 content:, sz: 0 content:\nBEGIN 1\n"
        + "message: transactional: 0 prefix: p, sz: 500 content:, sz: 2 content:\n\n\nCOMMIT\n"
        + "streaming message: transactional: 1 prefix: a\n, sz: 7\nPREPARE TRANSACTION E'a\\\\''\n'\ntable s.t: DELETE:"
        + "\nmessage: transactional: 0 prefix: p, sz: 17 content:, sz: 0 content:\n").utf8)
    let expected = decode(short)
    #expect(expected.error == nil)
    #expect(expected.output.split(separator: "\n").count == 9)
    for cut in 0...short.count {
      let (output, error) = decode(short, pieces: [cut])
      #expect(output == expected.output, "cut at \(cut)")
      #expect(error == nil, "cut at \(cut)")
    }
  }
}

@Suite struct RecordSplitterTests {
  @Test func tellsLinesAndOffsets() throws {
    var splitter = RecordSplitter()
    Array("BEGIN 1\ntable s.t: DELETE: a[text]:'\n\n'\nCOMMIT 1".utf8).withUnsafeBytes { splitter.append($0) }
    splitter.finish()
    var places: [[Int]] = []
    var texts: [String] = []
    while let record = try splitter.next() {
      places.append([record.line, record.byteOffset, record.count, record.hasLineFeed ? 1 : 0])
      texts.append(splitter.withBytes(of: record) { String(decoding: $0, as: UTF8.self) })
    }
    #expect(places == [[1, 0, 7, 1], [2, 8, 31, 1], [5, 40, 8, 0]])
    #expect(texts == ["BEGIN 1", "table s.t: DELETE: a[text]:'\n\n'", "COMMIT 1"])
  }

  @Test func boundsARecord() throws {
    for piece in [1, 1000] {
      var splitter = RecordSplitter(maximumRecordBytes: 100)
      let text = Array("BEGIN 1\ntable s.t: INSERT: a[text]:'\(String(repeating: "x", count: 200))'\n".utf8)
      var error: DecodeInputError?
      do throws(DecodeInputError) {
        for start in stride(from: 0, to: text.count, by: piece) {
          Array(text[start..<min(start + piece, text.count)]).withUnsafeBytes { splitter.append($0) }
          while try splitter.next() != nil {}
        }
      } catch let caught {
        error = caught
      }
      #expect(
        error
          == DecodeInputError(
            kind: .malformed, line: 2, byteOffset: 108, reason: "a record is longer than 100 bytes"))
    }
  }

  /// Text that starts a record, inside a prefix, makes no record.
  @Test func keepsAMessageWhole() throws {
    let forged =
      "message: transactional: 1 prefix: p\nBEGIN 1\ntable s.t: INSERT: a[text]:'x, sz: 8 content:\nBEGIN 2\n"
    let (output, error) = decode(forged)
    #expect(error == nil)
    #expect(output.split(separator: "\n").count == 1)
  }
}
