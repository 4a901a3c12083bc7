import Foundation
import PostgresClient

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

/// `COPY (SELECT .. pg_logical_slot_get_changes(..)) TO STDOUT` to /dev/null: the fastest way to the same bytes. With
/// several databases one beside the other, as everybody else drains them.
struct Pull: Contender {
  let plugin: PluginOptions
  var name: String { "limit: COPY of the slot's changes, \(plugin.label)" }
  var key: String { "pull_\(plugin.key)" }
  var writes: Bool { false }

  func prepare(_ run: Run) throws { try run.makeSlots(plugin.plugin) }

  private func command(_ slot: String) -> String {
    "COPY (SELECT lsn, data FROM \(plugin.changes("get", slot: slot))) TO STDOUT"
      + (plugin.isText ? "" : " (FORMAT binary)")
  }

  func start(_ run: Run) throws -> [Program] {
    try run.databases.map { database in
      let program = try Program(
        Cluster.bin + "/psql",
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command(run.slot(database))] + run.source.address(database))
      program.closeInput()
      return program
    }
  }
}
