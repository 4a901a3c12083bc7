import ReplicationModel
import Testing

@testable import LogicalDecoding

@Suite struct InsertRecordTests {
  @Test(arguments: [
    ("table public.t: INSERT:", RecordModel.insert(t, [])),
    ("table public.t: INSERT: (no-tuple-data)", .insert(t, nil)),
    ("table public.t: INSERT: a[integer]:1", .insert(t, [integer("a", "1")])),
    (
      "table public.t: INSERT: oid[oid]:16399 a[integer]:1",
      .insert(t, [.init(name: "oid", type: "oid", value: .text("16399")), integer("a", "1")])
    ),
    (
      #"table "S.x"."T "":[x], 'q' 🐘.y": INSERT: "a]b:c[d"["S.x"."we]ird"[]]:'{"a b",it''s}'"#,
      .insert(
        RelationName(schema: "S.x", name: "T \":[x], 'q' 🐘.y"),
        [.init(name: "a]b:c[d", type: "\"S.x\".\"we]ird\"[]", value: .text("{\"a b\",it's}"))])
    ),
  ])
  func reads(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }

  @Test(arguments: [
    "integer", "character varying", "numeric(5,2)", "timestamp(3) without time zone", "double precision[]", "\"char\"",
    "\"we]ird\"", "\"we]ird\"[]", "\"S\".\"T\"[]", "\"a\"\"b\"", "public.\"it's\"", "\"]:1 b[\"", "schéma.é", "???",
  ])
  func readsTheType(type: String) throws {
    let expected = RecordModel.Column(name: "a", type: type, value: .text("x"))
    #expect(try read("table public.t: INSERT: a[\(type)]:'x' b[text]:'y'") == .insert(t, [expected, text("b", "y")]))
  }

  @Test(arguments: [
    ("null", RecordModel.Value.null), ("unchanged-toast-datum", .unchangedToast), ("'null'", .text("null")),
    ("'unchanged-toast-datum'", .text("unchanged-toast-datum")), ("true", .text("true")), ("false", .text("false")),
    ("B''", .text("")), ("B'0101'", .text("0101")), ("''", .text("")), ("''''", .text("'")), ("'a''b'", .text("a'b")),
    ("0", .text("0")), ("-12", .text("-12")), ("1.50", .text("1.50")), ("1e+20", .text("1e+20")),
    ("-2.5e-300", .text("-2.5e-300")), ("NaN", .text("NaN")), ("Infinity", .text("Infinity")),
    ("-Infinity", .text("-Infinity")), ("'B''1'''", .text("B'1'")), (#"'\'"#, .text(#"\"#)),
  ])
  func readsTheValue(text value: String, expected: RecordModel.Value) throws {
    let columns: [RecordModel.Column] = [.init(name: "a", type: "x", value: expected), integer("b", "2")]
    #expect(try read("table public.t: INSERT: a[x]:\(value) b[integer]:2") == .insert(t, columns))
    #expect(try read("table public.t: INSERT: a[x]:\(value)") == .insert(t, [columns[0]]))
  }
}

@Suite struct UpdateRecordTests {
  @Test(arguments: [
    (
      "table public.t: UPDATE: a[integer]:1 b[text]:'x'",
      RecordModel.update(t, old: nil, hasOldKey: false, [integer("a", "1"), text("b", "x")])
    ),
    (
      "table public.t: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:2",
      .update(t, old: [integer("a", "1")], hasOldKey: true, [integer("a", "2")])
    ),
    (
      "table public.t: UPDATE: old-key: new-tuple: a[integer]:2",
      .update(t, old: [], hasOldKey: true, [integer("a", "2")])
    ),
    ("table public.t: UPDATE: old-key: new-tuple:", .update(t, old: [], hasOldKey: true, [])),
    ("table public.t: UPDATE: (no-tuple-data)", .update(t, old: nil, hasOldKey: false, nil)),
    (
      "table public.t: UPDATE: old-key: a[integer]:1 new-tuple: (no-tuple-data)",
      .update(t, old: [integer("a", "1")], hasOldKey: true, nil)
    ),
    (
      #"table public.t: UPDATE: "old-key:"[integer]:1 "new-tuple: "[integer]:2"#,
      .update(t, old: nil, hasOldKey: false, [integer("old-key:", "1"), integer("new-tuple: ", "2")])
    ),
    (
      "table public.t: UPDATE: old[integer]:1 new[integer]:2",
      .update(t, old: nil, hasOldKey: false, [integer("old", "1"), integer("new", "2")])
    ),
  ])
  func reads(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }

