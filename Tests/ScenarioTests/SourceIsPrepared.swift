import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A source that nobody has prepared: `prepare_source` and `set_replica_identity` do it, and take it back.
  @Suite(.serialized) struct SourceIsPrepared {
    @Test func settingsAccessAndIdentitiesAreMadeAndTakenBack() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await makeUnprepared(scenario)
        try await theRoleIsMade(scenario)
        let hba = "\(scenario.source.dataDirectory)/pg_hba.conf"
        let before = try readText(hba)
        let playbook = try scenario.playbook(steps: ["prepare_source", "set_replica_identity"])
        // Without leave to restart it does what it can and says what is left.
        let refused = try await scenario.play(playbook, expecting: 1)
        #expect(
          refused.output.contains(
            "the settings are in place, and PostgreSQL on lab-source needs a restart for them [source.restart-needed]"))
        #expect(try await scenario.value(.source, "SHOW wal_level") == "replica")

        try scenario.addToMigration("allow_restart: [source]")
        let announced = try await scenario.start("play", playbook, "--check").result()
        #expect(announced.output.contains("pg_ctl stop -D \(scenario.source.dataDirectory)"))
        #expect(announced.output.contains("ALTER TABLE \"public\".\"nameless\" REPLICA IDENTITY FULL"))
        try await scenario.play(playbook)
        #expect(try await scenario.value(.source, "SHOW wal_level") == "logical")
        #expect(Int(try await scenario.value(.source, "SHOW max_replication_slots")) ?? 0 >= 5)
        #expect(try readText(hba).hasPrefix("# pgconvoy access begin: migration lab"))
        #expect(try await identities(scenario) == "fff")
        #expect(try await scenario.play(playbook).output.contains("set_replica_identity: already done"))
        // A failure behind them takes both back.
        let broken = "{ name: broken, manager: command, start: 'true', stop: 'false', status: 'true' }"
        try writeFile(
          scenario.lab.inventoryFile,
          try readText(scenario.lab.inventoryFile).replacing(
            "    services:\n", with: "    services:\n      - \(broken)\n"))
        let failing = try scenario.playbook("migrate") { _ in
          """
          - name: back
            on_failure: undo
            steps: [prepare_source, set_replica_identity, stop_services: { on: source }]
          """
        }
        try await scenario.play(failing, expecting: 1)
        try await expectTakenBack(scenario, hba: before)

        // They are enough for a migration, whose end takes them back as well.
        try writeFile(
          scenario.lab.inventoryFile,
          try readText(scenario.lab.inventoryFile).replacing("      - \(broken)\n", with: ""))
        try await scenario.play(playbook)
        #expect(try await identities(scenario) == "fff")
        #expect(try readText(hba) != before)
        try await scenario.play("migrate")
        try await scenario.drained()
        try await scenario.play("finish")
        try await expectTakenBack(scenario, hba: before)
      }
    }

    /// Killed at its steps and at random moments, one of them the restart, preparing goes on, and the end of a migration
    /// takes back what it found at the very beginning.
    @Test(.enabled(if: PlayKilled.kills > 0)) func goesOnWhereItWasKilled() async throws {
      var random = SeededRandom(seed: 20_261_127)
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await makeUnprepared(scenario)
        let hba = "\(scenario.source.dataDirectory)/pg_hba.conf"
        let before = try readText(hba)
        try scenario.addToMigration("allow_restart: [source]")
        let prepare = Scenario.shipped("prepare")
        for round in 0..<PlayKilled.kills {
          // At any moment in one half, and in the middle of the restart in the other: the server may be down then.
          if round.isMultiple(of: 2) {
            try await scenario.killPlay(prepare, after: .milliseconds(Int.random(in: 300...1500, using: &random)))
          } else {
            try await scenario.killPlay(
              prepare, after: .milliseconds(Int.random(in: 0...400, using: &random)), into: "restarting PostgreSQL on")
          }
          let level = try? await scenario.value(.source, "SHOW wal_level")
          if level == "logical" { try await withoutSettings(scenario) }
        }
        for words in ["prepare_source (", "set_replica_identity ("] {
          try await scenario.killPlay(prepare, at: words)
        }
        try await scenario.play(prepare)
        #expect(try await scenario.value(.source, "SHOW wal_level") == "logical")
        #expect(try await identities(scenario) == "fff")
        try await scenario.applicationGoesOn()
        try await scenario.play("migrate")
        try await scenario.drained()
        try await scenario.play("finish")
        try await expectTakenBack(scenario, hba: before)
      }
    }

    private func expectTakenBack(_ scenario: Scenario, hba: String) async throws {
      #expect(try readText("\(scenario.source.dataDirectory)/pg_hba.conf") == hba)
      #expect(try await identities(scenario) == "dnd")
      #expect(
        try await scenario.value(
          .source,
          "SELECT setting FROM pg_file_settings WHERE name = 'wal_level' ORDER BY seqno DESC LIMIT 1") == "replica")
    }

    /// Nobody has made pgconvoy's role; then somebody did, without its rights.
    private func theRoleIsMade(_ scenario: Scenario) async throws {
      let rights = "SELECT rolcanlogin, rolsuper, rolreplication FROM pg_roles WHERE rolname = 'pgconvoy'"
      let playbook = try scenario.playbook("migrate") { _ in
        """
        - name: role
          on_failure: undo
          steps: [prepare_source, stop_services: { on: source }]
        """
      }
      try await scenario.sql(.sourceApp, "ALTER SYSTEM SET log_statement = 'all'")
      try await scenario.sql(.sourceApp, "SELECT pg_reload_conf()")
      try await scenario.sql(.sourceApp, "DROP ROLE pgconvoy")
      let announced = try await scenario.start("play", playbook, "--check").result()
      #expect(announced.output.contains("CREATE ROLE \"pgconvoy\" LOGIN SUPERUSER REPLICATION PASSWORD '********'"))
      #expect(try await scenario.sql(.sourceApp, rights) == [])
      // It stops for want of a restart, and takes the role back as well.
      let made = try await scenario.play(playbook, expecting: 1)
      #expect(made.text.contains("[source.restart-needed]"), "\(made.text)")
      #expect(made.text.contains("role pgconvoy dropped"), "\(made.text)")
      #expect(try await scenario.sql(.sourceApp, rights) == [])
      // Left where a play does not undo.
      let alone = try scenario.playbook(steps: ["prepare_source"])
      try await scenario.play(alone, expecting: 1)
      #expect(try await scenario.sql(.source, rights) == [["t", "t", "t"]])
      let password = try #require(try scenario.parameters(.source).password)
      #expect(try !readText(scenario.source.postgresLog).contains(password))

      try await scenario.sql(.sourceApp, "ALTER ROLE pgconvoy NOSUPERUSER NOREPLICATION")
      try await scenario.play(alone, expecting: 1)
      #expect(try await scenario.sql(.source, rights) == [["t", "t", "t"]])
      // A password that is wrong is not the role's fault.
      try await scenario.sql(.sourceApp, "ALTER ROLE pgconvoy PASSWORD 'another'")
      let refused = try await scenario.play(alone, expecting: 1)
      #expect(refused.text.contains("[postgres.wrong-password]"), "\(refused.text)")
      try await scenario.sql(.sourceApp, "ALTER ROLE pgconvoy PASSWORD \(quotedLiteral(password))")
      // Everything is taken back; the rest of the test has a role that somebody has made.
      try await scenario.play(playbook, expecting: 1)
      #expect(try await scenario.sql(.sourceApp, rights) == [])
      try await scenario.sql(.sourceApp, "ALTER SYSTEM RESET log_statement")
      try await scenario.sql(
        .sourceApp, "CREATE ROLE pgconvoy LOGIN SUPERUSER REPLICATION PASSWORD \(quotedLiteral(password))")
    }

    /// Of the tables `deferrable`, `indexless` and `nameless`. The one whose index is gone had come to nothing.
    private func identities(_ scenario: Scenario) async throws -> String {
      try await scenario.value(
        .source,
        """
        SELECT string_agg(relreplident::text, '' ORDER BY relname) FROM pg_class
         WHERE relname IN ('nameless', 'indexless', 'deferrable')
        """, in: "alpha")
    }

    private func makeUnprepared(_ scenario: Scenario) async throws {
      try await scenario.script(
        .sourceApp,
        """
        CREATE TABLE public.nameless (a int);
        CREATE TABLE public.deferrable (a int PRIMARY KEY DEFERRABLE);
        CREATE TABLE public.indexless (a int NOT NULL UNIQUE);
        ALTER TABLE public.indexless REPLICA IDENTITY USING INDEX indexless_a_key;
        ALTER TABLE public.indexless DROP CONSTRAINT indexless_a_key;
        """, in: "alpha")
      let hba = "\(scenario.source.dataDirectory)/pg_hba.conf"
      try scenario.asServer(["/usr/bin/sed", "-i", "/replication/d", hba])
      try await withoutSettings(scenario)
    }

    private func withoutSettings(_ scenario: Scenario) async throws {
      try await scenario.sql(.sourceApp, "ALTER SYSTEM SET wal_level = 'replica'")
      try await scenario.sql(.sourceApp, "ALTER SYSTEM SET max_replication_slots = 2")
      try scenario.asServer([
        "\(scenario.lab.pgBin)/pg_ctl", "restart", "-w", "-m", "fast", "-D", scenario.source.dataDirectory, "-l",
        scenario.source.postgresLog,
      ])
    }
  }
}
