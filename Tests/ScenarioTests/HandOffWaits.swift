import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// An open transaction holds the logical slots up; the hand-off says who it is, and gives up in good order.
  /// Then it is killed between its parts, and goes on exactly.
  @Suite(.serialized) struct HandOffWaits {
    @Test func forOpenAndPreparedTransactionsAndNamesThem() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.script(
          .source, "CREATE TABLE waited (id integer PRIMARY KEY, note text)", in: "alpha")
        let inventory = try readText(scenario.lab.inventoryFile)
        try writeFile(scenario.lab.inventoryFile, inventory + "    hand_off: { lock_timeout: 2s }\n")

        let open = try await scenario.session(.sourceApp, "alpha")
        let pid = await open.backendPID
        try await open.script("BEGIN; INSERT INTO waited VALUES (1, 'open')")
        try await scenario.play(try scenario.playbook(steps: ["preflight", "base_backup", "start_standby"]))
        let blocked = try await scenario.play("migrate", expecting: 1)
        #expect(blocked.text.contains("[handoff.slot-blocked]"), "\(blocked.text)")
        #expect(
          blocked.text.contains("pid \(pid), database alpha, ") && blocked.text.contains(#/database alpha, \d+ s, /#),
          "\(blocked.text)")
        try await expectStandbyGoesOn(scenario, marker: 100)

        try await open.script("COMMIT")
        try await open.script(
          "BEGIN; INSERT INTO waited VALUES (2, 'prepared'); PREPARE TRANSACTION 'who knows'")
        let prepared = try await scenario.play("migrate", expecting: 1)
        #expect(prepared.text.contains("[handoff.slot-blocked]"), "\(prepared.text)")
        #expect(
          prepared.text.contains(#/prepared transaction 'who knows', database alpha, \d+ s/#), "\(prepared.text)")
        try await expectStandbyGoesOn(scenario, marker: 101)

        try await open.script("COMMIT PREPARED 'who knows'")
        await open.close()
        try await killedBetweenTheParts(scenario)
        try await scenario.application("stop")
        try await scenario.drained()
        try await scenario.expectIdentical()
        try await scenario.expectAcknowledgedOnTarget()
        #expect(try await scenario.value(.target, "SELECT count(*) FROM waited", in: "alpha") == "4")
        #expect(
          try await scenario.sql(.source, "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical'")
            .isEmpty)
      }
    }

    /// The hand-off by its parts, while the application writes. Each run is killed where its next part begins; the next
    /// run starts the standby again, unless there is a restore point by then.
    private func killedBetweenTheParts(_ scenario: Scenario) async throws {
      let parts = ["make_slots", "set_restore_point", "promote_target", "seal_target", "start_sync"]
      let playbook = try scenario.playbook(steps: ["preflight", "base_backup", "start_standby"] + parts)
      for next in parts.dropFirst() {
        try await scenario.killPlay(playbook, at: "[lab] \(next) (")
        try await scenario.applicationGoesOn(by: 5)
      }
      let result = try await scenario.play(playbook)
      for done in parts.dropLast(2) { #expect(result.text.contains("\(done): already done"), "\(result.text)") }
    }

    private func expectStandbyGoesOn(_ scenario: Scenario, marker: Int) async throws {
      #expect(
        try await scenario.sql(.source, "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical'")
          .isEmpty)
      #expect(try await scenario.value(.target, "SELECT pg_is_in_recovery()") == "t")
      try await scenario.script(.sourceApp, "INSERT INTO waited VALUES (\(marker), 'later')", in: "alpha")
      try await eventually("the row on the standby") {
        try await !scenario.sql(.target, "SELECT FROM waited WHERE id = \(marker)", in: "alpha").isEmpty
      }
      #expect(try await scenario.status().migrations.first?.state == .standby)
    }
  }
}
