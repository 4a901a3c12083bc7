import Foundation
import LogicalDecoding
import PostgresClient
import ReplicationModel

/// What drains a backlog, or the part of the work that nothing can do without.
protocol Contender {
  /// As the table names it.
  var name: String { get }
  /// For the names of slots and databases: lower case, digits and underscores.
  var key: String { get }
  /// Whether it brings the changes to a target; otherwise it is a limit, and ends by itself.
  var writes: Bool { get }
  /// Whether it writes on the source while it drains. Such a contender is prepared before all others and drains after
  /// them, once, so that nobody else has to decode what it writes.
  var disturbsSource: Bool { get }
  /// The limit that it cannot pass: the key of the `Pull` whose time its own is divided by.
  var limit: String? { get }
  /// Before the backlog is written: makes the slot, and what else has to know where the backlog begins.
  func prepare(_ run: Run) throws
  /// Before the clock starts.
  func arrange(_ run: Run) throws
  /// The clock has started. Returns the programs whose CPU time counts.
  func start(_ run: Run) throws -> [Program]
  /// Asked once a second: why it will never arrive, where its programs go on all the same.
  func complaint(_ programs: [Program]) -> String?
  /// The clock has stopped.
  func stop(_ run: Run, _ programs: [Program]) throws
  /// Whatever happened before: leaves the servers as the next contender expects them.
  func clear(_ run: Run) throws
}

extension Contender {
  var disturbsSource: Bool { false }
  var limit: String? { nil }
  func arrange(_ run: Run) throws { if writes { try run.makeTargets() } }
  func complaint(_ programs: [Program]) -> String? { nil }
  func stop(_ run: Run, _ programs: [Program]) throws {}
  func clear(_ run: Run) throws {}
}

/// How a plugin is asked for its records.
struct PluginOptions {
  let plugin: String
  let label: String
  let key: String
  let options: [(String, String)]

  static let testDecoding = PluginOptions(.testDecoding, label: "test_decoding", key: "text")
  static let output = PluginOptions(.pgoutput, label: "pgoutput", key: "out")
  /// As a binary subscription asks for it.
  static let outputBinary = PluginOptions(
    .pgoutput, label: "pgoutput binary", key: "outbin", further: [("binary", "true")])

  /// With the options that pgconvoy asks with.
  private init(_ plugin: OutputPlugin, label: String, key: String, further: [(String, String)] = []) {
    self.plugin = plugin.rawValue
    self.label = label
    self.key = key
    options = plugin.options(publication: Workload.publication).map { ($0.name, $0.value) } + further
  }

  var isText: Bool { plugin == OutputPlugin.testDecoding.rawValue }

  /// `pg_logical_slot_get_changes` or its like, called.
  func changes(_ verb: String, slot: String, atMost count: Int? = nil) -> String {
    let function = "pg_logical_slot_\(verb)\(isText ? "" : "_binary")_changes"
    let list = options.map { "'\($0.0)', '\($0.1)'" }.joined(separator: ", ")
    return "\(function)('\(slot)', NULL, \(count.map { "\($0)" } ?? "NULL"), \(list))"
  }
}
