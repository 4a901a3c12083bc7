import Glibc
import ReplicationModel
import Testing

@testable import Lab

extension Scenarios {
  /// `pgconvoy play migrate.yml` is killed in the middle of its steps; the same command again goes on.
  @Suite(.serialized) struct PlayKilled {
    @Test(arguments: [20_240_612]) func runsAgainToTheEnd(seed: UInt64) async throws {
      var random = SeededGenerator(seed: seed)
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        let steps = [
          ("base_backup", 0...600), ("base_backup", 300...1500), ("start_standby", 0...400),
          ("start_standby", 300...2000), ("hand_off", 0...500), ("hand_off", 300...2500), ("hand_off", 100...1500),
        ]
        var killed = 0
        try await killBaseBackupItself(scenario)
        for (step, moments) in steps {
          let pause = Int.random(in: moments, using: &random)
          let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
          if try await play.says("[lab] \(step) (") { try await Task.sleep(for: .milliseconds(pause)) }
          play.signal(SIGKILL)
          let result = try await play.result()
          let message = "\(pause) ms into \(step): \(result.text)"
          #expect(result.status == 0 || result.status == 128 + SIGKILL, "\(message)")
          if result.status != 0 { killed += 1 }
          // The source goes on serving, whatever happened.
          try await scenario.applicationGoesOn(by: 5)
        }
        #expect(killed >= 4)
        try await scenario.play("migrate")
        try await scenario.application("stop")
        try await scenario.drained()
        try await scenario.expectIdentical()
        try await scenario.expectAcknowledgedOnTarget()

        #expect(
          try await scenario.sql(
            .source, "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical' OR NOT active"
          ).isEmpty)
        let beside = directoryEntries(scenario.target.postgresDirectory)
        #expect(beside.filter { $0.hasPrefix("data.pgconvoy") && !$0.hasPrefix("data.pgconvoy-old-") } == [])
        #expect(beside.filter { $0.hasPrefix("data.pgconvoy-old-") }.count == 1)
      }
    }

    /// pgconvoy and the first of pg_basebackup's two processes are killed. The other one streams WAL, does not notice,
    /// and holds the slot for as long as its connection lives.
    private func killBaseBackupItself(_ scenario: Scenario) async throws {
      let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
      let inUse = "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND active"
      try await eventually("the copy's WAL is streamed") { try await scenario.value(.source, inUse) == "1" }
      let processes = directoryEntries("/proc").compactMap { pid_t($0) }.filter { pid in
        guard let command = readBytes("/proc/\(pid)/cmdline").map({ String(decoding: $0, as: UTF8.self) }) else {
          return false
        }
        let words = command.split(separator: "\0")
        return words.first?.hasSuffix("/pg_basebackup") == true
          && words.contains { $0.hasPrefix(scenario.target.postgresDirectory) }
      }
      play.signal(SIGKILL)
      #expect(processes.count == 2, "pg_basebackup ended before its turn")
      if let first = processes.min() { kill(first, SIGKILL) }
      _ = try await play.result()
      #expect(try await scenario.value(.source, inUse) == "1")
    }
  }
}
