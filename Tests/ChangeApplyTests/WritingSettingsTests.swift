import BlockingIO
import ChangeApply
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// What expressions of tables go by is what an application's session on the source goes by; what values are read by is not.
@Suite("Rows under the settings that they were written under", .serialized, .cluster)
struct WritingSettingsTests {
  /// All but the last are over functions that are declared immutable and are not, as people do.
  static let schema = """
    CREATE SCHEMA app;
    CREATE FUNCTION app.clean(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
    CREATE FUNCTION app.slug(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
      $$BEGIN RETURN replace(clean(t), ' ', '-'); END$$;
    CREATE FUNCTION app.day_of(t timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT t::date';
    CREATE FUNCTION app.shown(d date, i interval, b bytea) RETURNS text LANGUAGE sql IMMUTABLE AS
      $$SELECT d::text || i::text || b::text$$;
    CREATE FUNCTION app.words(t text) RETURNS tsvector LANGUAGE sql IMMUTABLE AS 'SELECT to_tsvector(t)';
    CREATE FUNCTION app.tenant() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT current_setting('app.tenant', true)$$;
    CREATE FUNCTION app.escaped(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'a\\b' || t$$;
    CREATE DOMAIN app.slugged AS text CHECK (app.slug(VALUE) <> '');
    CREATE TABLE app.page (
      id int PRIMARY KEY, title app.slugged, at timestamptz, d date, i interval, b bytea, f float8,
      s text GENERATED ALWAYS AS (app.slug(title)) STORED, day date GENERATED ALWAYS AS (app.day_of(at)) STORED,
      shown text GENERATED ALWAYS AS (app.shown(d, i, b)) STORED, w tsvector GENERATED ALWAYS AS (app.words(title)) STORED,
      tenant text GENERATED ALWAYS AS (app.tenant() || id::text) STORED,
      e text GENERATED ALWAYS AS (app.escaped(title)) STORED, f_text text GENERATED ALWAYS AS (f::text) STORED,
      CHECK (app.slug(title) <> 'none'));
    CREATE INDEX page_day ON app.page (app.day_of(at)); CREATE UNIQUE INDEX page_slug ON app.page (app.slug(title));
    CREATE INDEX page_late ON app.page (id) WHERE app.day_of(at) > '2026-01-01';
    CREATE TABLE app.log (day date, at timestamptz, f float8, i interval, b bytea, p point);
    ALTER TABLE app.log REPLICA IDENTITY FULL;
    CREATE FUNCTION app.unnest(int[]) RETURNS SETOF int LANGUAGE plpgsql AS $$BEGIN RAISE 'hostile'; END$$;
    CREATE FUNCTION app.hostile(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'hostile'; END$$;
    CREATE OPERATOR app.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = app.hostile);
    CREATE TABLE app.named (name varchar PRIMARY KEY, v int);
    """

  static let settings = [
    "search_path = app", "TimeZone = 'Asia/Tokyo'", "DateStyle = 'German, DMY'",
    "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'", "extra_float_digits = -2",
    "default_text_search_config = 'pg_catalog.german'", "standard_conforming_strings = off", "app.tenant = 'eins'",
    "lc_numeric = 'C'",
  ]

  static let changes = """
    INSERT INTO page SELECT n, 'Die Häuser ' || n, '2026-01-01 20:00+00'::timestamptz + n * interval '1 h',
      '2026-01-01'::date + n, make_interval(months => -n, days => 3, secs => 4.5), decode('00ff', 'hex'), 1.0 / n
      FROM generate_series(1, 40) n;
    UPDATE page SET title = title || ' neu', at = at + '5 h', f = f / 7 WHERE id % 3 = 0; DELETE FROM page WHERE id % 7 = 0;
    INSERT INTO log SELECT d, at, f, i, b, point(f, f / 3) FROM page; UPDATE log SET f = f * 3 WHERE day > '10.01.2026';
    INSERT INTO log SELECT * FROM log LIMIT 3; DELETE FROM log WHERE at < '02.01.2026 12:00';
    INSERT INTO named SELECT 'n' || n, n FROM generate_series(1, 9) n; UPDATE named SET v = -v; DELETE FROM named WHERE v < -6
    """

  /// On both servers: what indexes find, as the table's rows come to it in the session.
  private static let found = """
    SELECT (SELECT string_agg(id::text, ',' ORDER BY id) FROM page WHERE day_of(at) = '02.01.2026'),
           (SELECT string_agg(id::text, ',' ORDER BY id) FROM page WHERE id > 0 AND day_of(at) > '2026-01-01'),
           (SELECT string_agg(id::text, ',' ORDER BY id) FROM page WHERE slug(title) = 'die-häuser-3-neu')
    """

