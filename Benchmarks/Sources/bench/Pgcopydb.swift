import Foundation
import PostgresClient

/// pgcopydb 0.10, `follow`: it receives JSON of wal2json into files, makes SQL files of them, and replays those.
struct Pgcopydb: Contender {
  private static let program = "/usr/bin/pgcopydb"
  private static let plugin = "/usr/lib/postgresql/15/lib/wal2json.so"
  /// What a subscription commits with; pgcopydb would wait for a flush with each transaction. The only way that
  /// reaches its connections.
  private static let environment = ["PGOPTIONS": "-c synchronous_commit=off"]

  let directory: String
  var name: String { "pgcopydb 0.10 follow, wal2json" }
  var key: String { "pgcopydb" }
  var writes: Bool { true }
  var disturbsSource: Bool { true }

  private func arguments(_ run: Run, _ database: String) -> [String] {
    [
      "--source", run.source.conninfo(database), "--target", run.target.conninfo(run.targetDatabase(database)), "--dir",
      "\(directory)/\(run.slot(database))", "--slot-name", run.slot(database), "--origin", run.slot(database),
      "--not-consistent",
    ]
  }

  func prepare(_ run: Run) throws {
    for file in [Self.program, Self.plugin] where !FileManager.default.fileExists(atPath: file) {
      throw BenchError("not installed: there is no \(file)")
    }
    try run.makeTargets()
    for database in run.databases {
      try bench.run(Self.program, ["stream", "setup"] + arguments(run, database))
      try bench.run(Self.program, ["stream", "sentinel", "set", "apply", "--source", run.source.conninfo(database)])
    }
  }

  func arrange(_ run: Run) throws {}

  func start(_ run: Run) throws -> [Program] {
    try run.databases.map { database in
      try Program(
        Self.program, ["follow"] + arguments(run, database) + ["--endpos", run.end, "--resume"],
        environment: Self.environment)
    }
  }

  /// Its processes go on when one of them has failed for good.
  func complaint(_ programs: [Program]) -> String? {
    for program in programs {
      if let word = program.messages.firstRange(of: " ERROR ") {
        return String(program.messages[word.upperBound...].prefix { !$0.isNewline }).trimmingCharacters(
          in: .whitespaces)
      }
    }
    return nil
  }

  func stop(_ run: Run, _ programs: [Program]) throws {
    for program in programs { program.end() }
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
