import BlockingIO
import FoundationEssentials
import Glibc
import Journal
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// Whoever gets in while the fence goes up or behind it commits nothing.
  @Suite(.serialized) struct FenceKeepsWritersOut {
    static let tables = """
      CREATE ROLE fenced_owner LOGIN PASSWORD 'owner';
      CREATE TABLE fenced_rows (who text NOT NULL, serial integer NOT NULL);
      ALTER TABLE fenced_rows OWNER TO fenced_owner;
      CREATE UNLOGGED TABLE fenced_unlogged (id integer PRIMARY KEY);
      """

    @Test func aPreparedTransactionIsNamedAndTheFenceLifted() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(
        .sourceApp, "BEGIN; INSERT INTO fenced_rows VALUES ('prepared', 1); PREPARE TRANSACTION 'left behind'",
        in: "beta")
      let fence = try scenario.playbook(steps: ["fence: { on: source, deadline: 2s }"])
      let result = try await scenario.play(fence, expecting: 1)
      #expect(result.text.contains("prepared transaction 'left behind' in beta"), "\(result.text)")
      #expect(result.text.contains("[fence.not-clean]"), "\(result.text)")
      #expect(try await scenario.refusal(.sourceApp) == nil)
      #expect(try await scenario.status().migrations.first?.state == .handedOff)
      try await scenario.script(.source, "ROLLBACK PREPARED 'left behind'", in: "beta")
      try await scenario.applicationGoesOn()
    }

    @Test func nobodyGetsACommitIn() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      // The application keeps running: it reconnects five times a second on four connections.
      let superuser = try await scenario.session(.sourceApp, "beta")
      let owner = try await ownerSession(scenario)
      let open = try await scenario.session(.sourceApp, "beta")
      try await open.script("BEGIN; INSERT INTO fenced_rows VALUES ('open', 1)")
      try await owner.script("INSERT INTO fenced_rows VALUES ('owner', 1)")
      let login = try HalfOpenLogin(scenario.source)
      let stop = Flag()
      let loop = ReconnectLoop(try scenario.parameters(.sourceApp, "beta"))
      let looping = Task { try await loop.run(until: stop) }
      try await eventually("the first commits") { loop.committed > 5 }

      try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      let rows = "SELECT who, count(*) FROM fenced_rows GROUP BY who ORDER BY who"
      let before = try await scenario.sql(.source, rows, in: "beta")
      let (acknowledged, refused, committed) = (
        try scenario.acknowledgedCount(scenario.source), loop.refused, loop.committed
      )

      await expectDead(superuser, "INSERT INTO fenced_rows VALUES ('superuser', 1)")
      await expectDead(owner, "INSERT INTO fenced_rows VALUES ('owner', 2)")
      await expectDead(open, "COMMIT")
      #expect(login.isClosedByServer(within: .seconds(5)))
      #expect(try await scenario.refusal(.sourceApp, "beta")?.code == "postgres.hba-rejects")
      #expect(try await refusal(of: try ownerParameters(scenario)) == "postgres.hba-rejects")
      try await eventually("more refused attempts") { loop.refused > refused + 20 }
      #expect(loop.committed == committed)
      #expect(try scenario.acknowledgedCount(scenario.source) == acknowledged)
      #expect(try await scenario.sql(.source, rows, in: "beta") == before)
      #expect(!before.contains { $0[0] == "open" || $0[0] == "superuser" })
      #expect(before.contains { $0 == ["owner", "1"] })

      try await scenario.play("unfence")
      try await eventually("the loop's next commit") { loop.committed > committed }
      stop.raise()
      try await looping.value
      try await scenario.applicationGoesOn()
      #expect(try await scenario.refusal(.sourceApp) == nil)
      try await scenario.drained(["beta"])
    }

    /// A hundred clients that come again without a pause, over TLS, and connections that never say a word. What is about
    /// to be refused does not count as a writer; whoever began before the fence is ended.
    @Test func aHundredClientsThatReconnectAreFencedAtOnce() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let stop = Flag()
      let parameters = try scenario.parameters(.sourceApp, "beta")
      let loops = (0..<100).map { ReconnectLoop(parameters, who: "crowd \($0)", pause: .zero) }
      let looping = loops.map { loop in Task { try await loop.run(until: stop) } }
      let mute = try (0..<5).map { _ in try HalfOpenLogin(scenario.source, isMute: true) }
      try await eventually("the first commits of most") { loops.count { $0.committed > 0 } > 80 }

      let fence = try scenario.playbook(steps: ["fence: { on: source, deadline: 5s }"])
      let play = try scenario.start("play", fence, "--yes")
      _ = try await play.says("fence (1/")
      var late: [HalfOpenLogin] = []
      while !play.output.contains("fence: changed"), late.count < 100, !play.output.contains("[fence.") {
        late.append(try HalfOpenLogin(scenario.source, isMute: true))
        try await Task.sleep(for: .milliseconds(20))
      }
      let result = try await play.result()
      #expect(result.status == 0, "\(result.text)")
      let heldUp = try await heldUp(scenario)
      print("a hundred clients were fenced in \(heldUp) s")
      #expect(heldUp < 5)
      for login in mute { #expect(login.isClosedByServer(within: .seconds(1))) }
      let committed = loops.map(\.committed)
      let refused = loops.reduce(0) { $0 + $1.refused }
      try await eventually("more refused attempts") { loops.reduce(0) { $0 + $1.refused } > refused + 50 }
      #expect(loops.map(\.committed) == committed)
      stop.raise()
      for task in looping { try await task.value }
      late = []
      try await scenario.play("unfence")
      try await scenario.applicationGoesOn()
      try await scenario.drained(["beta"])
    }

    /// pg_hba.conf alone does not open the server: to whoever is no superuser the databases stay closed.
    @Test func theSecondLockHoldsWithoutPgHba() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.source, "ALTER DATABASE beta CONNECTION LIMIT 77", in: "postgres")
      let limits = "SELECT datname, datconnlimit FROM pg_database WHERE datallowconn ORDER BY 1"
      let before = try await scenario.sql(.source, limits)
      let fence = try scenario.playbook(steps: ["fence: { on: source }"])
      let open = try scenario.asServer(["cat", scenario.source.hba])
      try await scenario.play(fence)
      #expect(try await scenario.sql(.source, limits).allSatisfy { $0[1] == "0" })
      try await scenario.putPgHba(open, scenario.source)
      try await eventually("the file that was put back") { try await scenario.refusal(.sourceApp) == nil }
      #expect(try await refusal(of: try ownerParameters(scenario))?.rawValue == "postgres.no-connection-left")

      // A fence whose block is gone is raised again, and knows the limits of before.
      let again = try await scenario.play(fence)
      #expect(again.text.contains("fence: changed"), "\(again.text)")
      #expect(try await scenario.refusal(.sourceApp)?.code == "postgres.hba-rejects")
      try await scenario.putPgHba(open, scenario.source)
      // Nor does a file that was put back keep it from being lifted.
      try await scenario.play("unfence")
      #expect(try await scenario.sql(.source, limits) == before)
      #expect(try await scenario.value(.source, "SELECT count(*) FROM pg_db_role_setting") == "0")
      #expect(try await refusal(of: try ownerParameters(scenario)) == nil)
      try await scenario.script(.source, "ALTER DATABASE beta CONNECTION LIMIT -1", in: "postgres")
      try await scenario.applicationGoesOn()
    }

    /// A configuration management has put pg_hba.conf back between the proof of the fence and the opening of the target,
    /// and a superuser's commit came in: into a table, or into one that is in no WAL.
    @Test(arguments: ["INSERT INTO fenced_rows VALUES ('late', 1)", "INSERT INTO fenced_unlogged VALUES (1)"])
    func whatComesInBehindTheProofCallsTheCutoverOff(statement: String) async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let open = try scenario.asServer(["cat", scenario.source.hba])
      let half = try scenario.playbook("cutover") { text in
        text.split(separator: "\n").prefix { !$0.contains("- close_forward") }.joined(separator: "\n") + "\n"
      }
      try await scenario.play(half)
      try await scenario.putPgHba(open, scenario.source)
      try await eventually("the file that was put back") { try await scenario.refusal(.sourceApp) == nil }
      try await scenario.script(.sourceApp, statement, in: "beta")
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.shouldBeClosedAndIsOpen == true)

      let rest = try await scenario.start(
        "play", try scenario.cutoverWithoutServices(), "--yes", "--start-at", "close_forward"
      ).result()
      #expect(rest.status == 1 && rest.text.contains("[fence.leaked]"), "\(rest.text)")
      #expect(try await scenario.refusal(.targetApp)?.code == "postgres.hba-rejects")
      // It was closed again before anybody was asked.
      #expect(try await scenario.refusal(.sourceApp)?.code == "postgres.hba-rejects")
      try await scenario.play("unfence")
      try await scenario.drained(["beta"])
      let rows = "SELECT count(*) FROM fenced_rows WHERE who = 'late'"
      #expect(try await scenario.value(.target, rows, in: "beta") == scenario.value(.source, rows, in: "beta"))
      try await scenario.applicationGoesOn()
      // No stream carries what is unlogged.
      try await scenario.script(.source, "TRUNCATE fenced_unlogged", in: "beta")
    }

    /// A subscription writes from inside. Who lifts the fence from another machine has no journal of this one.
    @Test func aSubscriptionIsEnabledAgainFromAnotherMachine() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let name = #"odd "name" \ 'x'"#
      let quoted = quotedIdentifier(name)
      try await scenario.script(
        .source,
        """
        CREATE SUBSCRIPTION \(quoted) CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
          WITH (connect = false, slot_name = 'nowhere')
        """, in: "beta")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) ENABLE", in: "beta")
      let enabled = "SELECT subenabled FROM pg_subscription WHERE subname = \(quotedLiteral(name))"
      try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      #expect(try await scenario.value(.source, enabled) == "f")
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.sourceFenced == true)

      let elsewhere = "\(scenario.workDirectory)/elsewhere-\(HandOffNames.random().nonce)"
      let lifted = try await scenario.start(
        "play", Scenario.shipped("unfence"), "--yes", "--state", elsewhere
      ).result()
      #expect(lifted.status == 0, "\(lifted.text)")
      // That machine's workers are not to take over in tests that come later.
      try await eventually("the end of that machine's process") {
        let there = try await scenario.start("status", "--format", "json", "--state", elsewhere).result()
        guard let pid = there.output.firstMatch(of: #/"running": true,\s*"pid": ([0-9]+)/#) else { return true }
        if let pid = pid_t(pid.1) { kill(pid, SIGKILL) }
        return false
      }
      #expect(try await scenario.value(.source, enabled) == "t")
      #expect(try await scenario.refusal(.sourceApp) == nil)
      // The journal here still says that there is a fence. The server is asked.
      let again = try await scenario.play(try scenario.playbook(steps: ["fence: { on: source }"]))
      #expect(again.text.contains("fence: changed"), "\(again.text)")
      #expect(try await scenario.refusal(.sourceApp)?.code == "postgres.hba-rejects")
      #expect(try await scenario.value(.source, enabled) == "f")
      try await scenario.play("unfence")
      #expect(try await scenario.value(.source, enabled) == "t")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) DISABLE", in: "beta")
      try await scenario.script(.source, "ALTER SUBSCRIPTION \(quoted) SET (slot_name = NONE)", in: "beta")
      try await scenario.script(.source, "DROP SUBSCRIPTION \(quoted)", in: "beta")
      try await scenario.applicationGoesOn()
      #expect(try await scenario.status().migrations.first?.sourceFenced == false)
    }

    /// From the block's coming into pg_hba.conf to the end of the sweep, in seconds: by the journal.
    private func heldUp(_ scenario: Scenario) async throws -> Double {
      let deeds = try await scenario.journalledDeeds().filter { $0.step == "fence" && !$0.isUndo }
      let block = try #require(deeds.last { $0.kind == "file" })
      let sweep = try #require(deeds.last { $0.text.hasPrefix("end every session") }?.ended)
      return sweep.timeIntervalSince(block.began)
    }

    private func ownerParameters(_ scenario: Scenario) throws -> ConnectionParameters {
      var parameters = try scenario.parameters(.sourceApp, "beta")
      parameters.user = "fenced_owner"
      parameters.password = "owner"
      return parameters
    }

    private func ownerSession(_ scenario: Scenario) async throws -> PostgresSession {
      try await PostgresSession.connect(try ownerParameters(scenario))
    }

    private func refusal(of parameters: ConnectionParameters) async throws -> ConvoyError.Code? {
      do {
        await (try await PostgresSession.connect(parameters)).close()
        return nil
      } catch let error as PostgresError {
        return error.convoyError().code
      }
    }

    private func expectDead(
      _ session: PostgresSession, _ statement: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
      await #expect(throws: PostgresError.self, sourceLocation: sourceLocation) { try await session.script(statement) }
      await session.close()
    }
  }
}
