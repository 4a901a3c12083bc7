import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Two machines, a state directory each, and one migration.
  ///
  /// `PGCONVOY_SLEEPERS=1` has a laptop fall asleep at each step of a cutover and of a rollback.
  @Suite(.serialized) struct SeveralAdmins {
    private static let isLong = getenv("PGCONVOY_SLEEPERS") != nil
    private static let steps = [
      "wait_for_lag (", "stop_services (", "fence (", "drain (", "verify (", "confirm_fence (", "close_forward (",
      "open_way_back (", "open_target (", "start_services (",
    ]

    /// A laptop falls asleep in the middle of a cutover, with all that runs on it; another one takes over, and the first one
    /// wakes up.
    @Test func whoSleepsIsReplacedAndStopsWhenItWakesUp() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play("migrate")
        for (number, step) in (Self.isLong ? Self.steps : ["drain ("]).enumerated() {
          try await sleep(at: step, scenario, scenario.workDirectory + "/state-\(number)")
          // It goes on from where the other one is.
          try await scenario.play("rollback")
          try await scenario.applicationGoesOn(on: scenario.source)
          try await scenario.expectAcknowledged([scenario.source, scenario.target], on: .source)
        }
      }
    }

    private func sleep(at step: String, _ scenario: Scenario, _ other: String) async throws {
      let play = try scenario.start("play", Scenario.shipped("cutover"), "--yes")
      #expect(try await play.says(step), "\(step): \(play.output)")
      play.signal(SIGSTOP)
      let sync = try await scenario.status().sync.pid
      if let sync { kill(sync, SIGSTOP) }

      let told = try await cutover(scenario, other)
      #expect(told.status == 1 && told.text.contains("[migration.held]"), "\(told.text)")
      #expect(told.text.contains("pid \(play.pid)"), "\(told.text)")
      var taken = told
      try await eventually("the sleeper's silence", within: .seconds(120)) {
        taken = try await cutover(scenario, other)
        return !taken.text.contains("[migration.held]")
      }
      #expect(taken.status == 0 && taken.text.contains("taking over from"), "\(step): \(taken.text)")
      try await scenario.applicationGoesOn(on: scenario.target)

      play.signal(SIGCONT)
      if let sync { kill(sync, SIGCONT) }
      let woken = try await play.result()
      // Or its connections were broken off meanwhile, before it could ask.
      let isStopped = woken.text.contains("[truth.superseded]") || woken.text.contains("[ssh.timeout]")
      #expect(woken.status == 1 && isStopped, "\(step): \(woken.text)")
      #expect(try await scenario.refusal(.sourceApp) != nil, "\(step): \(woken.text)")
      #expect(try scenario.service("app", on: scenario.source) == "down", "\(step): \(woken.text)")
      try await scenario.applicationGoesOn(on: scenario.target)
      try await scenario.expectAcknowledgedOnTarget()
    }

    private func cutover(_ scenario: Scenario, _ state: String) async throws -> Program.Result {
      try await scenario.start("play", Scenario.shipped("cutover"), "--yes", "--state", state).result()
    }
  }
}
