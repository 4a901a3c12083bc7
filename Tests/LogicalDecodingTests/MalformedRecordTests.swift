import ReplicationModel
import Testing

@testable import LogicalDecoding

@Suite struct MalformedRecordTests {
  @Test(arguments: [
    ("", 0, "the record is empty"), ("x", 0, "expected the start of a record"),
    ("table", 5, "expected the start of a record"), ("tables a.b", 5, "expected the start of a record"),
    ("begin 1", 0, "expected the start of a record"), ("table ", 6, "expected a name"),
    ("table 1a.t: INSERT:", 6, "expected a name"), ("table Public.t: INSERT:", 6, "expected a name"),
    ("table t: INSERT:", 7, "expected '.' after the name of a schema"),
    ("table \"\".t: INSERT:", 6, "a name cannot be empty"),
    ("table \"a.t: INSERT:", 19, "a double-quoted name is not closed"),
    ("table public.t: UPSERT:", 18, "expected an action after the name of a table"),
    ("table public.t : INSERT:", 14, "expected an action after the name of a table"),
    ("table public.t: INSERT:a[integer]:1", 23, "expected the end of the record"),
    ("table public.t: INSERT: ", 24, "expected a name"),
    ("table public.t: INSERT:  a[integer]:1", 24, "expected a name"),
    ("table public.t: INSERT: a", 25, "expected '[' after the name of a column"),
    ("table public.t: INSERT: a:1", 25, "expected '[' after the name of a column"),
    ("table public.t: INSERT: a[]:1", 26, "expected the name of a type"),
    ("table public.t: INSERT: a[integer", 33, "expected ']' after the name of a type"),
    ("table public.t: INSERT: a[integer[3]]:1", 34, "expected ']' after '[' in the name of a type"),
    ("table public.t: INSERT: a[inte\nger]:1", 30, "expected the name of a type and ']'"),
    ("table public.t: INSERT: a[\"x]:1", 31, "a double-quoted name is not closed"),
    ("table public.t: INSERT: a[integer]1", 34, "expected ':' after the type of a column"),
    ("table public.t: INSERT: a[integer]:", 35, "expected a value"),
    ("table public.t: INSERT: a[integer]:nul", 38, "expected a value"),
    ("table public.t: INSERT: a[integer]:nulls", 39, "expected the end of the record"),
    ("table public.t: INSERT: a[integer]:1x", 36, "expected the end of the record"),
    ("table public.t: INSERT: a[integer]:1.", 37, "expected a digit"),
    ("table public.t: INSERT: a[integer]:1e+", 38, "expected a digit"),
    ("table public.t: INSERT: a[integer]:-", 36, "expected a value"),
    ("table public.t: INSERT: a[integer]:-NaN", 36, "expected a value"),
    ("table public.t: INSERT: a[integer]:1 ", 37, "expected a name"),
    ("table public.t: INSERT: a[bit]:B'12'", 34, "expected a bit or a closing quote"),
    ("table public.t: INSERT: a[bit]:B1", 32, "expected a quote after 'B'"),
    ("table public.t: INSERT: a[text]:'x", 34, "a quoted value is not closed"),
    ("table public.t: INSERT: a[text]:'x''", 36, "a quoted value is not closed"),
    ("table public.t: INSERT: a[text]:'x'y", 35, "expected the end of the record"),
    ("table public.t: INSERT: a[text]:\"x\"", 32, "expected a value"),
    ("table public.t: INSERT: a[integer]:1\n", 36, "expected the end of the record"),
    ("table public.t: INSERT: new-tuple: a[integer]:1", 23, "expected the end of the record"),
    ("table public.t: INSERT: a[integer]:1 new-tuple: a[integer]:1", 36, "expected the end of the record"),
    ("table public.t: UPDATE: old-key: a[integer]:1", 45, "expected ' new-tuple:' after the old key"),
    ("table public.t: UPDATE: old-key: (no-tuple-data)", 33, "expected a name"),
    ("table public.t: DELETE: (no-tuple-data) a[integer]:1", 39, "expected the end of the record"),
    ("table public.t: DELETE: (no-tuple)", 33, "expected a column or ' (no-tuple-data)'"),
    (
      "table public.t: DELETE: a[integer]:1\r", 36,
      "a carriage return at the end of the record; lines end in a line feed alone"
    ),
    ("BEGIN 0781", 7, "a transaction id has no leading zero"),
    ("COMMIT 00", 8, "a transaction id has no leading zero"),
    ("message: transactional: 1 prefix: p, sz: 01 content:x", 42, "expected ', sz: N content:'"),
  ])
  func refuses(text: String, offset: Int, reason: String) {
    #expect(fault(text) == MalformedRecord(offset: offset, reason: reason))
  }

