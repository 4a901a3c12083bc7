import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// `ddl: replicate` from the hand-off to the end: what the application's roles change on the source is on the target,
  /// in its place among the rows; what is not carried over parks its database, and a person has a way out.
  @Suite(.serialized) struct StatementsTravel {
    /// Through pgoutput: test_decoding has the tests of statements by themselves.
    @Test func fromTheHandOffToTheEnd() async throws {
      try await Scenario.run(databases: ["alpha"], plugin: .pgoutput, ddl: "replicate") { scenario in
        try await scenario.script(
          .source, "CREATE ROLE maker LOGIN; GRANT CREATE ON SCHEMA public TO maker", in: "alpha")
        try await scenario.script(.source, Self.noting, in: "alpha")
        try await scenario.play("migrate")
        #expect(try await ours(scenario, .source).count == 5)
        #expect(try await ours(scenario, .target).isEmpty)

        try await make(scenario)
        try await scenario.drained(["alpha"])
        #expect(try await contents(scenario, .target) == contents(scenario, .source))
        #expect(
          try await scenario.value(
            .target, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'made'", in: "alpha")
            == "maker")
        try await eventually("schemas that are the same") {
          try await scenario.status("alpha").drift?.isEmpty ?? false
        }

        try await park(scenario)
        // More while nobody syncs, and rows behind it.
        try await scenario.killSync()
        try await run(scenario, "ALTER TABLE made ADD later integer DEFAULT 5", "INSERT INTO made DEFAULT VALUES")
        try await scenario.play(try scenario.playbook(steps: ["start_sync"]))
        try await scenario.drained(["alpha"])
        #expect(try await contents(scenario, .target) == contents(scenario, .source))

        // Straight behind a statement: what is on its way is no drift.
        try await run(scenario, "CREATE VIEW on_its_way AS SELECT * FROM made")
        try await scenario.play(try scenario.cutoverWithoutServices())
        #expect(try await contents(scenario, .target) == contents(scenario, .source))
        #expect(try await scenario.value(.target, "SELECT count(*) FROM totals", in: "alpha") == "3")
        #expect(
          try await scenario.value(.target, "SELECT nextval('made_id_seq')", in: "alpha") == "1005",
          "a sequence that was made on the way")
        // The new server writes nothing down, and nothing goes back.
        try await scenario.script(.targetApp, "CREATE TABLE afterwards ()", in: "alpha")
        let noted = "SELECT string_agg(id || tag, ' ' ORDER BY id) FROM ddl_noted"
        let before = try await scenario.value(.target, noted, in: "alpha")
        #expect(before.contains("CREATE TABLE") && !before.contains("PUBLICATION"), "\(before)")
        try await scenario.play("cutover")
        try await scenario.play("finish")
        #expect(try await scenario.value(.target, noted, in: "alpha") == before, "DDL of ours was noticed")
        for side in [Scenario.Role.source, .target] { #expect(try await ours(scenario, side).isEmpty) }
      }
    }

    /// Event triggers of users, of which one fires for replicas as well. What they write comes with the stream, once: the
    /// cutover finds no difference.
    private static let noting = """
      CREATE TABLE ddl_noted (id bigserial PRIMARY KEY, tag text); GRANT ALL ON ddl_noted, ddl_noted_id_seq TO maker;
      CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.ddl_noted (tag) VALUES (tg_tag); END';
      CREATE EVENT TRIGGER note_usual ON ddl_command_end EXECUTE FUNCTION note_ddl();
      CREATE EVENT TRIGGER note_always ON ddl_command_end EXECUTE FUNCTION note_ddl();
      ALTER EVENT TRIGGER note_always ENABLE ALWAYS
      """

    /// As a client sends them: one by one.
    private func run(_ scenario: Scenario, as role: String? = nil, _ statements: String...) async throws {
      let session = try await scenario.session(.sourceApp, "alpha")
      do {
        if let role { try await session.script("SET SESSION AUTHORIZATION \(role)") }
        for statement in statements { try await session.script(statement, within: .seconds(60)) }
      } catch {
        await session.close()
        throw error
      }
      await session.close()
    }

    private func make(_ scenario: Scenario) async throws {
      try await run(
        scenario, as: "maker", "BEGIN", "CREATE TABLE made (id serial PRIMARY KEY, name text)",
        "INSERT INTO made (name) VALUES ('first')", "ALTER TABLE made ADD price numeric(10, 2)",
        "INSERT INTO made (name, price) VALUES ('second', 2.5)", "CREATE TYPE mood AS ENUM ('good')", "COMMIT",
        "ALTER TYPE mood ADD VALUE 'better'", "ALTER TABLE made ADD mood mood DEFAULT 'better'",
        "CREATE INDEX CONCURRENTLY made_name ON made (name)", "INSERT INTO made (id) VALUES (1000)",
        "SELECT setval('made_id_seq', 1002)")
      try await run(
        scenario, "CREATE TABLE copied AS SELECT *, random() AS r FROM made", "ALTER TABLE copied ADD PRIMARY KEY (id)",
        "UPDATE copied SET name = 'changed' WHERE id = 1", "CREATE MATERIALIZED VIEW totals AS SELECT id FROM copied",
        "CREATE TABLE dropped ()", "DROP TABLE dropped", "CREATE INDEX CONCURRENTLY unwanted ON made (price)",
        "DROP INDEX CONCURRENTLY unwanted", "GRANT SELECT ON made TO PUBLIC",
        "CREATE TEMP TABLE temporary AS SELECT 1 AS a")
    }

    /// Not on the list: it parks, says so, and goes on when its change was made by hand, with the rows beside it.
    private func park(_ scenario: Scenario) async throws {
      try await run(
        scenario, "BEGIN", "INSERT INTO made (name) VALUES ('beside')", "CREATE EXTENSION citext", "COMMIT")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      let error = try #require(try await scenario.status("alpha").lastError)
      #expect(
        error.hasPrefix("CREATE EXTENSION, xid ") && error.contains("not on the list")
          && error.contains("CREATE EXTENSION of extension citext by app") && error.contains("'pgconvoy skip'"),
        "\(error)")
      let lsn = String(try #require(error.firstMatch(of: #/lsn ([0-9A-F]+/[0-9A-F]+)/#)).1)
      // A person's DDL is noticed, unless it is seen to.
      try await scenario.script(
        .target,
        """
        ALTER EVENT TRIGGER note_usual DISABLE; ALTER EVENT TRIGGER note_always DISABLE; SET SESSION AUTHORIZATION app;
        CREATE EXTENSION citext; RESET SESSION AUTHORIZATION; ALTER EVENT TRIGGER note_usual ENABLE;
        ALTER EVENT TRIGGER note_always ENABLE ALWAYS
        """, in: "alpha")
      let skip = try await scenario.start("skip", "--database", "alpha", "--lsn", lsn).result()
      #expect(skip.status == 0 && skip.output.contains("CREATE EXTENSION of extension citext by app"), "\(skip.text)")
      try await scenario.drained(["alpha"])
      #expect(
        try await scenario.value(.target, "SELECT count(*) FROM made WHERE name = 'beside'", in: "alpha") == "1")
    }

    private func contents(_ scenario: Scenario, _ side: Scenario.Role) async throws -> [[String]] {
      try await scenario.sql(
        side,
        """
        SELECT 'made', m::text FROM made m UNION ALL SELECT 'copied', c::text FROM copied c
        UNION ALL SELECT 'index', concat(pg_get_indexdef(indexrelid), indisvalid) FROM pg_index
         WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        UNION ALL SELECT 'relation', concat_ws(' ', relname, relkind, relacl)
          FROM pg_class WHERE relnamespace = 'public'::regnamespace
        ORDER BY 1, 2
        """, in: "alpha")
    }

    /// Event triggers and schemas of pgconvoy's.
    private func ours(_ scenario: Scenario, _ side: Scenario.Role) async throws -> [[String]] {
      try await scenario.sql(
        side,
        """
        SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'pgconvoy%' UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgconvoy%'
        """, in: "alpha")
    }
  }
}
