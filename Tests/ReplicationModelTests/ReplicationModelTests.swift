import FoundationEssentials
import ReplicationModel
import Testing

@Suite struct LSNs {
  @Test(
    arguments: [
      ("0/0", 0, "0/0"), ("16/B374D848", 0x16_B374_D848, "16/B374D848"),
      ("ffffffff/ffffffff", .max, "FFFFFFFF/FFFFFFFF"),
      ("00000001/00000002", 0x1_0000_0002, "1/2"), ("aB/Cd", 0xAB_0000_00CD, "AB/CD"),
    ] as [(String, UInt64, String)])
  func areReadAndWritten(text: String, value: UInt64, canonical: String) throws {
    let lsn = try #require(LSN(text))
    #expect(lsn.rawValue == value)
    #expect(lsn.description == canonical)
    #expect(LSN(lsn.description) == lsn)
    #expect(LSN(text[...]) == lsn)
  }

  @Test(arguments: [
    "", "/", "0", "0/", "/0", "0/0/0", " 0/0", "0/0 ", "0/0\n", "123456789/0", "0/123456789", "g/0", "-1/0", "+1/0",
    "0x1/0", "0/٣", "１/0", "0\u{0}/0",
  ])
  func areNothingElse(text: String) {
    #expect(LSN(text) == nil)
  }

