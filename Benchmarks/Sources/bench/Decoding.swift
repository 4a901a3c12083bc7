import Foundation
import LogicalDecoding
import PostgresClient

/// How fast a parser reads a workload's records, from memory, on one core.
struct Decoding {
  struct Result {
    let workload: String
    let plugin: String
    let records: Int
    let bytes: Int
    /// Bytes and records per second of CPU time, one for each pass.
    var passes: [Double] = []
    var megabytes: Double { Double(bytes) / 1e6 / median(passes) }
    var millions: Double { Double(records) / 1e6 / median(passes) }
  }

  static let name = "decode"
  /// No more than about so many records; whole transactions.
  private static let records = 400_000
  private static let passes = 9

  let plugin: PluginOptions
  let workload: Workload
  let source: Cluster
  private var slot: String { "\(workload.name.lowercased())_decode_\(plugin.key)" }

  func prepare() throws {
    try source.connect(workload.databases[0]).query(
      "SELECT pg_create_logical_replication_slot($1, $2)", [slot, plugin.plugin])
  }

  func measure() throws -> Result {
    let connection = try source.connect(workload.databases[0])
    defer { _ = try? connection.query("SELECT pg_drop_replication_slot($1)", [slot]) }
    let rows = try connection.query("SELECT data FROM \(plugin.changes("peek", slot: slot, atMost: Self.records))")
    var text: [UInt8] = []
    var ends: [Int] = []
    for row in 0..<rows.rowCount {
      let bytes = rows.bytes(row, 0) ?? []
      text += plugin.isText ? bytes : Self.unhex(bytes)
      ends.append(text.count)
    }
    var result = Result(workload: workload.name, plugin: plugin.label, records: ends.count, bytes: text.count)
    for _ in 0..<Self.passes {
      result.passes.append(
        plugin.isText
          ? try Self.pass(TestDecodingParser(), text, ends) : try Self.pass(PgoutputParser(), text, ends))
    }
    note("\(workload.name): decoding \(plugin.label): \(format(result.megabytes, 0)) MB/s")
    return result
  }

  /// `\x` and two digits for each byte.
  private static func unhex(_ digits: [UInt8]) -> [UInt8] {
    func value(_ digit: UInt8) -> UInt8 { digit < UInt8(ascii: "a") ? digit - 48 : digit - 87 }
    return stride(from: 2, to: digits.count, by: 2).map { value(digits[$0]) << 4 | value(digits[$0 + 1]) }
  }

  /// Seconds of this thread's CPU time for one pass over all records.
  private static func pass(_ parser: some RecordParser, _ text: [UInt8], _ ends: [Int]) throws -> Double {
    var parser = parser
    let began = threadTime()
    var columns = 0
    try text.withUnsafeBytes { bytes in
      var start = 0
      for end in ends {
        switch try parser.parse(UnsafeRawBufferPointer(rebasing: bytes[start..<end])) {
        case .insert, .update: columns += parser.newColumns?.count ?? 0
        case .delete: columns += parser.oldColumns?.count ?? 0
        default: break
        }
        start = end
      }
    }
    guard columns > 0 else { throw BenchError("the slot had no rows to decode") }
    return threadTime() - began
  }

  private static func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
