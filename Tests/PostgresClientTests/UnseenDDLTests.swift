import PostgresClient
import TestSupport
import Testing

extension WithServer {
  /// What users' event triggers notice of DDL of ours: nothing, whatever they fire for.
  @Suite struct UnseenDDL {
    private static let triggers = """
      CREATE TABLE noted (tag text, event text);
      CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.noted VALUES (tg_tag, tg_event); END';
      CREATE EVENT TRIGGER usual ON ddl_command_end EXECUTE FUNCTION note();
      CREATE EVENT TRIGGER off ON ddl_command_end EXECUTE FUNCTION note(); ALTER EVENT TRIGGER off DISABLE;
      CREATE EVENT TRIGGER "al""ways" ON ddl_command_start EXECUTE FUNCTION note(); ALTER EVENT TRIGGER "al""ways" ENABLE ALWAYS;
      CREATE EVENT TRIGGER replica ON sql_drop EXECUTE FUNCTION note(); ALTER EVENT TRIGGER replica ENABLE REPLICA;
      """

    private static let states = "SELECT string_agg(evtname || evtenabled::text, ' ' ORDER BY oid) FROM pg_event_trigger"

    @Test func noTriggerNotices() throws {
      let server = try TestServer.running()
      try server.connect().script("CREATE DATABASE unseen")
      let connection = try PostgresConnection.connect(server.parameters("unseen"))
      defer { connection.close() }
      try connection.script("SELECT lo_create(5); CREATE TABLE t (id int); CREATE MATERIALIZED VIEW m AS SELECT 1 AS a")
      try connection.script(Self.triggers)
      try connection.script("TRUNCATE noted")
      let before = try connection.query(Self.states).first
      for statement in [
        "CREATE PUBLICATION p FOR ALL TABLES", "DROP PUBLICATION IF EXISTS p", "REFRESH MATERIALIZED VIEW m",
        "CREATE SCHEMA s; REVOKE ALL ON SCHEMA s FROM PUBLIC; CREATE TABLE s.t (id int);\nCOMMENT ON SCHEMA s IS 'x'",
        "ALTER TABLE t REPLICA IDENTITY FULL", "ALTER LARGE OBJECT 5 OWNER TO clerk",
        "GRANT SELECT ON LARGE OBJECT 5 TO clerk",
        "CREATE EVENT TRIGGER ours ON ddl_command_end EXECUTE FUNCTION note()",
        "DROP EVENT TRIGGER ours; DROP SCHEMA s CASCADE",
      ] { try connection.unseen(statement) }
      // In a transaction of the caller's.
      try connection.script("BEGIN")
      try connection.unseen("CREATE SCHEMA s")
      try connection.script("COMMIT")
      // What fails leaves everything as it was.
      #expect(throws: PostgresError.self) { try connection.unseen("CREATE SCHEMA other; SELECT 1 / 0") }
      #expect(
        try connection.query("SELECT to_regnamespace('s') IS NOT NULL, to_regnamespace('other') IS NULL").rows[0].bool(
          1))
      try connection.script("BEGIN")
      try connection.withoutEventTriggers { () throws(PostgresError) in
        try connection.script("SET LOCAL session_replication_role = replica; DROP SCHEMA s; CREATE SCHEMA s")
      }
      try connection.script("COMMIT")
      #expect(try connection.query("SELECT count(*) FROM noted").first == "0")
      #expect(try connection.query(Self.states).first == before)
      #expect(try connection.query("SHOW session_replication_role").first == "origin")
      // They are there for everybody else.
      try connection.script("DROP SCHEMA s")
      #expect(try connection.query("SELECT count(*) FROM noted").first == "2")
    }
  }
}
