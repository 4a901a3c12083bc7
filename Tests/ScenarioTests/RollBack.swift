import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// The applications have moved and move back: what they wrote on the new server is on the old one.
  @Suite(.serialized) struct RollBack {
    @Test func theOldServerHasEveryRowOfBothEpochsAndThenForwardAgain() async throws {
      try await Scenario.run(databases: ["opscode_chef", "bifrost"], rate: 120) { scenario in
        try await scenario.play("migrate")
        try await scenario.applicationGoesOn(by: 100)
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(by: 200, on: scenario.target)
        try await expectStreamingBack(scenario)
        let firstEpoch = try scenario.acknowledgedCount(scenario.source)

        try await scenario.play(try scenario.withoutServices("rollback"))
        try await expectIdenticalAndComplete(scenario, open: .sourceApp, closed: .targetApp)
        #expect(try scenario.acknowledgedCount(scenario.source) == firstEpoch)
        #expect(try await reverseSlots(scenario) == 0)
        try await scenario.play("rollback")
        try await expectServing(scenario, on: scenario.source, not: scenario.target)
        #expect(try await scenario.status().migrations.map(\.state) == [.rolledBack])
        #expect(try await scenario.status().migrations.map(\.direction) == [.forward])

        // A row that came back must not go round in a circle, and one that is written now must go forward.
        let secondEpoch = try scenario.acknowledgedCount(scenario.target)
        try await scenario.drained()
        try await scenario.play(try scenario.cutoverWithoutServices())
        try await expectIdenticalAndComplete(scenario, open: .targetApp, closed: .sourceApp)
        #expect(try scenario.acknowledgedCount(scenario.target) == secondEpoch)
        try await scenario.play("cutover")
        try await expectServing(scenario, on: scenario.target, not: scenario.source)
        try await expectStreamingBack(scenario)
        #expect(try await forwardSlots(scenario) == 0)
      }
    }

    /// What runs until the source is open again leaves the target serving, whatever ends it.
    @Test func aRollbackThatFailsOrIsKilledLeavesTheTargetServing() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        try await scenario.script(.source, "CREATE TABLE planted (id integer PRIMARY KEY)", in: "alpha")
        try await scenario.play("migrate")
        let tooEarly = try await scenario.play("rollback", expecting: 1)
        #expect(tooEarly.text.contains("[migration.not-cut-over]"), "\(tooEarly.text)")
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)

        try await theDrainDoesNotEnd(scenario)
        try await aRowWasPlanted(scenario)
        try await theSourceIsNotUnfenced(scenario)
        try await theWorkersHadBeenTurnedRound(scenario)
        for moment in ["fence: changed", "close_reverse (", "open_way_forward ("] {
          try await kill(scenario, at: moment)
        }
        // As one that is killed behind the last of these.
        try await scenario.play(try upToTheLastPointOfReturn(scenario))
        try await scenario.play(try scenario.withoutServices("rollback"))
        try await expectIdenticalAndComplete(scenario, open: .sourceApp, closed: .targetApp)
        try await scenario.play("rollback")
        try await expectServing(scenario, on: scenario.source, not: scenario.target)
      }
    }

    /// Killed behind the point of no return, only the end is left: the source open, the target fenced, both complete.
    @Test func killedAsTheSourceOpensItGoesOn() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play("migrate")
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(by: 50, on: scenario.target)
        let play = try scenario.start("play", try scenario.withoutServices("rollback"), "--yes")
        try await eventually("the point of no return") {
          try await scenario.status().migrations.first?.state == .rolledBack
        }
        play.signal(SIGKILL)
        _ = try await play.result()
        try await scenario.play(try scenario.withoutServices("rollback"))
        try await expectIdenticalAndComplete(scenario, open: .sourceApp, closed: .targetApp)
        try await scenario.play("rollback")
        try await expectServing(scenario, on: scenario.source, not: scenario.target)
      }
    }

    // MARK: what goes wrong

    private func theDrainDoesNotEnd(_ scenario: Scenario) async throws {
      let sync = try await scenario.syncPID()
      defer { Glibc.kill(sync, SIGCONT) }
      let play = try scenario.start("play", try scenario.hasty("rollback"), "--yes")
      #expect(try await play.says("stop_services (3/"))
      Glibc.kill(sync, SIGSTOP)
      let result = try await play.result()
      #expect(result.status == 1, "\(result.text)")
      #expect(result.text.contains("[drain.deadline]"), "\(result.text)")
      Glibc.kill(sync, SIGCONT)
      try await expectServing(scenario, on: scenario.target, not: scenario.source)
      try await expectStreamingBack(scenario)
    }

    private func aRowWasPlanted(_ scenario: Scenario) async throws {
      try await scenario.script(.source, "INSERT INTO planted VALUES (1)", in: "alpha")
      let result = try await scenario.play("rollback", expecting: 1)
      #expect(result.text.contains("[verify.differs]"), "\(result.text)")
      #expect(result.text.contains("the target still has everything"), "\(result.text)")
      try await expectServing(scenario, on: scenario.target, not: scenario.source)
      try await scenario.script(.source, "DELETE FROM planted", in: "alpha")
    }

    /// In the middle of a rollback, the fence that may be lifted is the target's, from whatever machine.
    private func theSourceIsNotUnfenced(_ scenario: Scenario) async throws {
      try await kill(scenario, at: "drain: changed")
      let elsewhere = "\(scenario.workDirectory)/elsewhere-\(HandOffNames.random().nonce)"
      let other = try await scenario.play("cutover", expecting: 1)
      #expect(other.text.contains("[migration.cut-over]"), "\(other.text)")
      let lifted = try await scenario.start(
        "play", Scenario.shipped("unfence"), "--yes", "--state", elsewhere
      ).result()
      #expect(lifted.status == 0, "\(lifted.text)")
      try await expectServing(scenario, on: scenario.target, not: scenario.source)
      try await scenario.play("unfence")
      try await expectServing(scenario, on: scenario.target, not: scenario.source)
    }

    /// Called off by hand a moment before the source would have opened.
    private func theWorkersHadBeenTurnedRound(_ scenario: Scenario) async throws {
      try await scenario.play(try upToTheLastPointOfReturn(scenario))
      #expect(try await scenario.status().migrations.map(\.state) == [.drained])
      #expect(try await forwardSlots(scenario) == scenario.databases.count)
      try await scenario.play("unfence")
      try await expectServing(scenario, on: scenario.target, not: scenario.source)
      try await expectStreamingBack(scenario)
      #expect(try await forwardSlots(scenario) == 0)
    }

    private func upToTheLastPointOfReturn(_ scenario: Scenario) throws -> String {
      try scenario.playbook("rollback") { text in
        var lines = text.split(separator: "\n")
        lines.removeSubrange((lines.firstIndex { $0.contains("- open_source") } ?? lines.endIndex)...)
        return lines.joined(separator: "\n") + "\n"
      }
    }

    private func kill(_ scenario: Scenario, at text: String) async throws {
      let play = try scenario.start("play", try scenario.withoutServices("rollback"), "--yes")
      let reached = try await play.says(text)
      #expect(reached, "never said: \(text)")
      Glibc.kill(play.pid, SIGKILL)
      #expect(try await play.result().status == 128 + SIGKILL)
    }

    // MARK: what must hold

    private func expectIdenticalAndComplete(
      _ scenario: Scenario, open: Scenario.Role, closed: Scenario.Role
    ) async throws {
      #expect(try await scenario.refusal(open) == nil)
      #expect(try await scenario.refusal(closed)?.code == "postgres.hba-rejects")
      try await scenario.expectIdentical(sequences: true)
      for role in [Scenario.Role.source, .target] {
        try await scenario.expectAcknowledged([scenario.source, scenario.target], on: role)
      }
    }

    private func expectServing(_ scenario: Scenario, on host: LabHost, not other: LabHost) async throws {
      let isSource = host.name == scenario.source.name
      #expect(try await scenario.refusal(isSource ? .sourceApp : .targetApp) == nil)
      #expect(try await scenario.refusal(isSource ? .targetApp : .sourceApp)?.code == "postgres.hba-rejects")
      for service in ["app", "web"] {
        #expect(try scenario.service(service, on: host) == "run")
        #expect(try scenario.service(service, on: other) == "down")
      }
      try await scenario.applicationGoesOn(on: host)
    }

    /// The status says so, and a row that is written on the target arrives at the fenced source.
    private func expectStreamingBack(_ scenario: Scenario) async throws {
      var last: [DatabaseStatus] = []
      do {
        try await eventually("every worker streaming back") {
          last = try await scenario.status().migrations.first?.databases ?? []
          // Under load one of them is always a little behind.
          return !last.isEmpty
            && last.allSatisfy { [.streaming, .catchingUp].contains($0.phase) && $0.direction == .reverse }
        }
      } catch {
        Issue.record("\(last)")
        throw error
      }
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.state == .cutOver)
      #expect(status.direction == .reverse)
      #expect(status.sourceFenced == true)
      #expect(status.targetFenced == false)
      let database = scenario.lab.databases[0]
      let token = "back-\(HandOffNames.random().nonce)"
      try await scenario.sql(.targetApp, "INSERT INTO app_ledger VALUES ($1)", [token], in: database)
      try await eventually("the row on the old server") {
        try await !scenario.sql(.source, "SELECT 1 FROM app_ledger WHERE token = $1", [token], in: database).isEmpty
      }
    }

    private func reverseSlots(_ scenario: Scenario) async throws -> Int {
      try await scenario.sql(
        .target, "SELECT 1 FROM pg_replication_slots WHERE slot_name LIKE 'pgconvoy%'"
      ).count
    }

    private func forwardSlots(_ scenario: Scenario) async throws -> Int {
      try await scenario.sql(
        .source, "SELECT 1 FROM pg_replication_slots WHERE slot_name LIKE 'pgconvoy%'"
      ).count
    }
  }
}
