import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Ctrl-C in the middle of a base backup, and a second run beside the first.
  @Suite(.serialized) struct PlayInterrupted {
    @Test func endsTheRemoteCommandAndTakesTheCopyBack() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        // Slow enough to be in the middle for as long as it takes.
        let inventory = try readText(scenario.lab.inventoryFile)
        try writeFile(
          scenario.lab.inventoryFile,
          inventory.replacing("    databases: all\n", with: "    databases: all\n    base_backup: { max_rate: 1MB }\n"))
        let ran = try await scenario.value(.target, "SELECT pg_postmaster_start_time()")
        let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
        try await eventually("pg_basebackup runs") { !scenario.baseBackups(to: scenario.target).isEmpty }

        let second = try await scenario.start("play", Scenario.shipped("migrate"), "--yes").result()
        #expect(second.status == 1)
        #expect(
          second.output.contains("migration lab is held by pid \(play.pid) of ")
            && second.output.contains("[journal.locked]"),
          "\(second.text)")
        // Looking is not refused.
        let looking = try await scenario.start("play", Scenario.shipped("migrate"), "--check").result()
        #expect(looking.status == 0, "\(looking.text)")

        play.signal(SIGINT)
        let result = try await play.result()
        #expect(result.status == 3, "\(result.text)")
        #expect(result.output.contains("[lab] base_backup: interrupted after"))
        #expect(scenario.baseBackups(to: scenario.target).isEmpty)
        #expect(try await scenario.sql(.source, "SELECT slot_name FROM pg_replication_slots").isEmpty)
        let beside = directoryEntries(scenario.target.postgresDirectory)
        #expect(beside.filter { $0.contains("pgconvoy") } == [])
        // The target's old server has not noticed.
        #expect(try await scenario.value(.target, "SELECT pg_postmaster_start_time()") == ran)
      }
    }
  }
}
