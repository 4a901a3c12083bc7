import Lab
import ReplicationModel
import TestSupport
import Testing

@testable import Journal

extension Scenarios {
  /// What the journal says is not what the servers are: it was lost, is a copy from before, or another machine's.
  ///
  /// Whatever it is, nothing is replaced, put back or opened over a server that takes writes, and no acknowledged commit is
  /// missing from the server that is open.
  @Suite(.serialized) struct JournalLostOrOld {
    @Test func anyJournalIsBroughtUpToDate() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play("migrate")
        let old = try copyOfState(scenario, "before")
        try await expectInStep(scenario, "handed_off")
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)

        // Nothing is left to do for the one that lost its journal, nor for the one with an old copy.
        let lost = scenario.workDirectory + "/state-lost"
        for (playbook, state) in [("migrate", lost), ("cutover", try copyOfState(scenario, "older", of: old))] {
          try await expectOpen(.target, behind: playbook, state, scenario)
        }
        // Nor is there a fence around the server that serves, which is known again.
        for state in [try copyOfState(scenario, "unfencing", of: old), scenario.workDirectory + "/state-fresh"] {
          try await expectOpen(.target, behind: "unfence", state, scenario)
        }

        // Another machine goes back, the first one follows, and goes forward again.
        try await play(scenario, "rollback", state: lost)
        try await scenario.applicationGoesOn(on: scenario.source)
        try await expectInStep(scenario, "rolled_back")
        #expect(try await scenario.status().migrations.first?.direction == .forward)
        try await expectOpen(.source, behind: "rollback", old, scenario)
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)

        // The oldest one ends it: what applications write to stays.
        let before = try scenario.acknowledgedCount(scenario.target)
        try await play(scenario, "finish", state: old)
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try scenario.acknowledgedCount(scenario.target) > before)
        for role in [Scenario.Role.source, .target] {
          #expect(try await scenario.sql(role, Self.schemas) == [])
        }
        try await scenario.expectAcknowledgedOnTarget()
        // The first one's journal is of a migration that nobody knows any more.
        let result = try await scenario.start("play", Scenario.shipped("rollback"), "--yes").result()
        #expect(result.status == 1 && result.text.contains("[truth.contradiction]"), "\(result.text)")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    /// Somebody has removed the records, too: then the servers themselves are asked.
    @Test func behindACutoverNothingIsReplacedPutBackOrOpened() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play(try scenario.playbook(steps: ["preflight", "base_backup"]))
        let copied = try copyOfState(scenario, "copied")
        try await scenario.play("migrate")
        let old = try copyOfState(scenario, "before")
        try await scenario.killPlay(Scenario.shipped("cutover"), at: "drain (")
        try await withoutRecords(scenario) { try await inTheMiddleOfACutover(scenario) }
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
        try await openedByHand(scenario)

        // Of the version before, which has never been on a server.
        for state in [copied, old] { try asOfTheVersionBefore(state) }
        try await withoutRecords(scenario) {
          let lost = scenario.workDirectory + "/state-lost"
          try await refused(scenario, "migrate", lost, "truth.target-has-writers", by: "base_backup")
          try await refused(
            scenario, "migrate", lost, "truth.target-has-writers", by: "base_backup", "--discard", "0123456789ab")
          try await mayBeDiscarded(scenario, lost)
          try await refused(scenario, "unfence", lost, "fence.target-is-open", by: "unfence")
          try await refused(scenario, "cutover", old, "truth.newer-elsewhere", by: "wait_for_lag")
          try await refused(scenario, "unfence", old, "fence.target-is-open", by: "unfence")
          try await refused(scenario, "finish", old, "truth.target-has-writers", by: "stop_sync")
          try await refused(scenario, "finish", old, "truth.target-has-writers", by: "clean_up", "--check")
          // Nor by its way around the beginning, and nothing is taken back that this run has not done.
          try await refused(scenario, "cutover", old, "truth.newer-elsewhere", by: "fence", "--start-at", "fence")
          try await refused(
            scenario, "migrate", copied, "truth.target-has-writers", by: "start_standby", "--start-at", "start_standby")
        }

        let before = try scenario.acknowledgedCount(scenario.target)
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try scenario.acknowledgedCount(scenario.target) > before)
        // The journal that knows goes on as ever.
        try await scenario.play("rollback")
        try await scenario.applicationGoesOn(on: scenario.source)
      }
    }

    /// The journal of the version before, in the middle of a migration: it becomes the record.
    @Test func aJournalOfTheVersionBeforeIsTakenOver() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play("migrate")
        try await scenario.killSync()
        for role in [Scenario.Role.source, .target] {
          try await scenario.sql(role, "DROP SCHEMA pgconvoy_record CASCADE")
        }
        try asOfTheVersionBefore(scenario.lab.directory + "/.pgconvoy")
        try await scenario.play(try scenario.playbook(steps: ["start_sync"]))
        try await scenario.play("cutover")
        try await expectInStep(scenario, "cut_over")
        let result = try await scenario.start(
          "adopt", "--state", scenario.workDirectory + "/state-adopted"
        ).result()
        #expect(result.status == 0 && result.output.contains("lab: adopted 'cut_over', epoch "), "\(result.text)")
        try await play(scenario, "rollback", state: scenario.workDirectory + "/state-adopted")
        try await scenario.applicationGoesOn(on: scenario.source)
      }
    }

    // MARK: support

    /// What a play finds on servers whose records somebody has removed; they come back behind it.
    private func withoutRecords(_ scenario: Scenario, _ body: () async throws -> Void) async throws {
      for role in [Scenario.Role.source, .target] {
        try await scenario.sql(role, "ALTER SCHEMA pgconvoy_record RENAME TO pgconvoy_kept")
      }
      try await body()
      for role in [Scenario.Role.source, .target] {
        #expect(
          try await scenario.sql(role, Self.schemas) == [["pgconvoy_kept"]], "a record was made of an old journal")
        try await scenario.sql(role, "ALTER SCHEMA pgconvoy_kept RENAME TO pgconvoy_record")
      }
    }

    private static let schemas = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^pgconvoy'"
    private static let row = "SELECT side, phase, epoch, token FROM pgconvoy_record.migration WHERE name = 'lab'"

    private func copyOfState(_ scenario: Scenario, _ name: String, of state: String? = nil) throws -> String {
      let copy = "\(scenario.workDirectory)/state-\(name)"
      try Program.check(["cp", "-a", state ?? scenario.lab.directory + "/.pgconvoy", copy])
      return copy
    }

    private func asOfTheVersionBefore(_ state: String) throws {
      try JournalFile(stateDirectory: StateDirectory(path: state)).execute(
        "UPDATE migrations SET epoch = 0, token = '', lineage = '{}', is_ahead = 1")
    }

    private func play(_ scenario: Scenario, _ playbook: String, state: String) async throws {
      let result = try await scenario.start(
        "play", Scenario.shipped(playbook), "--yes", "--state", state
      ).result()
      try #require(result.status == 0, "\(playbook): \(result.text)")
    }

    /// Both servers have the same record, each as its own.
    private func expectInStep(
      _ scenario: Scenario, _ phase: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let source = try await scenario.sql(.source, Self.row)
      let target = try await scenario.sql(.target, Self.row)
      #expect(source.first?.first == "source" && target.first?.first == "target", sourceLocation: sourceLocation)
      #expect(source.first?.dropFirst() == target.first?.dropFirst(), sourceLocation: sourceLocation)
      #expect(source.first?.dropFirst().first == phase, sourceLocation: sourceLocation)
    }

    /// A play with another journal finds nothing to do, and the same side is open behind it as before, alone.
    private func expectOpen(
      _ side: Scenario.Role, behind playbook: String, _ state: String, _ scenario: Scenario,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      try await play(scenario, playbook, state: state)
      let (open, closed) =
        side == .target ? (Scenario.Role.targetApp, Scenario.Role.sourceApp) : (.sourceApp, .targetApp)
      #expect(try await scenario.sql(open, "SELECT 1") == [["1"]], sourceLocation: sourceLocation)
      #expect(try await scenario.refusal(closed) != nil, sourceLocation: sourceLocation)
    }

    /// Whoever types the nonce in that the refusal names may replace the target; here nobody does.
    private func mayBeDiscarded(_ scenario: Scenario, _ state: String) async throws {
      let slot = try await scenario.value(
        .target, "SELECT min(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'pgconvoy%'")
      let nonce = try #require(slot.split(separator: "_").dropFirst().first)
      let check = try await scenario.start(
        "play", Scenario.shipped("migrate"), "--check", "--state", state, "--discard", String(nonce)
      ).result()
      #expect(check.status == 0 && check.text.contains("pg_basebackup"), "\(check.text)")
    }

    /// Who begins anew beside a cutover that is under way finds nobody open, and must not take the source for the truth.
    private func inTheMiddleOfACutover(_ scenario: Scenario) async throws {
      let anew = ["play", Scenario.shipped("migrate"), "--yes", "--state", scenario.workDirectory + "/state-anew"]
      let result = try await scenario.start(anew).result()
      let refusal = result.text.split(separator: "\n").first { $0.contains("[truth.source-has-open-target]") } ?? ""
      #expect(result.status == 1 && refusal.contains("step base_backup: "), "\(result.text)")
      #expect(try await scenario.refusal(.targetApp) != nil)
    }

    /// Somebody takes the block out of the old server's pg_hba.conf, and puts it back.
    private func openedByHand(_ scenario: Scenario) async throws {
      // It would close it again at once.
      try await scenario.killSync()
      let hba = scenario.source.dataDirectory + "/pg_hba.conf"
      let block = "/^# pgconvoy fence begin/,/^# pgconvoy fence end/d"
      try scenario.asServer(["/usr/bin/sed", "-i.kept", block, hba])
      try await scenario.control(scenario.source, "reload")
      try await eventually("the old server's opening") { try await scenario.refusal(.sourceApp) == nil }
      for name in ["finish", "rollback"] {
        let result = try await scenario.play(name, expecting: 1)
        #expect(result.text.contains("[truth.newer-elsewhere]"), "\(name): \(result.text)")
        let words = "so does lab-target: the block of the fence is not in this one's"
        #expect(result.text.contains(words), "\(name): \(result.text)")
      }
      try scenario.asServer(["/usr/bin/mv", hba + ".kept", hba])
      try await scenario.control(scenario.source, "reload")
      try await eventually("the old server's closing") { try await scenario.refusal(.sourceApp) != nil }
      try await scenario.play(try scenario.playbook(steps: ["start_sync"]))
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
