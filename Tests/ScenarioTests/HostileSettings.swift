import Glibc
import Lab
import PostgresClient
import TestSupport
import Testing

extension Scenarios {
  /// A source whose administrators have set everything that could get into a migration's way, short of its being refused.
  @Suite(.serialized) struct HostileSettings {
    @Test func aMigrationGoesThroughAndLeavesOthersAlone() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await plant(scenario)
        let worker = try #require(try backgroundWorker(scenario), "no worker of pg_prewarm's")
        // Slow enough for sessions that wait to be idle for longer than the server lets others be.
        try scenario.addToMigration("base_backup: { max_rate: 8MB }")
        try await scenario.play("migrate")
        try await scenario.drained()
        try await scenario.application("stop")
        try await scenario.play(try scenario.cutoverWithoutServices())
        try await scenario.expectIdentical()
        #expect(try backgroundWorker(scenario) == worker, "the sweep has ended what is no client's")
      }
    }

    private func plant(_ scenario: Scenario) async throws {
      for (name, value) in [
        ("idle_session_timeout", "1s"), ("idle_in_transaction_session_timeout", "1s"), ("lock_timeout", "5s"),
        ("update_process_title", "off"), ("shared_preload_libraries", "pg_prewarm"),
        ("cluster_name", "app: app alpha 127.0.0.1(5): logger"), ("default_transaction_isolation", "serializable"),
      ] {
        try await scenario.sql(.source, "ALTER SYSTEM SET \(name) = \(quoted(value))")
      }
      try await scenario.script(.source, "CREATE ROLE nobody", in: "postgres")
      for (name, value) in [
        ("role", "nobody"), ("default_transaction_read_only", "on"), ("statement_timeout", "1ms"),
        ("exit_on_error", "on"), ("search_path", "nowhere"), ("client_encoding", "LATIN1"),
      ] {
        try await scenario.script(.source, "ALTER ROLE pgconvoy SET \(name) = \(quoted(value))", in: "postgres")
        try await scenario.script(
          .source, "ALTER ROLE pgconvoy IN DATABASE alpha SET \(name) = \(quoted(value))", in: "postgres")
      }
      try scenario.asServer([
        "\(scenario.lab.pgBin)/pg_ctl", "restart", "-w", "-m", "fast", "-D", scenario.source.dataDirectory, "-l",
        scenario.source.postgresLog,
      ])
      try await scenario.applicationGoesOn()
    }

    private func quoted(_ value: String) -> String { "'\(value)'" }

    /// The process of pg_prewarm's that dumps what is in the buffers: it is in no view, and does not come back.
    private func backgroundWorker(_ scenario: Scenario) throws -> pid_t? {
      guard let postmaster = PostmasterFile(dataDirectory: scenario.source.dataDirectory)?.pid else { return nil }
      return ProcessTable.snapshot().entries.first {
        $0.parent == postmaster && $0.arguments.joined().contains("autoprewarm leader")
      }?.pid
    }
  }
}