  /// Cut anywhere, a record either ends too early, which its error says by an offset at the end, or is a good record
  /// of its own: cut between columns or inside a number.
  @Test(arguments: [
    #"table "S.x"."T ""q": UPDATE: old-key: a[integer]:12 new-tuple: a[integer]:1.5e+20 "B"["x]"[]]:'it''s' c[bit]:B'1'"#,
    "table public.t: INSERT: a[text]:unchanged-toast-datum b[text]:null c[boolean]:true d[real]:-Infinity e[real]:NaN",
    "table public.t, public.u: TRUNCATE: restart_seqs cascade", "table public.t: DELETE: (no-tuple-data)",
    "table public.t: TRUNCATE: (no-flags)", "COMMIT 12 (at 2024-01-01 00:00:00.5+00)", "BEGIN 4711",
    #"ROLLBACK PREPARED E'a\\b''c', txid 12 (at 2024-01-01 00:00:00.5+00)"#, "COMMIT PREPARED 'g', txid 12",
    "message: transactional: 1 prefix: p, sz: 12 content:hello, world",
    "opening a streamed block for transaction TXN 792", "streaming message: transactional: 1 prefix: a, sz: 12",
  ])
  func tellsWhereACutRecordEnds(text: String) throws {
    let bytes = Array(text.utf8)
    #expect(fault(text) == nil)
    var parser = TestDecodingParser()
    for length in 0..<bytes.count {
      do throws(MalformedRecord) {
        _ = try read(Array(bytes[..<length]), with: &parser)
      } catch {
        #expect(error.offset == length, "cut at \(length): \(error)")
      }
    }
  }
}

/// What other consumers of this format got wrong.
@Suite struct OtherConsumersMistakesTests {
  @Test func takesABackslashAsABackslash() throws {
    #expect(
      try read(#"table public.t: INSERT: a[text]:'x\' b[text]:'y'"#) == .insert(t, [text("a", #"x\"#), text("b", "y")]))
  }

  @Test func doesNotEndAValueAtAQuoteAndASpace() throws {
    #expect(
      try read("table public.t: INSERT: a[text]:'x'' b[text]:''y' c[text]:'z'")
        == .insert(t, [text("a", "x' b[text]:'y"), text("c", "z")]))
  }

  @Test func doesNotSplitAtTextInsideAValue() throws {
    #expect(
      try read("table public.t: UPDATE: old-key: a[text]:'new-tuple: x]:1' new-tuple: a[text]:' old-key: b[c]:2'")
        == .update(t, old: [text("a", "new-tuple: x]:1")], hasOldKey: true, [text("a", " old-key: b[c]:2")]))
  }

  @Test func doesNotTakeTheFirstColumnForTheKey() throws {
    #expect(
      try read("table public.t: UPDATE: old-key: k[text]:'1' new-tuple: a[integer]:0 k[text]:'2'")
        == .update(t, old: [text("k", "1")], hasOldKey: true, [integer("a", "0"), text("k", "2")]))
  }

  @Test func knowsOtherSchemas() throws {
    #expect(try read("table sales.t: INSERT:") == .insert(.init(schema: "sales", name: "t"), []))
  }

  @Test func keepsTransactionsAndFractionsOfSeconds() throws {
    #expect(try read("COMMIT 7 (at 2024-01-01 00:00:00.123456+00)") == .commit(7, at: "2024-01-01 00:00:00.123456+00"))
  }

  @Test func undoublesQuotesAndKeepsATrailingOne() throws {
    #expect(try read("table public.t: INSERT: a[text]:'it''s '''") == .insert(t, [text("a", "it's '")]))
  }

  @Test func tellsTheTextNullFromNull() throws {
    #expect(
      try read("table public.t: INSERT: a[text]:'null' b[text]:null")
        == .insert(t, [text("a", "null"), .init(name: "b", type: "text", value: .null)]))
  }

  @Test func doesNotTakeUnchangedToastForAValue() throws {
    #expect(
      try read("table public.t: UPDATE: a[text]:unchanged-toast-datum")
        == .update(t, old: nil, hasOldKey: false, [.init(name: "a", type: "text", value: .unchangedToast)]))
  }

  @Test func keepsEveryDigit() throws {
    let digits = "12345678901234567890.12345678901234567890"
    #expect(
      try read("table public.t: INSERT: a[numeric]:\(digits) b[double precision]:0.30000000000000004")
        == .insert(
          t,
          [
            .init(name: "a", type: "numeric", value: .text(digits)),
            .init(name: "b", type: "double precision", value: .text("0.30000000000000004")),
          ]))
  }

  @Test func readsAKeyOfAnotherIndexThanThePrimaryKey() throws {
    #expect(
      try read("table public.uix: UPDATE: old-key: a[integer]:1 b[text]:'k' new-tuple: a[integer]:1 b[text]:'k''2'")
        == .update(
          .init(schema: "public", name: "uix"), old: [integer("a", "1"), text("b", "k")], hasOldKey: true,
          [integer("a", "1"), text("b", "k'2")]))
  }

  @Test(arguments: ["message: transactional: 0 prefix: p, sz: 0 content:", "PREPARE TRANSACTION 'g', txid 1"])
  func takesMessagesAndPreparedTransactions(text: String) {
    #expect(fault(text) == nil)
  }
}