  @Test func keepsNoTupleFromTheRecordBefore() throws {
    var parser = TestDecodingParser()
    _ = try read(Array("table public.t: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:2".utf8), with: &parser)
    _ = try read(Array("table public.t: INSERT: a[integer]:3".utf8), with: &parser)
    #expect(parser.oldColumns == nil)
    #expect(parser.newColumns?.count == 1)
    _ = try read(Array("table public.t: DELETE: (no-tuple-data)".utf8), with: &parser)
    #expect(parser.oldColumns == nil)
    #expect(parser.newColumns == nil)
  }
}

@Suite struct DeleteRecordTests {
  @Test(arguments: [
    ("table public.t: DELETE: a[integer]:1", RecordModel.delete(t, [integer("a", "1")])),
    ("table public.t: DELETE: (no-tuple-data)", .delete(t, nil)), ("table public.t: DELETE:", .delete(t, [])),
  ])
  func reads(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }
}

@Suite struct TruncateRecordTests {
  static let u = RelationName(schema: "S", name: "u, v: TRUNCATE:")

  @Test(arguments: [
    ("table public.t: TRUNCATE: (no-flags)", RecordModel.truncate([t], restartIdentity: false, cascade: false)),
    ("table public.t: TRUNCATE: restart_seqs", .truncate([t], restartIdentity: true, cascade: false)),
    ("table public.t: TRUNCATE: cascade", .truncate([t], restartIdentity: false, cascade: true)),
    ("table public.t: TRUNCATE: restart_seqs cascade", .truncate([t], restartIdentity: true, cascade: true)),
    (
      #"table public.t, "S"."u, v: TRUNCATE:", public.t: TRUNCATE: cascade"#,
      .truncate([t, u, t], restartIdentity: false, cascade: true)
    ),
  ])
  func reads(text: String, expected: RecordModel) throws {
    #expect(try read(text) == expected)
  }

  @Test(arguments: [
    ("table public.t: TRUNCATE:", 25), ("table public.t: TRUNCATE: ", 26), ("table public.t: TRUNCATE: (no-flag)", 34),
    ("table public.t: TRUNCATE: cascade restart_seqs", 33), ("table public.t, public.u: INSERT: a[integer]:1", 26),
    ("table public.t, : TRUNCATE: cascade", 16), ("table public.t: TRUNCATE: restart_seqs (no-flags)", 39),
  ])
  func refuses(text: String, offset: Int) {
    #expect(fault(text)?.offset == offset)
  }
}

@Suite struct RelationTests {
  @Test func numbersRelationsInTheOrderOfAppearance() throws {
    var parser = TestDecodingParser()
    for (name, number) in [("t", 0), ("u", 1), ("t", 0), ("tt", 2), ("\"t\"\"\"", 3), ("t", 0), ("\"t\"", 0)] {
      let decoded = try Array("table public.\(name): INSERT:".utf8).withUnsafeBytes { try parser.parse($0) }
      #expect(decoded == .insert(number))
    }
    #expect(parser.relationName(3) == RelationName(schema: "public", name: "t\""))
  }

  @Test func findsThousandsAgain() throws {
    var parser = TestDecodingParser()
    for round in 0..<2 {
      for number in 0..<3000 {
        let decoded = try Array("table \"S\(number % 7)\".t\(number): DELETE:".utf8).withUnsafeBytes {
          try parser.parse($0)
        }
        #expect(decoded == .delete(number), "round \(round)")
      }
    }
    #expect(parser.relationName(2999) == RelationName(schema: "S3", name: "t2999"))
  }

  @Test func tellsNamesApartThatAreNotUTF8() throws {
    var parser = TestDecodingParser()
    for (byte, number) in [(UInt8(0xE9), 0), (0xE8, 1), (0xE9, 0)] {
      let record = Array("table public.\"".utf8) + [byte] + Array("\": INSERT:".utf8)
      #expect(try record.withUnsafeBytes { try parser.parse($0) } == .insert(number))
    }
    #expect(parser.relationNameBytes(1).table == [0xE8])
  }
}
