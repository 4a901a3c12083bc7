import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// One inventory, six migrations in batches of three, and a host that dies on the way.
  ///
  /// `PGCONVOY_FLEET=12` has twelve; each migration has two servers of its own.
  @Suite(.serialized) struct FleetRollout {
    private static let count = max(3, getenv("PGCONVOY_FLEET").flatMap { Int(String(cString: $0)) } ?? 6)

    @Test func oneHostDiesAndTheOthersFinish() async throws {
      try await withScenarios(Self.count) { scenarios in
        let work = scenarios[0].workDirectory
        let inventory = work + "/fleet.yml"
        try writeFile(inventory, try fleet(scenarios))
        let playbook = work + "/rollout.yml"
        try writeFile(
          playbook,
          """
          - name: rollout
            migrations: fleet
            serial: 3
            max_failures: 1
            steps: [preflight, base_backup, start_standby, hand_off, start_sync]
          """)
        // The labs know nothing of the process that serves all of them.
        defer { endSync(inventory) }
        let play = try Program([Scenario.program, "play", playbook, "-i", inventory, "--yes", "--forks", "3"])
        #expect(try await play.says("[m2] base_backup (", within: .seconds(300)))
        for pid in scenarios[1].sshdListeners(scenarios[1].target) {
          let children = scenarios[1].children(of: pid)
          for process in [pid] + children { kill(process, SIGKILL) }
        }
        let result = try await play.result()
        #expect(result.status == 1, "\(result.text)")

        let recap = result.output.split(separator: "\n").drop { !$0.hasPrefix("PLAY RECAP") }
          .map { $0.split(separator: " ").map(String.init) }
        for number in 1...Self.count {
          let row = recap.first { $0.first == "m\(number)" }
          #expect(row?[1] == (number == 2 ? "failed" : "ok"), "m\(number): \(result.text)")
          let target = recap.first { $0.first == "m\(number)-target" }
          #expect(
            target.map { Array($0.suffix(2)) } == (number == 2 ? ["0", "1"] : ["0", "0"]),
            "m\(number)-target: \(result.text)")
        }

        // The dead host's source is as it was; every other migration is up to date, its application at work.
        #expect(try await scenarios[1].sql(.source, "SELECT slot_name FROM pg_replication_slots").isEmpty)
        for (index, scenario) in scenarios.enumerated() {
          try await scenario.applicationGoesOn(by: 5)
          if index != 1 { try await scenario.drained() }
        }
        // Run again for the others only: nothing is left to do.
        let again = try await Program([
          Scenario.program, "play", playbook, "-i", inventory, "--yes", "--limit", "fleet,!m2",
        ]).result()
        #expect(again.status == 0 && !again.output.contains("changed in"), "\(again.text)")
      }
    }

    private func endSync(_ inventory: String) {
      for entry in ProcessTable.snapshot().entries
      where entry.arguments.contains("sync") && entry.arguments.contains(inventory) {
        kill(entry.pid, SIGKILL)
      }
    }

    private func withScenarios(
      _ count: Int, _ made: [Scenario] = [], _ body: ([Scenario]) async throws -> Void
    ) async throws {
      if made.count == count { return try await body(made) }
      try await Scenario.run(databases: ["alpha"], rate: 10) { scenario in
        try await withScenarios(count, made + [scenario], body)
      }
    }

    /// The labs' inventories as one, their hosts and migrations numbered.
    private func fleet(_ scenarios: [Scenario]) throws -> String {
      var hosts = ""
      var migrations = ""
      for (index, scenario) in scenarios.enumerated() {
        let text = try readText(scenario.lab.inventoryFile)
          .replacing("  lab-source:\n", with: "  m\(index + 1)-source:\n")
          .replacing("  lab-target:\n", with: "  m\(index + 1)-target:\n")
          .replacing(": lab-source\n", with: ": m\(index + 1)-source\n")
          .replacing(": lab-target\n", with: ": m\(index + 1)-target\n")
          .replacing("\n  lab:\n", with: "\n  m\(index + 1):\n")
        let start = try #require(text.firstRange(of: "hosts:\n"))
        let middle = try #require(text.firstRange(of: "migrations:\n"))
        hosts += text[start.upperBound..<middle.lowerBound]
        migrations += text[middle.upperBound...]
      }
      let names = scenarios.indices.map { "m\($0 + 1)" }
      return """
        hosts:
        \(hosts)migrations:
        \(migrations)groups:
          fleet: [\(names.joined(separator: ", "))]
          first: [m1]
          others: [\(names.dropFirst().joined(separator: ", "))]

        """
    }
  }
}
