import Testing

@testable import LogicalDecoding

@Suite struct ServerFixtureTests {
  /// The file's records, cut by the splitter.
  static func records() throws -> [[UInt8]] {
    var splitter = RecordSplitter()
    Array(ServerFixture.recvlogical.utf8).withUnsafeBytes { splitter.append($0) }
    splitter.finish()
    var records: [[UInt8]] = []
    while let record = try splitter.next() { records.append(splitter.withBytes(of: record) { Array($0) }) }
    return records
  }

  @Test func readsAndRendersEveryRecordOfTheServer() throws {
    var parser = TestDecodingParser()
    let records = try Self.records()
    #expect(records.count == 131)
    for record in records {
      let model = try read(record, with: &parser)
      #expect(render(model) == String(decoding: record, as: UTF8.self))
    }
  }

  @Test(arguments: ServerFixture.prepared)
  func readsAndRendersPreparedTransactions(text: String) throws {
    #expect(try render(read(text)) == text)
  }

  @Test func readsQuotedTypes() throws {
    #expect(
      try read(ServerFixture.allQuoted)
        == .update(
          .init(schema: "public", name: "nopk"), old: nil, hasOldKey: false,
          [integer("a", "2"), .init(name: "b", type: "\"text\"", value: .text("x"))]))
  }
}
