import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// What the journal says is not what the servers are: it was lost, or is a copy from before the cutover.
  ///
  /// Nothing that such a journal leads to may replace, put back or open anything over a server that takes writes.
  @Suite(.serialized) struct JournalLostOrOld {
    @Test func behindACutoverNothingIsReplacedPutBackOrOpened() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play(try scenario.playbook(steps: ["preflight", "base_backup"]))
        let copied = try copyOfState(scenario, "copied")
        try await scenario.play("migrate")
        let old = try copyOfState(scenario, "before")
        try await inTheMiddleOfACutover(scenario)
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
        try await openedByHand(scenario)

        let lost = scenario.workDirectory + "/state-lost"
        try await refused(scenario, "migrate", lost, "truth.target-has-writers", by: "base_backup")
        try await refused(scenario, "unfence", lost, "fence.target-is-open", by: "unfence")
        try await refused(scenario, "cutover", old, "truth.newer-elsewhere", by: "wait_for_lag")
        try await refused(scenario, "unfence", old, "fence.target-is-open", by: "unfence")
        try await refused(scenario, "finish", old, "truth.target-has-writers", by: "stop_sync")
        try await refused(scenario, "finish", old, "truth.target-has-writers", by: "clean_up", "--check")
        // Nor by its way around the beginning, and nothing is taken back that this run has not done.
        try await refused(scenario, "cutover", old, "truth.newer-elsewhere", by: "fence", "--start-at", "fence")
        try await refused(
          scenario, "migrate", copied, "truth.target-has-writers", by: "start_standby", "--start-at", "start_standby")

        let before = try scenario.acknowledgedCount(scenario.target)
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try scenario.acknowledgedCount(scenario.target) > before)
        // The journal that knows goes on as ever.
        try await scenario.play("rollback")
        try await scenario.applicationGoesOn(on: scenario.source)
      }
    }

    /// What this machine knows of the migration now.
    private func copyOfState(_ scenario: Scenario, _ name: String) throws -> String {
      let copy = "\(scenario.workDirectory)/state-\(name)"
      try Program.check(["cp", "-a", scenario.lab.directory + "/.pgconvoy", copy])
      return copy
    }

    /// Who begins anew beside a cutover that is under way finds nobody open, and must not take the source for the truth.
    private func inTheMiddleOfACutover(_ scenario: Scenario) async throws {
      try await scenario.killPlay(Scenario.shipped("cutover"), at: "drain (")
      let anew = ["play", Scenario.shipped("migrate"), "--yes", "--state", scenario.workDirectory + "/state-anew"]
      let result = try await scenario.start(anew).result()
      let refusal = result.text.split(separator: "\n").first { $0.contains("[truth.source-has-open-target]") } ?? ""
      #expect(result.status == 1 && refusal.contains("step base_backup: "), "\(result.text)")
      #expect(try await scenario.refusal(.targetApp) != nil)
    }

    /// Somebody takes the block out of the old server's pg_hba.conf, and puts it back.
    private func openedByHand(_ scenario: Scenario) async throws {
      let hba = scenario.source.dataDirectory + "/pg_hba.conf"
      let block = "/^# pgconvoy fence begin/,/^# pgconvoy fence end/d"
      try scenario.asServer(["/usr/bin/sed", "-i.kept", block, hba])
      try await scenario.control(scenario.source, "reload")
      try await eventually("the old server's opening") { try await scenario.refusal(.sourceApp) == nil }
      for name in ["finish", "rollback"] {
        let result = try await scenario.play(name, expecting: 1)
        #expect(result.text.contains("[truth.newer-elsewhere]"), "\(name): \(result.text)")
        #expect(result.text.contains("so does lab-target: was pgconvoy's block taken out"), "\(name): \(result.text)")
      }
      try scenario.asServer(["/usr/bin/mv", hba + ".kept", hba])
      try await scenario.control(scenario.source, "reload")
      try await eventually("the old server's closing") { try await scenario.refusal(.sourceApp) != nil }
    }

    /// A play with another state directory is refused by that step with that code, and the old server stays closed.
    private func refused(
      _ scenario: Scenario, _ playbook: String, _ state: String, _ code: String, by step: String, _ options: String...,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let result = try await scenario.start(
        ["play", Scenario.shipped(playbook), "--yes", "--state", state] + options
      ).result()
      let refusal = result.text.split(separator: "\n").first { $0.contains("[\(code)]") } ?? ""
      #expect(
        result.status == 1 && refusal.contains("step \(step): "), "\(playbook): \(result.text)",
        sourceLocation: sourceLocation)
      await #expect(throws: (any Error).self, "the old server lets applications in", sourceLocation: sourceLocation) {
        try await scenario.sql(.sourceApp, "SELECT 1")
      }
      #expect(try await scenario.sql(.targetApp, "SELECT 1") == [["1"]], sourceLocation: sourceLocation)
    }
  }
}
