import Foundation
import PostgresClient

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

  /// Whoever still reads from a slot loses it: a failed contender must not hold up the others.
  func dropSlots() throws {
    let admin = try source.connect()
    for database in databases {
      try wait(for: "the slot \(slot(database)) to be free") {
        try admin.query(
          "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active",
          [slot(database)]
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

  /// Everything in memory, before the clock starts.
  func warmTargets() throws {
    for database in databases {
      try target.connect(targetDatabase(database)).script(
        "SELECT pg_prewarm(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't') AND relpersistence = 'p'")
    }
  }

  func dropTargets() throws {
    let admin = try target.connect()
    for database in databases {
      try admin.script("DROP DATABASE IF EXISTS \(targetDatabase(database)) WITH (FORCE)")
    }
  }
}
