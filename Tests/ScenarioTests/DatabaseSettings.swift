import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// `ALTER DATABASE … SET` on either side changes nothing in what is read; what expressions go by is what the source has.
  @Suite struct DatabaseSettings {
    static let tables = """
      CREATE TABLE "settings T" (id integer PRIMARY KEY, d date, ts timestamptz, f float8, b bytea, i interval, a text[]);
      CREATE TABLE settings_full (d date, f float8, b bytea, i interval);
      ALTER TABLE settings_full REPLICA IDENTITY FULL;
      CREATE EXTENSION earthdistance CASCADE;
      CREATE FUNCTION clean(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
      CREATE FUNCTION slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT replace(clean(t), '' '', ''-'')';
      CREATE FUNCTION day_of(t timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT t::date';
      CREATE TABLE settings_visit (
        id integer PRIMARY KEY, title text CHECK (slug(title) <> ''), at timestamptz, lat float8, lon float8,
        s text GENERATED ALWAYS AS (slug(title)) STORED, day date GENERATED ALWAYS AS (day_of(at)) STORED);
      CREATE INDEX settings_visit_day ON settings_visit (day_of(at));
      CREATE INDEX settings_visit_place ON settings_visit USING gist (ll_to_earth(lat, lon));
      """
    /// By the index, where the source's sessions have nearly all rows on the day after UTC's.
    static let byIndex = """
      DO $$DECLARE n bigint; BEGIN
        SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL search_path = public;
        SET LOCAL TimeZone = 'Asia/Kathmandu';
        EXECUTE 'SELECT count(*) FROM settings_visit WHERE day_of(at) = ''2026-01-02''' INTO n;
        IF n <> 300 THEN RAISE 'the index finds % rows', n; END IF;
      END$$
      """

    @Test func changeNothingInTheStream() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let printed = [
        "datestyle = 'German, DMY'", "intervalstyle = 'sql_standard'", "timezone = 'Asia/Kathmandu'",
        "bytea_output = 'escape'", "extra_float_digits = -3", "quote_all_identifiers = on",
        "search_path = pg_catalog, public",
      ]
      let executed = [
        "default_transaction_read_only = on", "statement_timeout = 1", "array_nulls = off",
        "session_replication_role = 'origin'", "standard_conforming_strings = off", "datestyle = 'SQL, MDY'",
      ]
      for (role, settings) in [(Scenario.Role.source, printed), (.target, executed)] {
        for setting in settings {
          try await scenario.script(role, "ALTER DATABASE beta SET \(setting)", in: "postgres")
        }
      }
      // New sessions on both sides.
      try await scenario.killSync()
      try await scenario.play("migrate")
      let row = """
        '2024-05-06'::date + n, '2024-03-04 05:06:07+03'::timestamptz, 1e-307 / 3 * n, decode('00ff', 'hex'),
        make_interval(months => -1, days => 3, secs => 4.5)
        """
      try await scenario.script(
        .source, "INSERT INTO \"settings T\" SELECT n, \(row), ARRAY[NULL, 'x'] FROM generate_series(1, 9) n",
        in: "beta")
      try await scenario.script(
        .source,
        """
        INSERT INTO settings_full SELECT d, f, b, i FROM "settings T";
        UPDATE settings_full SET f = f / 7, d = d + 1; DELETE FROM settings_full WHERE d < '2024-05-11';
        UPDATE "settings T" SET f = f / 7, d = d + 1 WHERE id < 5
        """, in: "beta")
      try await scenario.script(
        .source,
        """
        SET TimeZone = 'Asia/Kathmandu'; SET search_path = public;
        INSERT INTO settings_visit SELECT n, 'A Title ' || n, '2026-01-01 20:00+00', 52 + n / 1000.0, 13
          FROM generate_series(1, 300) n;
        UPDATE settings_visit SET lat = lat + 1 WHERE id % 3 = 0
        """, in: "beta")
      try await scenario.drained(["beta"])
      #expect(try await scenario.status("beta").missedRows == 0)
      for role in [Scenario.Role.source, .target] {
        try await scenario.script(role, "ALTER DATABASE beta RESET ALL", in: "postgres")
      }
      for role in [Scenario.Role.source, .target] { try await scenario.script(role, Self.byIndex, in: "beta") }
      try await scenario.application("stop")
      try await scenario.drained(["beta"])
      try await scenario.expectIdentical(["beta"])
      try await scenario.application("start")
      #expect(try await scenario.sql(.target, "SELECT DISTINCT a FROM \"settings T\"", in: "beta") == [["{NULL,x}"]])
    }
  }
}
