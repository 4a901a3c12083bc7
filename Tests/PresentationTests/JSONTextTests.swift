import FoundationEssentials
import Presentation
import Testing

@Suite struct JSONTextTests {
  @Test(
    arguments: [
      (nil, "null"), (0, "0"), (0.25, "0.25"), (1.0 / 3, "0.333"), (7500, "7500"), (.nan, "null"), (.infinity, "null"),
      (1e-9, "0"), (123_456_789.125, "123456789.125"),
    ] as [(Double?, String)])
  func decimals(value: Double?, expected: String) {
    #expect(JSONText.decimal(value).document == expected + "\n")
  }

  @Test func stringsAreEscaped() throws {
    let hostile = "\"\\\n\r\t\u{8}\u{C}\u{0}\u{1F}\u{7F}\u{2028}é🚚"
    let text = JSONText.string(hostile).document
    #expect(text == #""\"\\\n\r\t\b\f\u0000\u001f\#u{7F}\#u{2028}é🚚""# + "\n")
    #expect(try JSONDecoder().decode(String.self, from: Data(text.utf8)) == hostile)
  }

  @Test func aDocumentIsIndented() {
    let value = JSONText.object([
      ("b\"", .array([.integer(1), .object([]), .array([])])), ("a", .object([("x", .null), ("y", .bool(true))])),
      ("n", .integer(nil)), ("s", .string(nil)),
    ])
    #expect(
      value.document == #"""
        {
          "b\"": [
            1,
            {},
            []
          ],
          "a": {
            "x": null,
            "y": true
          },
          "n": null,
          "s": null
        }

        """#)
  }

  @Test func bytesGoStraightIntoTheOutput() {
    var output: [UInt8] = []
    output.append(literal: "[")
    output.append(decimal: .max)
    output.append(literal: ",")
    output.append(json: false)
    output.append(literal: ",")
    [UInt8]([0, 0x7F, 0xFF]).withUnsafeBytes { output.append(hexadecimal: $0) }
    output.append(literal: "]")
    #expect(String(decoding: output, as: UTF8.self) == #"[4294967295,false,"007fff"]"#)
  }
}
