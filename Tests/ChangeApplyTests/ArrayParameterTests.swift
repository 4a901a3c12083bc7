import LogicalDecoding
import ReplicationModel
import Testing

@testable import ChangeApply

@Suite struct ArrayParameterTests {
  @Test(
    arguments: [
      ("0", 0), ("-0", 0), ("007", 7), ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min),
    ] as [(String, Int64)])
  func integers(text: String, number: Int64) {
    #expect(Array(text.utf8).withUnsafeBytes { decimalInteger($0) } == number)
  }

  @Test(arguments: ["", "-", "1.5", "+1", " 1", "1 ", "1e3", "9223372036854775808", "-9223372036854775809", "١"])
  func noIntegers(text: String) {
    #expect(Array(text.utf8).withUnsafeBytes { decimalInteger($0) } == nil)
  }

  /// An array of these values; `~` is null.
  private func array(_ values: [String], type: UInt32) -> [UInt8] {
    var batch = NetChangeBatch(columnCount: 1, keyColumns: [])
    let records = values.map { StoredRecord($0) }
    for (value, record) in zip(values, records) {
      let column = DecodedColumn(
        name: Span(0, 0), type: Span(0, 0), value: Span(0, record.bytes.count), form: value == "~" ? .null : .verbatim)
      let isTaken = batch.insert([column], targets: [0], of: record.bytes)
      #expect(isTaken)
    }
    var parameters = ParameterBuffer()
    ArrayParameter.append(
      column: 0, of: batch, rows: Array(values.indices), as: BinaryForm(type: type), oid: type, to: &parameters)
    defer { withExtendedLifetime(records) {} }
    return parameters.withPointers { view in
      view.formats?[0] == 1
        ? Array(UnsafeRawBufferPointer(start: view.values[0], count: Int(view.lengths?[0] ?? 0)))
        : Array(String(cString: view.values[0]!).utf8)
    }
  }

  @Test func binaryFormHasDimensionsTypeAndNulls() {
    let head: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1]
    let elements: [UInt8] = [0, 0, 0, 4, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF]
    #expect(array(["-2", "~"], type: 23) == head + elements)
    #expect(array(["f", "true"], type: 16).suffix(10) == [0, 0, 0, 1, 0, 0, 0, 0, 1, 1])
    #expect(array(["a\"{,"], type: 25).suffix(8) == [0, 0, 0, 4] + Array("a\"{,".utf8))
    #expect(array(["4294967295"], type: 26).suffix(4) == [0xFF, 0xFF, 0xFF, 0xFF])
  }

  /// Never cut, never wrapped: a literal has the server say what is wrong, and all values before it go with it.
  @Test(arguments: [
    (21, "32768"), (23, "2147483648"), (26, "-1"), (20, "9223372036854775808"), (16, "yes"), (1184, "infinity"),
  ])
  func aValueWithoutABinaryFormMakesALiteral(type: UInt32, text: String) {
    #expect(array(["1", "~", text], type: type) == Array("{\"1\",NULL,\"\(text)\"}".utf8))
  }

  @Test func otherTypesStayLiterals() {
    #expect(BinaryForm(type: 1186) == nil)
    #expect(array(["1 day", "~", "a\"b"], type: 1186) == Array(#"{"1 day",NULL,"a\"b"}"#.utf8))
  }

  @Test func commitTimesOfBothPlugins() {
    var clock = CommitClock()
    #expect(clock.text == nil)
    [UInt8]().withUnsafeBytes { clock.note(.microseconds(817_891_200_000_001), of: $0) }
    #expect(clock.text == "2025-12-01 08:00:00.000001+00")
    [UInt8]().withUnsafeBytes { clock.note(.microseconds(-1), of: $0) }
    #expect(clock.text == "1999-12-31 23:59:59.999999+00")
    Array("2026-11-26 18:00:00+00".utf8).withUnsafeBytes { clock.note(.text(Span(0, $0.count)), of: $0) }
    #expect(clock.text == "2026-11-26 18:00:00+00")
  }
}