  @Test func areTextInJSON() throws {
    let json = Data(#"["16/B374D848","0/0"]"#.utf8)
    let lsns = try JSONDecoder().decode([LSN].self, from: json)
    #expect(lsns == [LSN(0x16_B374_D848), .invalid])
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    #expect(try encoder.encode(lsns) == json)
    for bad in [#"["16"]"#, "[5]", "[null]"] {
      #expect(throws: DecodingError.self) { try JSONDecoder().decode([LSN].self, from: Data(bad.utf8)) }
    }
  }

  @Test func areOrderedAndNeverNegativeApart() {
    #expect(LSN(0xFFFF_FFFF) < LSN(0x1_0000_0000))
    #expect(LSN(5).bytes(since: LSN(2)) == 3)
    #expect(LSN(2).bytes(since: LSN(5)) == 0)
    #expect(LSN(.max).bytes(since: .invalid) == .max)
  }
}

@Suite struct Names {
  @Test(arguments: [
    ("a", #""a""#), ("", #""""#), (#"order "x""#, #""order ""x""""#), (#"""#, #""""""#),
    ("a\"\u{301}", "\"a\"\"\u{301}\""),
    (#"";DROP TABLE x;--"#, #"""";DROP TABLE x;--""#), ("Grüße 🚚\n", "\"Grüße 🚚\n\""), ("it's", "\"it's\""),
  ])
  func identifiersAreQuoted(name: String, expected: String) {
    #expect(Array(quotedIdentifier(name).utf8) == Array(expected.utf8))
  }

  @Test(arguments: [
    ("a", "'a'"), ("", "''"), ("it's", "'it''s'"), ("'", "''''"), (#"a\b"#, #" E'a\\b'"#), (#"\'"#, #" E'\\'''"#),
    ("'\u{301}", "'''\u{301}'"), ("\\\u{301}", " E'\\\\\u{301}'"), ("';DROP TABLE x;--", "''';DROP TABLE x;--'"),
  ])
  func literalsAreQuoted(text: String, expected: String) {
    #expect(Array(quotedLiteral(text).utf8) == Array(expected.utf8))
  }

  @Test func relationsAreQuotedInBothParts() {
    let relation = RelationName(schema: "a.b", name: "c\"d")
    #expect(relation.quoted == "\"a.b\".\"c\"\"d\"")
    #expect(relation.description == "a.b.c\"d")
    #expect(RelationName(schema: "a", name: "z") < RelationName(schema: "b", name: "a"))
    #expect(RelationName(schema: "a", name: "a") < RelationName(schema: "a", name: "b"))
  }

  @Test(arguments: ["a", "pgconvoy_0123456789ab_16384", String(repeating: "x", count: 63), "0", "_"])
  func slotNamesThatPostgreSQLTakes(text: String) {
    #expect(SlotName(text)?.description == text)
  }

  @Test(arguments: ["", "A", "a-b", "a b", "ä", String(repeating: "x", count: 64), "a\0", "a;"])
  func slotNamesThatItRefuses(text: String) {
    #expect(SlotName(text) == nil)
  }

  @Test func everythingThatAHandOffMakesCarriesItsNonce() {
    let names = HandOffNames(nonce: "0123456789ab")
    let all = [
      names.physicalSlot, names.slot(databaseOID: .max), names.reverseSlot(databaseOID: .max),
      names.origin(databaseOID: 1), names.reverseOrigin(databaseOID: 1), names.restorePoint,
    ]
    #expect(
      all == [
        "pgconvoy_0123456789ab_physical", "pgconvoy_0123456789ab_4294967295",
        "pgconvoy_0123456789ab_4294967295_reverse",
        "pgconvoy_0123456789ab_1", "pgconvoy_0123456789ab_1_reverse", "pgconvoy_0123456789ab",
      ])
    #expect(all.allSatisfy { SlotName($0) != nil })
    for _ in 0..<100 {
      let random = HandOffNames.random()
      #expect(random.nonce.utf8.count == 12)
      #expect(SlotName(random.slot(databaseOID: .max)) != nil)
    }
    #expect(HandOffNames.random() != HandOffNames.random())
  }
}

@Suite struct Errors {
  @Test(
    arguments: [
      (nil, ""), (.file(path: "i.yml", line: 3, column: 7), "i.yml:3:7: "), (.path("/state"), "/state: "),
      (.host("old"), "host old: "),
      (.step(migration: "eu", host: "old", step: "fence"), "migration eu, host old, step fence: "),
      (.step(migration: "eu", host: nil, step: "fence"), "migration eu, step fence: "),
      (.database(migration: "eu", name: "d"), "migration eu, database d: "),
      (.database(migration: nil, name: "d"), "database d: "), (.input(line: 2, byteOffset: 40), "line 2, byte 40: "),
    ] as [(ConvoyError.Place?, String)])
  func areOneLineWithTheirPlace(place: ConvoyError.Place?, text: String) {
    let error = ConvoyError("room.code", "something is off", at: place, cause: "not shown")
    #expect(error.description == "error: \(text)something is off [room.code]")
  }

  @Test func aHintHasALineOfItsOwn() {
    let error = ConvoyError("room.code", "something is off", hint: "do this")
    #expect(error.description == "error: something is off [room.code]\nhint: do this")
  }

  @Test func aPlaceIsKeptOnceItIsKnown() {
    let error = ConvoyError("c", "m").placed(at: .host("first")).placed(at: .host("second"))
    #expect(error.place == .host("first"))
  }

  @Test(arguments: [(.failure, 1), (.usage, 2), (.interrupted, 3)] as [(ConvoyError.Kind, Int32)])
  func kindsAreExitStatuses(kind: ConvoyError.Kind, status: Int32) {
    #expect(ConvoyError("c", "m", kind: kind).exitStatus == status)
  }
}

@Suite struct Statuses {
  @Test func namesInJSONAreAContract() {
    #expect(
      DatabasePhase.allCases.map(\.rawValue) == [
        "pending", "copying", "handed_off", "catching_up", "streaming", "draining", "drained", "interrupted",
        "unreachable", "parked", "stopped", "cut_over",
      ])
    #expect(
      MigrationState.allCases.map(\.rawValue) == [
        "none", "prepared", "copying", "standby", "handed_off", "fenced", "drained", "cut_over", "rolled_back",
        "finished",
      ])
    #expect(
      MigrationReport.Outcome.allCases.map(\.rawValue) == [
        "cut_over", "called_off", "rolled_back", "verified", "finished",
      ])
  }

  @Test func aDateThatIsNoneIsAnError() {
    let json = #"{"version":1,"generated_at":"yesterday","sync":{"running":false},"migrations":[]}"#
    #expect(throws: DecodingError.self) { try JSONDecoder().decode(ConvoyStatus.self, from: Data(json.utf8)) }
  }
}
