import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// What `--check` announces is what a run does then: the same commands and files on each host in the same order, the
  /// same statements on each server, and the same deeds in the journal, step by step.
  @Suite(.serialized) struct CheckTellsTheTruth {
    private static let copy = ["preflight", "base_backup", "start_standby"]

    /// Prepared, copied and handed off in two runs, there, back, and given up; then once more, quiesced, and for good.
    @Test func ofEveryShippedPlaybook() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let judge = AnnouncedIsDone(scenario: scenario)
        try await makeUnprepared(scenario)
        try await leaveSomethingToInherit(scenario)
        let prepared = try await judge.expect(Scenario.shipped("prepare"), "prepare")
        #expect(prepared.statements(scenario.source.name).count == 4)
        try await migrateInTwoRuns(scenario, judge)
        try await scenario.application("stop")
        try await scenario.drained()
        try await fenceAndUnfence(scenario, judge)

        for name in ["cutover", "rollback", "finish"] {
          let announced = try await judge.expect(Scenario.shipped(name), name)
          for host in [scenario.source.name, scenario.target.name] {
            #expect(!announced.statements(host).isEmpty || name == "finish" && host == scenario.target.name)
            #expect(!announced.deeds(host).isEmpty)
          }
        }

        // With nothing left to do it ends by itself; a play that finds it running needs no other.
        try await eventually("the end of the sync process") { try await !scenario.status().sync.running }
        try await scenario.application("start")
        try await judge.expect(Scenario.shipped("prepare"), "prepare, what its end took back")
        try scenario.addToMigration("plugin: pgoutput")
        try scenario.addToMigration("ddl: freeze")
        let quiesced = try await judge.expect(Scenario.shipped("quiesced-migrate"), "quiesced-migrate")
        #expect(quiesced.statements(scenario.source.name).contains { $0.contains("CREATE PUBLICATION") })
        #expect(quiesced.statements(scenario.source.name).contains { $0.contains("CREATE EVENT TRIGGER") })
        try await givenUpTwice(scenario, judge)

        try await scenario.play("prepare")
        try await scenario.play("migrate")
        try await scenario.application("stop")
        try await scenario.drained()
        try await oneWay(scenario, judge)
        try await judge.expect(Scenario.shipped("finish"), "the end")
      }
    }

    /// Tablespaces and WAL elsewhere, configuration outside the data directory, old data that goes; a hand-off that stands
    /// still between its parts; and a migration that is given up before its cutover.
    @Test(arguments: isThorough ? [false, true] : [false]) func ofWhatIsElsewhere(withoutRoom: Bool) async throws {
      try await Scenario.run(databases: ["alpha"], ddl: "replicate") { scenario in
        let judge = AnnouncedIsDone(scenario: scenario)
        try await logStatements(scenario)
        try await makePlaces(scenario)
        try scenario.addToMigration("old_data: replace")
        try scenario.addToMigration("sync: { on: target, manager: runit }")
        if withoutRoom { try PlayKilled().leaveNoRoomForBoth(scenario) }
        let copy = try await judge.expect(try scenario.playbook(steps: Self.copy + ["make_slots"]), "up to the slots")
        #expect(copy.deeds(scenario.target.name).contains { $0.contains("data.pgconvoy-going") } == withoutRoom)
        let slots = try await judge.expect(try scenario.playbook(steps: ["hand_off"]), "the hand-off behind its slots")
        // The standby stands still already; the promoted server is restarted.
        #expect(slots.deeds(scenario.target.name).count { $0.contains("pg_ctl stop") } == 1)
        let rest = try await judge.expect(Scenario.shipped("migrate"), "the rest")
        #expect(rest.deeds(scenario.target.name).contains { $0.hasPrefix("file") && $0.hasSuffix("/passfile") })
        // Given up; the old data is gone.
        let end = try await judge.expect(Scenario.shipped("finish"), "the end of a copy")
        #expect(end.deeds(scenario.target.name).contains { $0.contains("data.pgconvoy-copy") })
      }
    }

    static let isThorough = getenv("PGCONVOY_CHECKS").map { String(cString: $0) } == "1"

    // MARK: plays

    private func migrateInTwoRuns(_ scenario: Scenario, _ judge: AnnouncedIsDone) async throws {
      let whole = Scenario.shipped("migrate")
      let announced = try await scenario.announced(whole)
      let first = try await scenario.played(try scenario.playbook(steps: Self.copy))
      try expectAnnouncedSettings(announced, scenario)
      // Asked again in the middle, the rest is announced with the names that exist by now.
      let rest = try await scenario.announced(whole)
      let second = try await scenario.played(whole)
      judge.expectSame(announced, first + second, "migrate")
      judge.expectSame(rest, second, "migrate, the rest")
      #expect(announced.deeds(scenario.target.name).count > 15)
      #expect(announced.statements(scenario.target.name).count > 5)

      let again = try await scenario.played(whole)
      #expect(again.seen.all == [] && again.journal.all == [])
      #expect(again.seen.output.contains("hand_off: already done"))
    }

    /// A cutover that went no further than the way back, and what takes it back.
    private func fenceAndUnfence(_ scenario: Scenario, _ judge: AnnouncedIsDone) async throws {
      let half = try scenario.playbook("cutover") { text in
        text.split(separator: "\n").prefix { !$0.contains("- open_target") }.joined(separator: "\n") + "\n"
      }
      let fenced = try await judge.expect(half, "half of a cutover")
      let statements = fenced.statements(scenario.source.name)
      #expect(statements.contains("postgres: ALTER SUBSCRIPTION \"inherited\" DISABLE"))
      let lifted = try await judge.expect(Scenario.shipped("unfence"), "unfence")
      #expect(lifted.statements(scenario.source.name).contains("postgres: ALTER SUBSCRIPTION \"inherited\" ENABLE"))
      #expect(lifted.all.contains { $0.text.contains("pg_replication_origin_drop") })
      try await scenario.drained()
    }

    /// An end that was cut off behind the return of the target's old data: its server is still to be started.
    private func givenUpTwice(_ scenario: Scenario, _ judge: AnnouncedIsDone) async throws {
      let directory = scenario.target.postgresDirectory
      let old = try #require(directoryEntries(directory).first { $0.hasPrefix("data.pgconvoy-old-") })
      try scenario.asServer(["/bin/sh", "-c", "echo nonsense >> \"$1/postgresql.conf\"", "sh", "\(directory)/\(old)"])
      let failed = try await scenario.play("finish", expecting: 1)
      #expect(failed.text.contains("[host.postgres-start-failed]"), "\(failed.text)")
      try scenario.asServer(["/usr/bin/sed", "-i", "/^nonsense$/d", "\(scenario.target.dataDirectory)/postgresql.conf"])
      let announced = try await judge.expect(Scenario.shipped("finish"), "the end that was cut off")
      #expect(announced.deeds(scenario.target.name).contains { $0.contains("pg_ctl start") })
    }

    /// The slots that waited for the way back go as well.
    private func oneWay(_ scenario: Scenario, _ judge: AnnouncedIsDone) async throws {
      let oneWay = try scenario.playbook("cutover") { text in
        text.split(separator: "\n").filter { !$0.contains("- open_way_back") }.joined(separator: "\n") + "\n"
      }
      let announced = try await judge.expect(oneWay, "a cutover without a way back")
      let statements = announced.statements(scenario.target.name)
      #expect(statements.count { $0.contains("pg_drop_replication_slot") } == 2)
      #expect(statements.count { $0.contains("DROP PUBLICATION") } == 2)
    }

    /// The settings that the copy was given are those that were announced, to the letter.
    private func expectAnnouncedSettings(_ announced: Doings, _ scenario: Scenario) throws {
      let data = scenario.target.dataDirectory
      for name in ["postgresql.auto.conf", "pgconvoy.kept.auto.conf"] {
        let text = try #require(announced.texts["\(data).pgconvoy-copy/\(name)"])
        #expect(withoutNonces(try readText("\(data)/\(name)")) == withoutNonces(text))
        #expect(!text.isEmpty)
      }
      let hba = try readText("\(data)/pg_hba.conf")
      for line in try #require(announced.texts["\(data).pgconvoy-copy/pg_hba.conf"]).split(separator: "\n") {
        #expect(hba.contains(line))
      }
    }

    // MARK: what there is to do

    private func logStatements(_ scenario: Scenario) async throws {
      for role in [Scenario.Role.source, .target] {
        try await scenario.sql(role, "ALTER ROLE pgconvoy SET log_statement = 'all'")
      }
    }

    /// An origin, a prepared transaction and an enabled subscription, which the copy would have too; a sequence, an
    /// unlogged table and a materialized view.
    private func leaveSomethingToInherit(_ scenario: Scenario) async throws {
      try await logStatements(scenario)
      try await scenario.sql(.source, "SELECT pg_replication_origin_create('somebody_elses')")
      try await scenario.sql(
        .source,
        "CREATE SUBSCRIPTION inherited CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)")
      try await scenario.sql(.source, "ALTER SUBSCRIPTION inherited ENABLE")
      try await scenario.script(
        .source,
        """
        CREATE SEQUENCE public.tickets; SELECT setval('public.tickets', 4711);
        CREATE UNLOGGED TABLE public.sessions (id integer PRIMARY KEY, token text);
        INSERT INTO public.sessions VALUES (1, 'one'), (2, 'two');
        CREATE MATERIALIZED VIEW public.many AS SELECT count(*) FROM public.sessions
        """, in: "alpha")
      try scenario.addToMigration("cutover: { copy_unlogged: true }")
    }

    private func makeUnprepared(_ scenario: Scenario) async throws {
      try await scenario.script(.source, "CREATE TABLE public.nameless (a integer)", in: "alpha")
      try scenario.asServer(["/usr/bin/sed", "-i", "/replication/d", "\(scenario.source.dataDirectory)/pg_hba.conf"])
      try await scenario.sql(.source, "ALTER SYSTEM SET wal_level = 'replica'")
      try await scenario.sql(.source, "ALTER SYSTEM SET max_replication_slots = 2")
      try await scenario.control(scenario.source, "restart", "-m", "fast", "-l", scenario.source.postgresLog)
      try scenario.addToMigration("allow_restart: [source]")
    }

    /// A tablespace, a directory for WAL, and a target whose pg_hba.conf is not in its data directory.
    private func makePlaces(_ scenario: Scenario) async throws {
      let (source, target) = (scenario.source.postgresDirectory, scenario.target.postgresDirectory)
      try scenario.asServer(["/usr/bin/mkdir", source + "/archive", target + "/archive of the copy"])
      try await scenario.script(.source, "CREATE TABLESPACE archive LOCATION '\(source)/archive'", in: "postgres")
      try await scenario.script(
        .source, "CREATE TABLE archived (id integer PRIMARY KEY) TABLESPACE archive; INSERT INTO archived VALUES (1)",
        in: "alpha")
      try scenario.addToMigration(
        """
        base_backup: { checkpoint: fast, wal_directory: '\(target)/wal', \
        tablespace_mapping: { '\(source)/archive': '\(target)/archive of the copy' } }
        """)
      let hba = target + "/pg_hba.conf"
      try scenario.asServer(["/usr/bin/mv", scenario.target.dataDirectory + "/pg_hba.conf", hba])
      try scenario.asServer([
        "/bin/sh", "-c", "echo \"hba_file = '$2'\" >> \"$1/postgresql.conf\"", "sh", scenario.target.dataDirectory, hba,
      ])
      try await scenario.control(scenario.target, "restart", "-m", "fast", "-l", scenario.target.postgresLog)
    }
  }
}
