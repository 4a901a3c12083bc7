import Glibc
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A cutover that cannot be finished leaves the source serving as before, and the next one may succeed.
  @Suite(.serialized) struct CutoverCalledOff {
    @Test func leavesTheSourceServing() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        try await scenario.script(.source, "CREATE TABLE planted (id integer PRIMARY KEY)", in: "alpha")
        try await scenario.play("migrate")
        try await nobodyIsThereToAnswer(scenario)
        try await nothingIsApplied(scenario)
        try await theDrainDoesNotEnd(scenario)
        try await aRowWasPlanted(scenario)
        try await itWasKilledBehindTheFence(scenario)
        try await itWasKilledAsTheWorkersEnded(scenario)

        try await scenario.play(try scenario.cutoverWithoutServices())
        try await scenario.expectIdentical(sequences: true)
        try await scenario.expectAcknowledgedOnTarget()
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    /// Without a terminal and without --yes nobody is held up: every question comes before the first step.
    private func nobodyIsThereToAnswer(_ scenario: Scenario) async throws {
      let result = try await scenario.start("play", Scenario.shipped("cutover")).result()
      #expect(result.status == 1 && result.text.contains("[playbook.not-confirmed]"), "\(result.text)")
      #expect(result.text.contains("writers wait: 'pgconvoy verify' beforehand says for how long"), "\(result.text)")
      #expect(!result.text.contains("(1/"), "\(result.text)")
      #expect(try scenario.service("app", on: scenario.source) == "run")
    }

    /// Status never says healthy: with a server down, and from the moment on in which the sync process is gone.
    private func nothingIsApplied(_ scenario: Scenario) async throws {
      func word(_ host: String) async throws -> Program.Result {
        try await eventually("\(host) is missed") {
          let status = try await scenario.status("alpha")
          return status.phase == .unreachable && status.lastError?.contains("refused") == true
            && status.lagSeconds ?? 0 > 0
        }
        return try await scenario.start("status", "--exit-code").result()
      }
      try await scenario.control(scenario.target, "stop", "-m", "fast")
      var told = try await word("the target")
      #expect(told.status == 1 && told.errors.contains("alpha: unreachable"), "\(told.text)")
      try await scenario.startServer(scenario.target)
      try await scenario.drained()
      try await scenario.control(scenario.source, "stop", "-m", "fast")
      told = try await word("the source")
      #expect(told.status == 1 && told.errors.contains("alpha: unreachable"), "\(told.text)")
      try await scenario.startServer(scenario.source)
      try await scenario.drained()

      _ = Glibc.kill(try await scenario.syncPID(), SIGKILL)
      try await eventually("the process's end") { try await !scenario.status().sync.running }
      #expect(try await scenario.status("alpha").phase == .stopped)
      let refused = try await scenario.play("cutover", expecting: 1)
      #expect(refused.text.contains("[cutover.no-sync]"), "\(refused.text)")
      try await scenario.play("migrate")
      try await scenario.drained()
    }

    /// The workers are stopped (not dead: their lock, their slots and their origins stay taken) as the cutover begins.
    private func theDrainDoesNotEnd(_ scenario: Scenario) async throws {
      let sync = try await scenario.syncPID()
      defer { Glibc.kill(sync, SIGCONT) }
      let play = try scenario.start("play", try scenario.hasty("cutover"), "--yes")
      #expect(try await play.says("stop_services (3/"))
      Glibc.kill(sync, SIGSTOP)
      let result = try await play.result()
      #expect(result.status == 1, "\(result.text)")
      #expect(result.text.contains("[drain.deadline]"), "\(result.text)")
      try await expectServing(scenario)
      Glibc.kill(sync, SIGCONT)
      try await scenario.drained()
    }

    private func aRowWasPlanted(_ scenario: Scenario) async throws {
      try await scenario.script(.target, "INSERT INTO planted VALUES (1)", in: "alpha")
      let result = try await scenario.play("cutover", expecting: 1)
      #expect(result.text.contains("[verify.differs]"), "\(result.text)")
      #expect(result.text.contains("planted"), "\(result.text)")
      try await expectServing(scenario)
      try await scenario.script(.target, "DELETE FROM planted", in: "alpha")
    }

    /// The next run finds services and fence as the killed one left them; when it fails, it takes those back as well.
    private func itWasKilledBehindTheFence(_ scenario: Scenario) async throws {
      try await scenario.script(.target, "INSERT INTO planted VALUES (2)", in: "alpha")
      try await kill(scenario, at: "fence: changed")
      let result = try await scenario.play("cutover", expecting: 1)
      #expect(result.text.contains("fence: already done"), "\(result.text)")
      #expect(result.text.contains("[verify.differs]"), "\(result.text)")
      try await expectServing(scenario)
      try await scenario.script(.target, "DELETE FROM planted", in: "alpha")
    }

    /// In the middle of the drain; then as the workers have been told to end, which the next run needs
    /// again, and goes through.
    private func itWasKilledAsTheWorkersEnded(_ scenario: Scenario) async throws {
      try await kill(scenario, at: "drain (")
      try await kill(scenario, at: "close_forward (")
    }

    private func kill(_ scenario: Scenario, at text: String) async throws {
      let play = try scenario.start("play", try scenario.cutoverWithoutServices(), "--yes")
      #expect(try await play.says(text))
      Glibc.kill(play.pid, SIGKILL)
      #expect(try await play.result().status == 128 + SIGKILL)
    }

    private func expectServing(_ scenario: Scenario) async throws {
      #expect(try await scenario.refusal(.sourceApp) == nil)
      #expect(try await scenario.refusal(.targetApp)?.code == "postgres.hba-rejects")
      for service in ["app", "web"] {
        #expect(try scenario.service(service, on: scenario.source) == "run")
        #expect(try scenario.service(service, on: scenario.target) == "down")
      }
      try await scenario.applicationGoesOn()
      let status = try await scenario.status()
      #expect(status.migrations.map(\.state) == [.handedOff])
    }
  }
}
