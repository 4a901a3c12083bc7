import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A configuration management puts the closed server's pg_hba.conf back every 200 ms, during cutovers and rollbacks under
  /// load, while an application writes wherever it gets in.
  ///
  /// The second lock holds one that is no superuser: its cutover goes through. That of a superuser may be called off. Where
  /// it is not, every commit that the application knows of is on the server that was opened, or pgconvoy has said that it
  /// is not.
  ///
  /// `PGCONVOY_REWRITES=20` has so many cutovers and rollbacks, with one and the other application in turns.
  @Suite(.serialized) struct PgHbaIsRewritten {
    private static let rounds = getenv("PGCONVOY_REWRITES").flatMap { Int(String(cString: $0)) } ?? 1

    @Test func noAcknowledgedCommitIsLostInSilence() async throws {
      try await Scenario.run(databases: ["alpha"], rate: 60) { scenario in
        try await scenario.script(
          .source,
          """
          CREATE TABLE fenced_rows (who text, serial integer, PRIMARY KEY (who, serial));
          CREATE ROLE fenced_owner LOGIN PASSWORD 'owner'; GRANT ALL ON fenced_rows TO fenced_owner
          """, in: "alpha")
        let target = try scenario.asServer(["cat", scenario.target.hba])
        try await scenario.play("migrate")
        try await aCopyIsOpen(scenario, target)
        let open = try scenario.asServer(["cat", scenario.source.hba])
        for round in 0..<Self.rounds {
          let isEven = round.isMultiple(of: 2)
          try await there(scenario, .forward, "there \(round)", isSuperuser: !isEven)
          if round == 0 { try await daysLater(scenario, open) }
          try await there(scenario, .reverse, "back \(round)", isSuperuser: isEven)
        }
      }
    }

    /// Put back before the cutover: the sync process closes the copy again, and says so.
    private func aCopyIsOpen(_ scenario: Scenario, _ open: String) async throws {
      try await scenario.putPgHba(open, scenario.target)
      try await eventually("the copy") { try await scenario.refusal(.targetApp)?.code == "postgres.hba-rejects" }
      try await eventually("what was found") { try await scenario.status().migrations.first?.latestBreach != nil }
      let told = try await scenario.start("status").result()
      #expect(told.output.contains("pg_hba.conf had lost the quarantine, which was put back"), "\(told.text)")
      #expect(try scenario.asServer(["cat", scenario.target.hba]).contains("quarantine"))
    }

    /// Put back once behind the cutover, with a superuser at the door: the sync process closes the server again, and says
    /// what has come in.
    private func daysLater(_ scenario: Scenario, _ open: String) async throws {
      let stop = Flag()
      let writer = ReconnectLoop(try scenario.parameters(.sourceApp, "alpha"), who: "late", pause: .milliseconds(2))
      let writing = Task { try await writer.run(until: stop) }
      try await scenario.putPgHba(open, scenario.source)
      try await eventually("a commit on the closed server") { writer.committed > 0 }
      try await eventually("the closed side") {
        try await scenario.refusal(.sourceApp)?.code == "postgres.hba-rejects"
      }
      stop.raise()
      try await writing.value
      try await eventually("\(writer.committed) commits are told") {
        try await scenario.status().migrations.first?.closedSideCommits ?? 0 >= UInt64(writer.committed)
      }
      let metrics = try await scenario.start("status", "--format", "prometheus").result()
      let told = metrics.output.contains(#/pgconvoy_closed_side_commits_total{[^}]*side="source"} [1-9]/#)
      #expect(told, "\(metrics.text)")
      #expect(metrics.output.contains(#/pgconvoy_should_be_closed_and_is_open{[^}]*side="source"} 0/#))
      try await scenario.script(.source, "DELETE FROM fenced_rows WHERE who = 'late'", in: "alpha")
    }

    private func there(
      _ scenario: Scenario, _ direction: StreamDirection, _ who: String, isSuperuser: Bool
    ) async throws {
      let (playbook, closing, opened): (String, LabHost, Scenario.Role) =
        direction == .forward ? ("cutover", scenario.source, .target) : ("rollback", scenario.target, .source)
      let app: Scenario.Role = direction == .forward ? .sourceApp : .targetApp
      try await scenario.applicationGoesOn(on: closing)
      let open = try scenario.asServer(["cat", closing.hba])
      let stop = Flag()
      var parameters = try scenario.parameters(app, "alpha")
      if !isSuperuser { (parameters.user, parameters.password) = ("fenced_owner", "owner") }
      let writer = ReconnectLoop(parameters, who: who, pause: .milliseconds(2))
      let writing = Task { try await writer.run(until: stop) }
      try await eventually("the first commits") { writer.committed > 5 }
      let rewriting = Task { try await scenario.keepPuttingPgHba(open, closing, until: stop) }
      let result = try await scenario.start("play", Scenario.shipped(playbook), "--yes").result()
      stop.raise()
      try await writing.value
      try await rewriting.value

      let isOpened = try await scenario.status().migrations.first?.direction == direction.opposite
      let code = result.text.firstMatch(of: #/\[[a-z-]+\.[a-z-]+\]/#).map { String($0.output) } ?? ""
      print("\(who): \(result.status) \(isOpened ? "opened" : "called off") \(code), \(writer.committed) commits")
      #expect(isSuperuser || isOpened, "\(result.text)")
      if isOpened {
        try await expectToldOrThere(scenario, direction, writer, who, result)
      } else {
        #expect(result.status == 1, "\(result.text)")
        #expect(try await scenario.refusal(app) == nil)
        try await scenario.drained(playbook == "cutover" ? nil : [])
        try await scenario.play(playbook)
        try await expectThere(scenario, opened, writer, who)
      }
      // Whatever was put back last, it is closed again by itself.
      do {
        try await eventually("the closed side") { try await scenario.refusal(app)?.code == "postgres.hba-rejects" }
      } catch {
        let log = try readText("\(scenario.lab.directory)/.pgconvoy/sync.log").split(separator: "\n").suffix(25)
        Issue.record("\(who): \(error); the sync process says:\n\(log.joined(separator: "\n"))")
      }
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.shouldBeClosedAndIsOpen == false && status.areBothOpen == false)
      try await scenario.expectAcknowledged(
        [scenario.source, scenario.target].filter { try scenario.acknowledgedCount($0) > 0 }, on: opened)
    }

    private func ledger(_ scenario: Scenario, _ role: Scenario.Role, _ who: String) async throws -> Set<Int> {
      Set(
        try await scenario.sql(role, "SELECT serial FROM fenced_rows WHERE who = $1", [who], in: "alpha").compactMap {
          Int($0[0])
        })
    }

    private func expectThere(
      _ scenario: Scenario, _ role: Scenario.Role, _ writer: ReconnectLoop, _ who: String
    ) async throws {
      let lost = Set(writer.acknowledged).subtracting(try await ledger(scenario, role, who))
      #expect(lost.isEmpty, "\(who): \(lost.count) acknowledged commits are lost")
    }

    /// What came in on the closed side behind the opening is not on the other one; that must have been said.
    private func expectToldOrThere(
      _ scenario: Scenario, _ direction: StreamDirection, _ writer: ReconnectLoop, _ who: String,
      _ result: Program.Result
    ) async throws {
      let (closed, opened): (Scenario.Role, Scenario.Role) =
        direction == .forward ? (.source, .target) : (.target, .source)
      let missing = Set(writer.acknowledged).subtracting(try await ledger(scenario, opened, who))
      guard !missing.isEmpty else { return #expect(result.status == 0, "\(result.text)") }
      try await eventually("\(who): \(missing.count) commits behind the opening are told") {
        try await scenario.status().migrations.first?.closedSideCommits ?? 0 >= UInt64(missing.count)
      }
      // As a person would: what is only there goes, so that both sides are the same again.
      try await scenario.script(
        closed,
        "DELETE FROM fenced_rows WHERE who = '\(who)' AND serial IN (\(missing.map(String.init).joined(separator: ",")))",
        in: "alpha")
      if result.status != 0 { try await scenario.play(direction == .forward ? "cutover" : "rollback") }
    }
  }
}
