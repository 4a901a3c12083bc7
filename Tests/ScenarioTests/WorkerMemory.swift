import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// The sync process's memory is that of its batches and queues, however large a transaction is and however many wait.
  ///
  /// `PGCONVOY_MEMORY_ROWS=10000000` sets how many rows the one transaction changes; a tenth as many small transactions
  /// follow it.
  @Suite struct WorkerMemory {
    private static let limit = 150 << 10
    private static let tables = """
      CREATE TABLE many_rows (id bigint PRIMARY KEY, filler text NOT NULL);
      CREATE TABLE many_small (id bigint PRIMARY KEY, filler text NOT NULL);
      """

    @Test func staysBelowItsLimit() async throws {
      let rows = getenv("PGCONVOY_MEMORY_ROWS").flatMap { Int(String(cString: $0)) } ?? 100_000
      // The stream is several times as large as what the process may have, at any scale.
      let filler = max(20, 400_000_000 / rows)
      let patience = Duration.seconds(240 + rows / 2000)
      try await Scenario.run(databases: ["alpha"], rate: 5) { scenario in
        try await scenario.script(.source, Self.tables, in: "alpha")
        try await scenario.play("migrate")

        for work in [oneTransaction(rows, filler), smallTransactions(rows / 10, filler)] {
          try await scenario.killSync()
          let session = try await scenario.session(.source, "alpha")
          try await session.script("SET synchronous_commit = off", within: .seconds(10))
          for statement in work.statements { try await session.script(statement, within: patience) }
          await session.close()
          let sync = try scenario.start("sync")
          try await scenario.drained(within: patience)
          let peak = try peakKilobytes(sync.pid)
          print("memory: \(work.name): peak of the sync process \(peak >> 10) MB")
          #expect(peak < Self.limit, "\(work.name)")
          sync.signal(SIGTERM)
          let ended = try await sync.result()
          #expect([0, 3].contains(ended.status), "\(ended.text)")
        }
        let sums = "SELECT count(*), sum(id), sum(length(filler)) FROM"
        for table in ["many_rows", "many_small"] {
          let source = try await scenario.sql(.source, "\(sums) \(table)", in: "alpha")
          #expect(try await scenario.sql(.target, "\(sums) \(table)", in: "alpha") == source)
          #expect(source[0][0] != "0")
        }
      }
    }

    private struct Work {
      var name: String
      var statements: [String]
    }

    private func oneTransaction(_ rows: Int, _ filler: Int) -> Work {
      let inserted = rows / 10 * 9
      return Work(
        name: "one transaction of \(rows) rows",
        statements: [
          "BEGIN", "INSERT INTO many_rows SELECT n, repeat('x', \(filler)) FROM generate_series(1, \(inserted)) n",
          "UPDATE many_rows SET filler = repeat('y', \(filler)) WHERE id <= \(rows - inserted)", "COMMIT",
        ])
    }

    private func smallTransactions(_ count: Int, _ filler: Int) -> Work {
      Work(
        name: "\(count) small transactions",
        statements: [
          """
          DO $$ BEGIN
            FOR n IN 1..\(count) LOOP
              INSERT INTO many_small SELECT n * 10 + i, repeat('x', \(filler)) FROM generate_series(0, 2) i;
              UPDATE many_small SET filler = repeat('y', \(filler)) WHERE id = n * 10 - 9;
              COMMIT;
            END LOOP;
          END $$
          """
        ])
    }

    /// The most that the process ever had in memory.
    private func peakKilobytes(_ pid: pid_t) throws -> Int {
      let line = try #require(
        readText("/proc/\(pid)/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
      return try #require(Int(line.split(separator: " ").dropFirst().first ?? ""))
    }
  }
}
