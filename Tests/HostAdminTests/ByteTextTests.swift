import TestSupport
import Testing

@testable import HostAdmin

/// Files are bytes: whatever is read is written back as it was.
struct ByteTextTests {
  @Test(arguments: [
    [], Array("plain\r\nh\u{e9}\n".utf8), [0x68, 0xE9, 0x0A], [0xEF, 0xBB, 0xBF, 0x23], [0xC3], [0xF0, 0x9F, 0x98],
    [0xED, 0xA0, 0x80], [0xC0, 0xAF], [0xFF, 0x00, 0xFE], Array("\u{10FEE9}\u{10FE00}".utf8),
  ])
  func comesBackAsItWas(_ bytes: [UInt8]) {
    let text = ByteText.string(bytes)
    #expect(ByteText.bytes(text) == bytes)
    // What edits do: divide into lines, and put together again.
    let lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { String($0) }
    #expect(ByteText.bytes(lines.joined(separator: "\n")) == bytes)
  }

  @Test func validTextReadsAsItself() {
    let text = "# Pr\u{fc}fung \u{1F600}\r\n"
    #expect(ByteText.string(Array(text.utf8)) == text)
    #expect(ByteText.shown(ByteText.string([0x68, 0xE9])) == "h\u{FFFD}")
  }

  @Test func anyBytes() {
    var random = SeededRandom(seed: 7)
    for _ in 0..<3000 {
      let length = Int.random(in: 0..<24, using: &random)
      let bytes = (0..<length).map { _ in
        [UInt8.random(in: 0...255, using: &random), 0xF4, 0x8F, 0xB8, 0x0A, 0x0D].randomElement(using: &random) ?? 0
      }
      #expect(ByteText.bytes(ByteText.string(bytes)) == bytes)
    }
  }
}
