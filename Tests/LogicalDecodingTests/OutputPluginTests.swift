import LogicalDecoding
import Testing

@Suite struct OutputPluginTests {
  /// What inventories, slots and error messages say: a name is for ever.
  @Test func namesAndOrder() {
    #expect(OutputPlugin.allCases.map(\.name) == ["test_decoding", "pgoutput"])
    #expect(OutputPlugin.usual == .testDecoding)
    for plugin in OutputPlugin.allCases { #expect(OutputPlugin(rawValue: plugin.name) == plugin) }
    #expect(OutputPlugin(rawValue: "wal2json") == nil)
    #expect(OutputPlugin(rawValue: "PGOUTPUT") == nil)
    #expect(OutputPlugin(rawValue: "") == nil)
  }

  @Test func whatEachNeeds() {
    #expect(!OutputPlugin.testDecoding.needsPublication)
    #expect(OutputPlugin.pgoutput.needsPublication)
    #expect(OutputPlugin.testDecoding.since == 90600)
    #expect(OutputPlugin.pgoutput.since == 140000)
  }

  @Test func optionsThatASlotIsReadWith() {
    func options(_ plugin: OutputPlugin) -> [String] {
      plugin.options(publication: "a \"b\"").map { "\($0.name)=\($0.value)" }
    }
    #expect(options(.testDecoding) == ["include-xids=on", "include-timestamp=on", "skip-empty-xacts=off"])
    #expect(options(.pgoutput) == ["proto_version=1", "publication_names=\"a \"\"b\"\"\"", "messages=true"])
  }

  /// Each has a parser of its own records, which refuses those of the other.
  @Test func parsersReadTheirOwn() throws {
    let begins: [String: [UInt8]] = [
      "test_decoding": Array("BEGIN 743".utf8),
      "pgoutput": [UInt8(ascii: "B")] + Array(repeating: 0, count: 16) + [0, 0, 2, 231],
    ]
    for plugin in OutputPlugin.allCases {
      for (name, record) in begins {
        var parser = plugin.makeParser()
        let read = record.withUnsafeBytes { bytes in Result { try parser.parse(bytes) } }
        if name == plugin.name {
          #expect(try read.get() == .begin(xid: 743))
        } else {
          #expect(throws: MalformedRecord.self) { try read.get() }
        }
      }
    }
  }
}
