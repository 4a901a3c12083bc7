import Foundation
import PostgresClient

/// `CREATE SUBSCRIPTION` of PostgreSQL itself.
struct Native: Contender {
  var isBinary: Bool
  var name: String { isBinary ? "CREATE SUBSCRIPTION, binary" : "CREATE SUBSCRIPTION, text" }
  var key: String { isBinary ? "native_binary" : "native_text" }
  var writes: Bool { true }
  var limit: String? { Pull(plugin: isBinary ? .outputBinary : .output).key }

  func prepare(_ run: Run) throws { try run.makeSlots("pgoutput") }

  func arrange(_ run: Run) throws {
    try run.makeTargets()
    for database in run.databases {
      try run.target.connect(run.targetDatabase(database)).script(
        """
        CREATE SUBSCRIPTION \(run.slot(database)) CONNECTION '\(run.source.conninfo(database))' PUBLICATION \(Workload.publication)
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