  @Test(arguments: [false, true])
  func expressionsComeToTheSame(inBatches: Bool) throws {
    let pair = try DatabasePair(Self.schema)
    let admin = try PostgresConnection.connect(pair.cluster.parameters("postgres"))
    for setting in Self.settings { try admin.script("ALTER DATABASE \(pair.name)_source SET \(setting)") }
    let application = try PostgresConnection.connect(pair.source.parameters)
    // What every session of ours pins, and an application's has from its database.
    try application.script("SET standard_conforming_strings = off")
    for change in Self.changes.split(separator: ";") { try application.script(String(change)) }
    if inBatches {
      let outcome = try pair.applyBacklog(try pair.changes())
      #expect(outcome.replays == 0 && outcome.missedRows == 0)
    } else {
      let applier = try pair.applier()
      try applier.apply(try pair.changes())
      try applier.commitGroup()
      #expect(applier.counters.missedRows == 0)
    }
    try pair.expectEqual()
    #expect(try pair.target.query("SELECT count(*) FROM app.page").first == "35")
    #expect(try pair.target.query("SELECT day FROM app.page WHERE id = 1").first == "2026-01-02")
    #expect(try pair.target.query("SELECT tenant FROM app.page WHERE id = 1").first == "eins1")

    // The target's own session goes by what the source's database has set, as it will after a copy.
    for setting in Self.settings { try admin.script("ALTER DATABASE \(pair.name)_target SET \(setting)") }
    let there = try PostgresConnection.connect(pair.target.parameters)
    var answers: [[String?]] = []
    for session in [application, there] {
      for plan in [
        "enable_seqscan = off; SET enable_bitmapscan = off", "enable_indexscan = off; SET enable_bitmapscan = off",
      ] {
        try session.script("RESET ALL; SET \(plan)")
        let row = try session.query(Self.found).rows[0]
        answers.append((0..<3).map { row[$0] })
      }
    }
    #expect(answers[0].allSatisfy { $0 != nil })
    #expect(answers.allSatisfy { $0 == answers[0] }, "\(answers)")
  }

