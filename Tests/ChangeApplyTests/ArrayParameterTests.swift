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

  /// A batch of one column with these values; `~` is null.
  private func array(_ values: [String], as form: ArrayForm) throws -> [UInt8] {
    var batch = NetChangeBatch(columnCount: 1, keyColumns: [])
    for value in values {
      let record = Array(value.utf8)
      let column = DecodedColumn(
        name: Span(0, 0), type: Span(0, 0), value: Span(0, record.count), form: value == "~" ? .null : .verbatim)
      #expect(record.withUnsafeBytes { batch.insert([column], targets: [0], of: $0) })
    }
    var parameters = ParameterBuffer()
    try batch.withBytes { buffer throws(ApplyFailure) in
      try parameters.append(column: 0, of: batch, rows: Array(values.indices), in: buffer, as: form)
    }
    return parameters.withPointers { view in
      view.formats?[0] == 1
        ? Array(UnsafeRawBufferPointer(start: view.values[0], count: Int(view.lengths?[0] ?? 0)))
        : Array(String(cString: view.values[0]!).utf8)
    }
  }

  @Test func binaryFormHasDimensionsTypeAndNulls() throws {
    let head: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1]
    let elements: [UInt8] = [0, 0, 0, 4, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF]
    #expect(try array(["-2", "~"], as: ArrayForm(type: 23)) == head + elements)
    #expect(try array(["f", "true"], as: ArrayForm(type: 16)).suffix(10) == [0, 0, 0, 1, 0, 0, 0, 0, 1, 1])
    #expect(try array(["a\"{,"], as: ArrayForm(type: 25)).suffix(8) == [0, 0, 0, 4] + Array("a\"{,".utf8))
    #expect(try array(["4294967295"], as: ArrayForm(type: 26)).suffix(4) == [0xFF, 0xFF, 0xFF, 0xFF])
  }

  /// Never cut, never wrapped: strict replay has the server say what is wrong.
  @Test(arguments: [(21, "32768"), (23, "2147483648"), (26, "-1"), (20, "9223372036854775808"), (16, "yes")])
  func aValueOutsideItsTypeFailsTheBatch(type: UInt32, text: String) {
    let failure = #expect(throws: ApplyFailure.self) { try array([text], as: ArrayForm(type: type)) }
    #expect(failure?.reason == .batchMismatch)
  }

  @Test func otherTypesStayLiterals() throws {
    #expect(ArrayForm(type: 1700) == .literal)
    #expect(try array(["1.50", "~", "a\"b"], as: .literal) == Array(#"{"1.50",NULL,"a\"b"}"#.utf8))
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
