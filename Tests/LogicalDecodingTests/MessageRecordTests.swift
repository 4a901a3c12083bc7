import Testing

@testable import LogicalDecoding

@Suite struct MessageRecordTests {
  @Test(arguments: [
    ("message: transactional: 1 prefix: p, sz: 3 content:abc", true, "p", "abc"),
    ("message: transactional: 0 prefix: , sz: 0 content:", false, "", ""),
    ("message: transactional: 1 prefix: p, sz: 3 content:, sz: 4 content:abcd", true, "p, sz: 3 content:", "abcd"),
    ("message: transactional: 1 prefix: p, sz: 17 content:, sz: 1 content:x", true, "p", ", sz: 1 content:x"),
    ("message: transactional: 1 prefix: a, sz: b, sz: 1, sz: 1 content:x", true, "a, sz: b, sz: 1", "x"),
    ("message: transactional: 0 prefix: nl\n'\", sz: 3 content:a\nb", false, "nl\n'\"", "a\nb"),
    ("message: transactional: 0 prefix: p, sz: 4 content:🐘", false, "p", "🐘"),
  ])
  func reads(record: String, transactional: Bool, prefix: String, content: String) throws {
    #expect(try read(record) == .message(transactional: transactional, prefix: prefix, content: content))
  }

  @Test(arguments: [
    ("message: transactional: 2 prefix: p, sz: 3 content:abc", 24, "expected 0 or 1"),
    ("message: transactional: 1 prefix: p, sz: 3 content:ab", 53, "the message is shorter than its size says"),
    ("message: transactional: 1 prefix: p, sz: 3 content:abcd", 54, "the message is longer than its size says"),
    ("message: transactional: 1 prefix: p, sz: x content:abcd", 41, "expected ', sz: N content:'"),
    ("message: transactional: 1 prefix: p, sz: 99999999999999999999 content:a", 50, "expected ', sz: N content:'"),
    ("message: transactional: 1 prefix: p, s", 38, "expected ', sz: N content:'"),
    ("message: transactional: 1 prefix: p", 35, "expected ', sz: N content:'"),
    ("message: transactional: 1 pre", 29, "expected ' prefix: '"),
  ])
  func refuses(text: String, offset: Int, reason: String) {
    #expect(fault(text) == MalformedRecord(offset: offset, reason: reason))
  }
}

@Suite struct StreamControlRecordTests {
  @Test(arguments: ServerFixture.streamed + ["streaming message: transactional: 0 prefix: p, sz: 3 content:a'b"])
  func reads(text: String) throws {
    #expect(try read(text) == .streamControl)
  }

  @Test(arguments: [
    ("opening a streamed block", 24), ("opening a streamed block for transaction TXN x", 45),
    ("streaming change for", 20), ("streaming change for 1", 21),
    ("streaming message: transactional: 1 prefix: p, sz: ", 51),
    ("streaming message: transactional: 0 prefix: p, sz: 3 content:ab", 63),
  ])
  func refuses(text: String, offset: Int) {
    #expect(fault(text)?.offset == offset)
  }
}