  /// The text of a value, printed as a walsender prints it, is read as the same value whatever an application has set.
  @Test func textIsReadTheSameUnderAllSettings() throws {
    let cluster = try #require(Cluster.current)
    var parameters = cluster.parameters("postgres")
    parameters.settings = canonicalTextSettings
    let printer = try PostgresConnection.connect(parameters)
    let reader = try PostgresConnection.connect(parameters)
    let types = [
      "interval", "interval[]", "date", "daterange", "timestamp", "timestamptz", "tstzrange", "timetz", "time", "money",
      "xml", "bytea", "bytea[]", "float8", "float4", "point", "numeric", "text[]", "tsvector", "tsquery", "json",
      "regclass",
      "regtype", "regproc", "regconfig", "bit varying",
    ]
    let samples = """
      SELECT make_interval(y, m, 0, d, 0, 0, s)::text FROM unnest('{0,-1,2}'::int[]) y, unnest('{0,-3,4}'::int[]) m,
        unnest('{0,-5,6}'::int[]) d, unnest('{0,-7.25,8.5}'::float8[]) s
      """
    var values: [(String, String)] = try printer.query(samples).rows.map { ("interval", $0.string(0)) }
    let others: [String: [String]] = [
      "interval[]": ["{\"-1 mons +2 days -00:00:03\",NULL}"],
      "date": ["0044-03-15 BC", "12345-01-02", "2001-02-03", "infinity"],
      "daterange": ["[2001-02-03,2001-04-05)"], "timestamp": ["2001-02-03 04:05:06.7", "0044-03-15 00:00:00 BC"],
      "timestamptz": ["2001-02-03 04:05:06.7+00", "0044-03-15 00:00:00+00 BC", "-infinity"],
      "tstzrange": ["[\"2001-02-03 04:05:06+00\",)"], "timetz": ["04:05:06+05:45"], "time": ["24:00:00"],
      "money": ["$1,234.56", "-$0.07"], "xml": ["a fragment <b/>"], "bytea": ["\\x00ff5c"],
      "bytea[]": ["{\"\\\\x00ff\"}"],
      "float8": ["0.1", "1e-307", "-0", "NaN"], "float4": ["1e-30"], "point": ["(0.1,3e-05)"],
      "numeric": ["1.00", "1234567.8"],
      "text[]": ["{NULL,\"NULL\",\"a\\\\\"}"], "tsvector": ["'a':1 'b':2A"], "tsquery": ["'a' & !'b'"],
      "json": ["{\"a\":\"\\u00e9\"}"],
      "regclass": ["pg_class"], "regtype": ["integer", "text"], "regproc": ["now"], "regconfig": ["english"],
      "bit varying": ["101"],
    ]
    for type in types { values += (others[type] ?? []).map { (type, $0) } }
    let reading = values.enumerated().map {
      "('\($1.1.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''"))'::\($1.0))::text"
    }
    let statement = "SELECT " + reading.joined(separator: ", ")
    let expected = values.map(\.1)
    // Read under the settings, printed under the canonical ones.
    for (zone, date, interval, bytea) in [
      ("Asia/Tokyo", "German, DMY", "sql_standard", "escape"), ("America/St_Johns", "SQL, MDY", "iso_8601", "escape"),
      ("Europe/Dublin", "Postgres, DMY", "postgres_verbose", "hex"), ("UTC", "ISO, MDY", "sql_standard", "hex"),
    ] {
      let writing = WritingSettings([
        "TimeZone": zone, "DateStyle": date, "IntervalStyle": interval, "bytea_output": bytea,
        "extra_float_digits": "-3",
        "quote_all_identifiers": "on", "search_path": "\"public\"",
      ])
      _ = try reader.set(writing, until: .never)
      let columns = values.indices.map { "v\($0) \(values[$0].0)" }.joined(separator: ", ")
      try reader.script("DROP TABLE IF EXISTS read_back; CREATE TABLE read_back (\(columns))")
      let parameters = values.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
      try reader.query("INSERT INTO public.read_back VALUES (\(parameters))", values.map(\.1))
      let back = try printer.query(
        "SELECT " + values.indices.map { "v\($0)::text" }.joined(separator: ", ") + " FROM public.read_back"
      ).rows[0]
      #expect(values.indices.map { back.string($0) } == expected, "\(zone) \(date) \(interval)")
    }
    try reader.script("DROP TABLE public.read_back")
    #expect(try printer.query(statement).rows[0].string(0) == expected[0])
  }

  @Test(arguments: [
    ("\"$user\", public", nil, #""$user", "public""#), ("\"$user\", public", "app", #""app", "public""#),
    ("App, \"B,c\"\"d\" , pg_catalog", "x", #""app", "B,c""d""#), ("", nil, ""), ("\"\"", nil, "\"\""),
  ])
  func pathsKeepPostgresFirst(text: String, user: String?, expected: String) {
    #expect(WritingSettings.path(text, user: user) == expected)
  }

  /// What the server, the database and the tables' one owner have set; not what our own role or environment has.
  @Test func settingsAreThoseOfAnApplication() throws {
    let pair = try DatabasePair("CREATE TABLE t (a int)")
    let database = pair.name + "_source"
    let parameters = pair.cluster.parameters(database)
    let admin = try PostgresConnection.connect(pair.cluster.parameters("postgres"))
    let role = try #require(try admin.query("SELECT current_user").first)
    func value(_ name: String) throws -> String? { try WritingSettings.read(parameters).values[name] }
    let own = try value("TimeZone")
    try admin.script("CREATE ROLE \(pair.name) LOGIN")
    try pair.source.script("ALTER TABLE t OWNER TO \(pair.name)")
    defer {
      _ = try? admin.script("ALTER ROLE \"\(role)\" RESET ALL")
      _ = try? pair.source.script("DROP TABLE t")
      _ = try? pair.target.script("DROP TABLE t")
      _ = try? admin.script("DROP ROLE \(pair.name)")
    }
    try admin.script("ALTER ROLE \"\(role)\" SET TimeZone = 'Asia/Kathmandu'")
    #expect(try value("TimeZone") == own)
    try admin.script("ALTER DATABASE \(database) SET TimeZone = 'Asia/Tokyo'")
    #expect(try value("TimeZone") == "Asia/Tokyo")
    try admin.script("ALTER ROLE \(pair.name) SET TimeZone = 'Europe/Dublin'")
    #expect(try value("TimeZone") == "Europe/Dublin")
    #expect(try value("search_path") == "\"\(pair.name)\", \"public\"")
    try admin.script("ALTER ROLE \(pair.name) IN DATABASE \(database) SET TimeZone = 'Asia/Tbilisi'")
    #expect(try value("TimeZone") == "Asia/Tbilisi")
    // None of this keeps us from asking.
    try admin.script("ALTER DATABASE \(database) SET role = '\(pair.name)'")
    try admin.script("ALTER DATABASE \(database) SET statement_timeout = 1")
    #expect(try value("TimeZone") == "Asia/Tbilisi")
    // Two owners: nobody knows which one writes.
    try pair.source.script("CREATE TABLE u (a int)")
    #expect(try value("TimeZone") == "Asia/Tokyo")
    #expect(
      try WritingSettings.read(parameters).differences(from: .init(["TimeZone": "UTC"])) == [
        "TimeZone ('Asia/Tokyo', 'UTC')"
      ])
  }
}
