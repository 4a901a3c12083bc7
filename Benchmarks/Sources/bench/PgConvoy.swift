import Foundation
import PostgresClient
import ReplicationModel

/// pgconvoy's worker, one for each database, all in one process.
struct PgConvoy: Contender {
  let program: String
  let plugin: PluginOptions
  var name: String { "pgconvoy, \(plugin.label)" }
  var key: String { "pgconvoy_\(plugin.key)" }
  var writes: Bool { true }
  var limit: String? { Pull(plugin: plugin).key }

  func prepare(_ run: Run) throws { try run.makeSlots(plugin.plugin) }

  func arrange(_ run: Run) throws {
    try run.makeTargets()
    let admin = try run.target.connect()
    for lane in try lanes(run) {
      try admin.query("SELECT pg_replication_origin_create($1)", [lane.origin])
      try admin.query("SELECT pg_replication_origin_advance($1, $2::pg_lsn)", [lane.origin, lane.start])
    }
  }

  private func lanes(_ run: Run) throws -> [Lane] {
    let rows = try run.source.connect().query(
      "SELECT database, slot_name, datoid, confirmed_flush_lsn FROM pg_replication_slots"
    ).rows
    return try run.databases.map { database in
      guard let row = rows.first(where: { $0.string(1) == run.slot(database) }) else {
        throw BenchError("no slot \(run.slot(database))")
      }
      return Lane(
        source: database, target: run.targetDatabase(database), databaseOID: UInt32(row.string(2)) ?? 0,
        slot: run.slot(database), origin: run.slot(database), start: row.string(3))
    }
  }

  func start(_ run: Run) throws -> [Program] {
    let order = DrainOrder(
      sourcePort: run.source.port, targetPort: run.target.port,
      systemIdentifier: try run.source.connect().query("SELECT system_identifier FROM pg_control_system()").first ?? "",
      lanes: try lanes(run))
    let text = String(decoding: try JSONEncoder().encode(order), as: UTF8.self)
    return [try Program(program, ["drain", text])]
  }

  func stop(_ run: Run, _ programs: [Program]) throws {
    for program in programs {
      program.closeInput()
      try program.finish(within: 60)
    }
    let admin = try run.target.connect()
    for database in run.databases {
      try wait(for: "the origin to be free") {
        try admin.query(
          "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND application_name <> 'bench'",
          [run.targetDatabase(database)]
        ).rowCount == 0
      }
      try admin.query(
        "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname IN ($1, $2)",
        [run.slot(database), HandOffNames.secondOrigin(beside: run.slot(database))])
    }
  }
}
