import Foundation
import PostgresClient

/// What drains a backlog, or the part of the work that nothing can do without.
protocol Contender {
  /// As the table names it.
  var name: String { get }
  /// For the names of slots and databases: lower case, digits and underscores.
  var key: String { get }
  /// Whether it brings the changes to a target; otherwise it is a limit, and ends by itself.
  var writes: Bool { get }
  /// Before the backlog is written: makes the slot, and what else has to know where the backlog begins.
  func prepare(_ run: Run) throws
  /// Before the clock starts.
  func arrange(_ run: Run) throws
  /// The clock has started. Returns the programs whose CPU time counts.
  func start(_ run: Run) throws -> [Program]
  /// The clock has stopped.
  func stop(_ run: Run, _ programs: [Program]) throws
}

extension Contender {
  func arrange(_ run: Run) throws { if writes { try run.makeTargets() } }
  func stop(_ run: Run, _ programs: [Program]) throws {}
}

/// One drain: a contender, a workload, a round.
struct Run {
  let source: Cluster
  let target: Cluster
  let key: String
  let databases: [String]
  /// Where the backlog ends; empty before it is written.
  var end = ""

  init(_ source: Cluster, _ target: Cluster, _ databases: [String], contender: String, round: Int) {
    self.source = source
    self.target = target
    self.databases = databases
    key = "\(contender)_\(round)"
  }

  func slot(_ database: String) -> String { "\(database)_\(key)" }
  func targetDatabase(_ database: String) -> String { "\(database)_\(key)" }

  func makeSlots(_ plugin: String) throws {
    for database in databases {
      try source.connect(database).query(
        "SELECT pg_create_logical_replication_slot($1, $2)", [slot(database), plugin])
    }
  }

  func dropSlots() throws {
    let admin = try source.connect()
    for database in databases {
      try wait(for: "the slot \(slot(database)) to be free") {
        try admin.query(
          "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 AND active", [slot(database)]
        ).rowCount == 0
      }
      try admin.query(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", [slot(database)])
    }
  }

  func makeTargets() throws {
    let admin = try target.connect()
    for database in databases {
      try admin.script("CREATE DATABASE \(targetDatabase(database)) TEMPLATE \(database)")
    }
  }

  func dropTargets() throws {
    let admin = try target.connect()
    for database in databases {
      try admin.script("DROP DATABASE IF EXISTS \(targetDatabase(database)) WITH (FORCE)")
    }
  }
}

/// `CREATE SUBSCRIPTION` of PostgreSQL itself.
struct Native: Contender {
  var isBinary: Bool
  var name: String { isBinary ? "CREATE SUBSCRIPTION, binary" : "CREATE SUBSCRIPTION, text" }
  var key: String { isBinary ? "native_binary" : "native_text" }
  var writes: Bool { true }

  func prepare(_ run: Run) throws { try run.makeSlots("pgoutput") }

  func arrange(_ run: Run) throws {
    try run.makeTargets()
    for database in run.databases {
      try run.target.connect(run.targetDatabase(database)).script(
        """
        CREATE SUBSCRIPTION \(run.slot(database)) CONNECTION '\(run.source.conninfo(database))' PUBLICATION bench
          WITH (slot_name = '\(run.slot(database))', create_slot = false, copy_data = false, enabled = false,
                binary = \(isBinary))
        """)
    }
  }

  func start(_ run: Run) throws -> [Program] {
    for database in run.databases {
      try run.target.connect(run.targetDatabase(database)).script("ALTER SUBSCRIPTION \(run.slot(database)) ENABLE")
    }
    return []
  }

  func stop(_ run: Run, _ programs: [Program]) throws {
    for database in run.databases {
      let connection = try run.target.connect(run.targetDatabase(database))
      try connection.script("ALTER SUBSCRIPTION \(run.slot(database)) DISABLE")
      try connection.script("ALTER SUBSCRIPTION \(run.slot(database)) SET (slot_name = NONE)")
      try connection.script("DROP SUBSCRIPTION \(run.slot(database))")
    }
  }
}

/// pgconvoy's worker, one for each database, all in one process.
struct PgConvoy: Contender {
  let program: String
  let plugin: String
  var name: String { "pgconvoy, \(plugin)" }
  var key: String { plugin == "pgoutput" ? "pgconvoy_out" : "pgconvoy_text" }
  var writes: Bool { true }

  func prepare(_ run: Run) throws { try run.makeSlots(plugin) }

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
      plugin: plugin, lanes: try lanes(run))
    let text = String(decoding: try JSONEncoder().encode(order), as: UTF8.self)
    return [try Program(program, ["drain", text])]
  }

  func stop(_ run: Run, _ programs: [Program]) throws {
    for program in programs {
      program.closeInput()
      try program.finish()
    }
    let admin = try run.target.connect()
    for database in run.databases {
      try wait(for: "the origin to be free") {
        try admin.query(
          "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND application_name <> 'bench'",
          [run.targetDatabase(database)]
        ).rowCount == 0
      }
      try admin.query("SELECT pg_replication_origin_drop($1)", [run.slot(database)])
    }
  }
}
