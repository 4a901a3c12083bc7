import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// What is in no WAL: unlogged tables arrive empty, and their rows with the cutover where that is wished, and go back
  /// with the rollback.
  @Suite(.serialized) struct UnloggedTables {
    /// Non-ASCII in LATIN1, a generated column, one that was dropped, an identity, a foreign key between two of them, a
    /// trigger that must not fire, no rows, no columns.
    private static let tables = """
      CREATE UNLOGGED TABLE "käse 1" (id integer GENERATED ALWAYS AS IDENTITY, gone text, name text,
        twice integer GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id));
      ALTER TABLE "käse 1" DROP COLUMN gone;
      INSERT INTO "käse 1" (name) SELECT 'größe ' || i || E'\\t\\\\N\\n' FROM generate_series(1, 3000) AS i;
      CREATE UNLOGGED TABLE child (id integer REFERENCES "käse 1" DEFERRABLE, note text);
      INSERT INTO child SELECT i, CASE WHEN i % 2 = 0 THEN repeat('x', 3000) END FROM generate_series(1, 500) AS i;
      CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'shouted'; RETURN NEW; END $$;
      CREATE TRIGGER shouts BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION shout();
      CREATE UNLOGGED TABLE empty (a integer);
      CREATE UNLOGGED TABLE bare ();
      INSERT INTO bare DEFAULT VALUES;
      """

    @Test func areCopiedOnWishAndBack() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.script(
          .source, "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
          in: "postgres")
        try await scenario.script(.source, Self.tables, in: "latin")
        let check = try await scenario.start("check").result()
        #expect(check.output.contains("cutover.copy_unlogged"), "\(check.text)")
        try await scenario.play("migrate")
        let kase = "SELECT count(*) FROM \"käse 1\""
        #expect(try await scenario.value(.target, kase, in: "latin") == "0")

        try scenario.addToMigration("cutover: { copy_unlogged: true }")
        let result = try await scenario.play("cutover")
        #expect(result.text.contains("unlogged tables were copied, and are the same on both sides"), "\(result.text)")
        #expect(result.text.contains("(3000 rows)"), "\(result.text)")
        #expect(!result.text.contains("are empty on the target"), "\(result.text)")
        for (table, rows) in [("\"käse 1\"", "3000"), ("child", "500"), ("empty", "0"), ("bare", "1")] {
          let all =
            "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\")) FROM \(table) AS t"
          let theirs = try await scenario.sql(.source, all, in: "latin")
          #expect(try await scenario.sql(.target, all, in: "latin") == theirs)
          #expect(theirs[0][0] == rows)
        }

        // The old server's rows give way to those of the new one.
        try await scenario.script(
          .targetApp, "DELETE FROM child WHERE id > 10; INSERT INTO empty VALUES (7)", in: "latin")
        try await scenario.play("rollback")
        #expect(try await scenario.value(.source, "SELECT count(*) FROM child", in: "latin") == "10")
        #expect(try await scenario.value(.source, "SELECT a FROM empty", in: "latin") == "7")
        #expect(try await scenario.value(.source, kase, in: "latin") == "3000")
        try await scenario.applicationGoesOn()
      }
    }
  }
}
