import Foundation
import PostgresClient

/// How a plugin is asked for its records.
struct PluginOptions {
  let plugin: String
  let label: String
  let key: String
  let options: [(String, String)]

  static let testDecoding = PluginOptions(
    plugin: "test_decoding", label: "test_decoding", key: "text",
    options: [("include-xids", "on"), ("include-timestamp", "on"), ("skip-empty-xacts", "off")])
  static let output = PluginOptions(
    plugin: "pgoutput", label: "pgoutput text", key: "out",
    options: [("proto_version", "1"), ("publication_names", "bench")])
  static let outputBinary = PluginOptions(
    plugin: "pgoutput", label: "pgoutput binary", key: "outbin",
    options: [("proto_version", "1"), ("publication_names", "bench"), ("binary", "true")])
}

/// `pg_recvlogical` to /dev/null: what receiving costs.
struct Receive: Contender {
  let plugin: PluginOptions
  var name: String { "limit: pg_recvlogical, \(plugin.label)" }
  var key: String { "recv_\(plugin.key)" }
  var writes: Bool { false }

  func prepare(_ run: Run) throws { try run.makeSlots(plugin.plugin) }

  func start(_ run: Run) throws -> [Program] {
    try run.databases.map { database in
      let program = try Program(
        Cluster.bin + "/pg_recvlogical",
        run.source.address(database) + ["-S", run.slot(database), "--start", "-f", "/dev/null", "-E", run.end]
          + plugin.options.flatMap { ["-o", "\($0.0)=\($0.1)"] })
      program.closeInput()
      return program
    }
  }
}

/// `COPY (SELECT .. pg_logical_slot_get_changes(..)) TO STDOUT` to /dev/null: the fastest way to the same bytes.
struct Pull: Contender {
  let plugin: PluginOptions
  private var isText: Bool { plugin.plugin == "test_decoding" }
  var name: String { "limit: COPY of the slot's changes, \(plugin.label)" }
  var key: String { "pull_\(plugin.key)" }
  var writes: Bool { false }

  func prepare(_ run: Run) throws { try run.makeSlots(plugin.plugin) }

  func command(_ slot: String, _ function: String) -> String {
    let options = plugin.options.map { "'\($0.0)', '\($0.1)'" }.joined(separator: ", ")
    return isText
      ? "COPY (SELECT lsn, data FROM pg_logical_slot_\(function)_changes('\(slot)', NULL, NULL, \(options))) TO STDOUT"
      : "COPY (SELECT lsn, data FROM pg_logical_slot_\(function)_binary_changes('\(slot)', NULL, NULL, \(options))) TO STDOUT (FORMAT binary)"
  }

  func start(_ run: Run) throws -> [Program] {
    try run.databases.map { database in
      let program = try Program(
        Cluster.bin + "/psql",
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command(run.slot(database), "get")] + run.source.address(database))
      program.closeInput()
      return program
    }
  }
}
