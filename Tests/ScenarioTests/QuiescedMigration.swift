import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// `quiesced-migrate.yml`: services whose transactions would never let a slot be made stand still while slots are made.
  @Suite struct QuiescedMigration {
    @Test func stopsServicesForTheSlotsAndStartsThemAgain() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.script(.source, "CREATE TABLE nightly (id integer PRIMARY KEY)", in: "alpha")
        let service = scenario.workDirectory + "/nightly"
        try nightlyService(scenario, service)
        let other = try await scenario.session(.sourceApp, "alpha")
        try await other.script("BEGIN; INSERT INTO nightly VALUES (1)")

        // The target has services of its own, until its server is replaced.
        try await scenario.application("start", on: scenario.target)
        // Somebody whom no service's stop ends: the services come back, and the copy stays.
        let batch = Task { try await nightly(scenario, service) }
        try await eventually("the long transaction") { fileExists(service + ".running") }
        let failed = try await scenario.play("quiesced-migrate", expecting: 1)
        #expect(failed.text.contains("[handoff.slot-blocked]"), "\(failed.text)")
        try await batch.value
        #expect(fileExists(service + ".started"))
        #expect(try scenario.service("app", on: scenario.source) == "run")
        #expect(try scenario.service("app", on: scenario.target) == "down")
        #expect(try await scenario.status().migrations.first?.state == .standby)
        try await scenario.applicationGoesOn(by: 5)
        try await other.script("COMMIT")
        await other.close()

        unlink(service + ".started")
        let again = Task { try await nightly(scenario, service) }
        try await eventually("the long transaction") { fileExists(service + ".running") }
        let done = try await scenario.play("quiesced-migrate")
        try await again.value
        let began = ContinuousClock.now
        #expect(done.text.contains("stopped nightly, web, app"), "\(done.text)")
        #expect(done.text.contains("started app, web, nightly"), "\(done.text)")
        #expect(try scenario.service("app", on: scenario.source) == "run")
        try await scenario.applicationGoesOn(by: 5)

        // The pause for the slots is no part of the cutover's, which finds nothing to stop.
        for service in ["app", "web"] {
          let path = "\(scenario.source.serviceDirectory)/\(service)"
          let stop = try Program.run(["sv", "-w", "30", "stop", path])
          #expect(stop.status == 0, "\(stop.output)")
        }
        unlink(service + ".started")
        try await scenario.drained()
        try await scenario.expectIdentical()
        #expect(try await scenario.value(.target, "SELECT count(*) FROM nightly", in: "alpha") == "3")
        let cutover = try await scenario.play("cutover")
        let elapsed = began.duration(to: .now)
        #expect(cutover.text.contains("stop_services: already done"), "\(cutover.text)")
        let downtime = cutover.text.firstMatch(of: #/connections, (\d+) ms after the first writer/#)
          .flatMap { Int64($0.1) }
        #expect(.milliseconds(try #require(downtime)) < elapsed, "\(cutover.text)")
      }
    }

    /// A service whose start, stop and status are files: the test itself is what runs.
    private func nightlyService(_ scenario: Scenario, _ path: String) throws {
      let file = scenario.lab.inventoryFile
      let entry = """
              - name: nightly
                manager: command
                on: [source]
                start: 'touch \(path).started'
                stop: 'touch \(path).stop; for i in $(seq 300); do test -e \(path).running || break; sleep 0.1; done'
                status: 'test -e \(path).running || test -e \(path).started'
        """
      let text = try readText(file).replacing("    services:\n", with: "    services:\n\(entry)\n")
      try writeFile(file, text + "    hand_off: { lock_timeout: 2s }\n")
    }

    /// A transaction that lasts until the service is stopped.
    private func nightly(_ scenario: Scenario, _ path: String) async throws {
      let session = try await scenario.session(.sourceApp, "alpha")
      try await session.script(
        "BEGIN; INSERT INTO nightly SELECT count(*) + 10 FROM nightly; SELECT pg_current_xact_id()")
      try writeFile(path + ".running", "")
      try await eventually("the service's stop", within: .seconds(300)) { fileExists(path + ".stop") }
      try await session.script("COMMIT")
      await session.close()
      unlink(path + ".stop")
      unlink(path + ".running")
    }
  }
}
