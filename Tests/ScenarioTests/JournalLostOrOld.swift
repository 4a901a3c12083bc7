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
        try await scenario.play("migrate")
        let old = scenario.workDirectory + "/state-before"
        try Program.check(["cp", "-a", scenario.lab.directory + "/.pgconvoy", old])
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
        try await openedByHand(scenario)

        let lost = scenario.workDirectory + "/state-lost"
        try await refused(scenario, "migrate", lost, "truth.target-has-writers")
        try await refused(scenario, "unfence", lost, "fence.target-is-open")
        try await refused(scenario, "cutover", old, "truth.newer-elsewhere")
        try await refused(scenario, "unfence", old, "fence.target-is-open")
        try await refused(scenario, "finish", old, "truth.target-has-writers")
        // Nor by its way around the beginning, and nothing is taken back that this run has not done.
        try await refused(scenario, "cutover", old, "truth.newer-elsewhere", "--start-at", "fence")

        let before = try scenario.acknowledgedCount(scenario.target)
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try scenario.acknowledgedCount(scenario.target) > before)
        // The journal that knows goes on as ever.
        try await scenario.play("rollback")
        try await scenario.applicationGoesOn(on: scenario.source)
      }
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

    /// A play with another state directory ends with that code, and the old server stays closed.
    private func refused(
      _ scenario: Scenario, _ playbook: String, _ state: String, _ code: String, _ options: String...,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let result = try await scenario.start(
        ["play", Scenario.shipped(playbook), "--yes", "--state", state] + options
      ).result()
      #expect(
        result.status == 1 && result.text.contains("[\(code)]"), "\(playbook): \(result.text)",
        sourceLocation: sourceLocation)
      await #expect(throws: (any Error).self, "the old server lets applications in", sourceLocation: sourceLocation) {
        try await scenario.sql(.sourceApp, "SELECT 1")
      }
      #expect(try await scenario.sql(.targetApp, "SELECT 1") == [["1"]], sourceLocation: sourceLocation)
    }
  }
}
