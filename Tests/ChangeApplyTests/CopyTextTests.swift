import Testing

@testable import ChangeApply

@Suite struct CopyTextTests {
  private func copied(_ value: [UInt8]) -> [UInt8] {
    var bytes = ByteWriter()
    value.withUnsafeBytes { CopyText.append($0, isFirst: true, to: &bytes) }
    return Array(bytes.bytes)
  }

  /// Each byte at each place of values that are shorter, as long and longer than what is looked at in one go, among
  /// neighbours that lie beside the special ones.
  @Test func everyByteIsFoundWhereverItStands() {
    let escapes: [UInt8: UInt8] = [0x5C: 0x5C, 0x0A: 0x6E, 0x0D: 0x72, 0x09: 0x74]
    for length in [1, 7, 8, 9, 16, 19] {
      for filler in [0x61, 0x5B, 0x5D, 0x08, 0x1F, 0x20, 0x80, 0xDC, 0xFF] as [UInt8] {
        for place in 0..<length {
          for byte in 1...255 as ClosedRange<UInt8> {
            var value = [UInt8](repeating: filler, count: length)
            value[place] = byte
            let expected = value.flatMap { (byte) -> [UInt8] in escapes[byte].map { [0x5C, $0] } ?? [byte] }
            #expect(copied(value) == expected, "\(byte) at \(place) of \(length) among \(filler)")
          }
        }
      }
    }
  }

  @Test func specialsFollowEachOther() {
    #expect(copied(Array("\\\\\n\t\r".utf8)) == Array(#"\\\\\n\t\r"#.utf8))
    #expect(copied([]).isEmpty)
  }
}
