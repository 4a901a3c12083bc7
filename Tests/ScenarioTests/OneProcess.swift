import Glibc
import Lab
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// Two sync processes with state directories of their own: one has the migration, and the other one waits for it.
  @Suite struct OneProcess {
    @Test func aSecondProcessWaitsUntilTheFirstHasGone() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.killSync()
      let copy = scenario.workDirectory + "/copied-state"
      try Program.check(["cp", "-r", scenario.lab.directory + "/.pgconvoy", copy])
      let first = try scenario.start("sync")
      try await eventually("the first one's workers") { first.errors.contains("workers started") }

      let second = try Program([Scenario.program, "sync", "-i", scenario.lab.inventoryFile, "--state", copy])
      defer {
        // What it was waiting for.
        if !second.errors.contains("workers started") { Issue.record("\(second.errors)") }
        second.end()
      }
      try await eventually("the second one's word") { second.errors.contains("another sync process has the migration") }
      #expect(second.errors.contains("pgconvoy sync"), "\(second.errors)")
      try await scenario.drained()
      let readers = try await readers(scenario)
      #expect(!readers.isEmpty && !second.errors.contains("workers started"), "\(second.errors)")
      #expect(!first.errors.contains("workers stopped"), "\(first.errors)")

      first.signal(SIGKILL)
      _ = try await first.result()
      // A host that was out of reach is tried again after a minute.
      try await eventually("the second one's workers", within: .seconds(120)) {
        second.errors.contains("workers started")
      }
      try await scenario.drained()
      second.end()
      try await scenario.play("migrate")
      try await scenario.drained()
    }

    private func readers(_ scenario: Scenario) async throws -> [[String]] {
      try await scenario.sql(
        .source,
        "SELECT slot_name, active_pid FROM pg_replication_slots WHERE active AND slot_type = 'logical' ORDER BY 1")
    }
  }
}
