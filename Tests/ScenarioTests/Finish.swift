import Glibc
import Lab
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// When a migration is over, nothing on either server says that it ever was.
  @Suite(.serialized) struct Finish {
    @Test func afterACutoverNothingOfOursIsLeft() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        let source = try await Catalogs(scenario, .source, scenario.source)
        let target = try await Catalogs(scenario, .target, scenario.target)
        try await scenario.play("migrate")
        try await makeSecondOrigins(scenario, on: .target)
        try await scenario.play("cutover")
        try await makeSecondOrigins(scenario, on: .source)
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try await Catalogs(scenario, .source, scenario.source) != source)

        let result = try await scenario.play("finish")
        #expect(result.text.contains("nothing of pgconvoy's is left on lab-source and lab-target"), "\(result.text)")
        #expect(try await Catalogs(scenario, .source, scenario.source).sansFiles == source.sansFiles)
        let now = try await Catalogs(scenario, .target, scenario.target)
        #expect(now.own == target.own)
        #expect(now.replication == [])
        // Everything of the databases is the source's.
        #expect(now.roles == source.roles)
        #expect(now.schemas == source.schemas)
        let kept = now.files.filter { $0.hasPrefix("data.pgconvoy-") && !$0.hasSuffix(".log") }
        #expect(kept.count == 1 && kept.allSatisfy { $0.hasPrefix("data.pgconvoy-old-") }, "\(now.files)")
        try await scenario.applicationGoesOn(on: scenario.target)
        let status = try await scenario.status()
        #expect(status.migrations.map(\.state) == [.finished])
        #expect(try await scenario.refusal(.sourceApp) == nil)
        for role in [Scenario.Role.source, .target] {
          let closed = "SELECT count(*) FROM pg_database WHERE datconnlimit <> -1"
          #expect(try await scenario.value(role, closed) == "0")
          #expect(try await scenario.value(role, "SELECT count(*) FROM pg_db_role_setting") == "0")
        }

        // A second time nothing is left to do, and no copy takes the place of what serves.
        let again = try await scenario.play("finish")
        #expect(again.text.contains("finish: already done"), "\(again.text)")
        let anew = try await scenario.play("migrate", expecting: 1)
        #expect(anew.text.contains("[migration.finished]"), "\(anew.text)")
        let back = try await scenario.play("rollback", expecting: 1)
        #expect(back.text.contains("[migration.finished]"), "\(back.text)")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    /// As workers that had been far behind have left them.
    private func makeSecondOrigins(_ scenario: Scenario, on role: Scenario.Role) async throws {
      let origins = try await scenario.sql(
        role, "SELECT roname FROM pg_replication_origin WHERE roname LIKE 'pgconvoy%'")
      #expect(!origins.isEmpty)
      for origin in origins {
        let second = HandOffNames.secondOrigin(beside: origin[0])
        try await scenario.sql(role, "SELECT pg_replication_origin_create($1)", [second])
        try await scenario.sql(role, "SELECT pg_replication_origin_advance($1, '0/1')", [second])
      }
    }

    /// The old server has been switched off for good: what is left is on the other one, and goes.
    @Test func whereTheOldServerIsGone() async throws {
      try await Scenario.run(databases: ["alpha"], plugin: .pgoutput) { scenario in
        try await scenario.play("migrate")
        try await scenario.play("cutover")
        try await scenario.control(scenario.source, "stop", "-m", "immediate")
        for pid in scenario.sshdListeners(scenario.source) {
          for child in scenario.children(of: pid) { kill(child, SIGKILL) }
          kill(pid, SIGKILL)
        }
        try await scenario.applicationGoesOn(on: scenario.target)
        let usual = try await scenario.play("finish", expecting: 1)
        #expect(usual.text.contains("finish: { gone: source }"), "\(usual.text)")
        let finish = try scenario.playbook("finish") { text in
          text.split(separator: "\n").filter { !$0.contains("clean_up: { on: source }") }.joined(separator: "\n")
            .replacing("- finish #", with: "- finish: { gone: source } #") + "\n"
        }
        let check = try await scenario.start("play", finish, "--check").result()
        #expect(check.status == 0, "\(check.text)")
        let result = try await scenario.play(finish)
        #expect(result.text.contains("nothing of pgconvoy's is left on lab-target"), "\(result.text)")
        let left = try await Catalogs(scenario, .target, scenario.target)
        #expect(left.replication == [])
        #expect(left.schemas.filter { $0.contains { $0.hasPrefix("pgconvoy") } } == [])
        #expect(try await scenario.status().migrations.map(\.state) == [.finished])
        let again = try await scenario.play(finish)
        #expect(again.text.contains("finish: already done"), "\(again.text)")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    @Test(arguments: [false, true]) func withoutACutoverOrAfterARollbackTheTargetIsAsBefore(cutOver: Bool) async throws
    {
      try await Scenario.run(databases: ["alpha"], ddl: cutOver ? "freeze" : "replicate") { scenario in
        let source = try await Catalogs(scenario, .source, scenario.source)
        let target = try await Catalogs(scenario, .target, scenario.target)
        try await scenario.play("migrate")
        if cutOver {
          try await frozen(scenario)
          try await scenario.play("cutover")
          try await scenario.applicationGoesOn(on: scenario.target)
          // Not carried over as active.
          try await scenario.script(.targetApp, "CREATE TABLE thawed (); DROP TABLE thawed", in: "alpha")
          try await midway(scenario)
          try await scenario.play("rollback")
        }
        let finish = try scenario.playbook("finish") { $0.replacing("old_data: keep", with: "old_data: remove") }
        try await scenario.play(finish)
        #expect(try await Catalogs(scenario, .source, scenario.source).sansFiles == source.sansFiles)
        var now = try await Catalogs(scenario, .target, scenario.target)
        now.files.removeAll { $0.hasSuffix(".log") }
        var before = target
        before.files.removeAll { $0.hasSuffix(".log") }
        #expect(now == before)
        try await scenario.applicationGoesOn()
        try await scenario.script(.sourceApp, "CREATE TABLE thawed (); DROP TABLE thawed", in: "alpha")
        #expect(try scenario.service("app", on: scenario.source) == "run")
        if cutOver { try await scenario.expectAcknowledged([scenario.source, scenario.target], on: .source) }
      }
    }

    /// DDL is refused, with words that say by whom; what belongs to a session is not, nor is what we do.
    private func frozen(_ scenario: Scenario) async throws {
      let ledger = "app_ledger"
      for (statement, object) in [
        ("CREATE TABLE late (id integer)", "table public.late"),
        ("ALTER TABLE \(ledger) ADD late integer", "table public.\(ledger)"),
        ("DROP TABLE \(ledger)", "table public.\(ledger)"), ("GRANT SELECT ON \(ledger) TO PUBLIC", "TABLE"),
        ("CREATE FUNCTION late() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function public.late()"),
        ("CREATE INDEX CONCURRENTLY late ON \(ledger) (id)", "what works concurrently"),
        ("DROP INDEX CONCURRENTLY \(ledger)_pkey", "what works concurrently"),
      ] {
        do {
          try await scenario.script(.sourceApp, statement, in: "alpha")
          Issue.record("not refused: \(statement)")
        } catch let error as PostgresError {
          #expect(error.sqlState == "55000" && error.message.contains("being migrated by pgconvoy"), "\(error)")
          #expect(error.detail?.hasPrefix("It is about \(object)") == true, "\(error.detail ?? "")")
        }
      }
      try await scenario.script(
        .sourceApp,
        """
        CREATE TEMPORARY TABLE mine (id serial PRIMARY KEY, name text DEFAULT 'x'); ALTER TABLE mine ADD late integer;
        CREATE INDEX ON mine (late); DROP TABLE mine; SELECT 1 AS one INTO TEMPORARY mine; COMMENT ON TABLE \(ledger) IS 'mine';
        COMMENT ON TABLE \(ledger) IS NULL
        """, in: "alpha")
      // Nothing is half done, and what is there may be mended.
      #expect(try await scenario.sql(.source, "SELECT FROM pg_index WHERE NOT indisvalid", in: "alpha").isEmpty)
      try await scenario.script(.sourceApp, "REINDEX TABLE \(ledger)", in: "alpha")
      try await scenario.script(.source, "CREATE TABLE ours (); DROP TABLE ours", in: "alpha")
      try await scenario.applicationGoesOn()
    }

    /// Who serves is not settled yet.
    private func midway(_ scenario: Scenario) async throws {
      let play = try scenario.start("play", Scenario.shipped("rollback"), "--yes")
      #expect(try await play.says("drain: changed"))
      kill(play.pid, SIGKILL)
      _ = try await play.result()
      let refused = try await scenario.play("finish", expecting: 1)
      #expect(refused.text.contains("[finish.in-progress]"), "\(refused.text)")
    }
  }
}
