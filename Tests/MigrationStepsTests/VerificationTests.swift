import Inventory
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import MigrationCore
@testable import SyncService
@testable import Verification

@Suite("Verification of two servers", .serialized)
struct VerificationTests {
  /// Tables that must compare as equal, with what is odd about each.
  static let odd = """
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE mood AS ENUM ('so', 'la la');
    CREATE TABLE t (t text, "t.*" int);
    INSERT INTO t VALUES ('x', 1), (NULL, NULL), ('', 2);
    CREATE TABLE composed (t pair, others pair[]);
    INSERT INTO composed VALUES ((1, 'a"b\\c,()'), ARRAY[(2, NULL)::pair, NULL]);
    CREATE TABLE no_columns ();
    INSERT INTO no_columns SELECT FROM generate_series(1, 3);
    CREATE TABLE empty (a int);
    CREATE TABLE types (
      j json, jb jsonb, x xml, p point, c char(5), b bytea, f float8, r float4, n numeric, d date, ts timestamptz,
      i interval, m money, m2 mood, bits varbit, a int[], rng tstzrange, u uuid, ip inet, v tsvector, k regclass,
      "char" "char", nm name);
    INSERT INTO types VALUES
      ('{"a":  1}', '{"b": [1, null]}', '<a>b</a>', '(1,2)', 'ab', '\\x00ff', '-0', 'NaN', 'NaN', 'infinity',
       '-infinity', '1 mon -3 days 04:05:06', 12.34, 'la la', B'101', '[2:3]={1,NULL}', '[2020-01-01,infinity)',
       '00000000-0000-0000-0000-000000000001', '10.0.0.1/8', 'a:1 b', 'public.types', 'x', 'name'),
      (NULL, NULL, NULL, NULL, '', '', 0.1, 1e-30, 1.00, '0044-03-15 BC', '2024-02-29 12:00+02', '0', 0, 'so', B'', '{}',
       'empty', NULL, '::1', '', 'pg_class', '', '');
    CREATE TABLE generated (
      id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, gone text);
    INSERT INTO generated (a, gone) SELECT n, 'x' FROM generate_series(1, 10) n;
    ALTER TABLE generated DROP COLUMN gone;
    CREATE TABLE twins (a text);
    INSERT INTO twins SELECT 'same' FROM generate_series(1, 4);
    CREATE TABLE toasted (a text);
    ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT repeat(md5(n::text), 2000) FROM generate_series(1, 5) n;
    CREATE TABLE widened (a int);
    INSERT INTO widened VALUES (1), (2);
    CREATE TABLE parent (a int) PARTITION BY RANGE (a);
    CREATE TABLE leaf_1 PARTITION OF parent FOR VALUES FROM (0) TO (10);
    CREATE TABLE leaf_2 PARTITION OF parent FOR VALUES FROM (10) TO (20);
    INSERT INTO parent SELECT generate_series(0, 19);
    CREATE TABLE ancestor (a int);
    CREATE TABLE heir (b int) INHERITS (ancestor);
    INSERT INTO ancestor VALUES (1);
    INSERT INTO heir VALUES (2, 3);
    CREATE UNLOGGED TABLE scratch (a int);
    INSERT INTO scratch VALUES (1);
    CREATE SCHEMA "o'dd ""schema"" \\";
    CREATE TABLE "o'dd ""schema"" \\"."sel""ect; --" ("a b" int, "C" text);
    INSERT INTO "o'dd ""schema"" \\"."sel""ect; --" VALUES (1, 'é');
    CREATE TABLE U&"caf\\00e9" (a int);
    CREATE TABLE U&"cafe\\0301" (a int);
    INSERT INTO U&"caf\\00e9" VALUES (1);
    INSERT INTO U&"cafe\\0301" VALUES (2), (3);
    CREATE TABLE trap (a int);
    INSERT INTO trap VALUES (1);
    CREATE FUNCTION spring(trap) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'sprung'; END$$;
    CREATE CAST (trap AS text) WITH FUNCTION spring(trap) AS ASSIGNMENT;
    ALTER TABLE trap ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    SELECT lo_from_bytea(4711, '\\x0102'), lo_from_bytea(4712, '');
    """

  /// Tables in which something will be planted.
  static let planted = """
    CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE p_byte (id int PRIMARY KEY, a text);
    INSERT INTO p_byte SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
    CREATE TABLE p_missing AS TABLE p_byte;
    ALTER TABLE p_missing ADD PRIMARY KEY (a, id);
    CREATE TABLE p_more AS TABLE p_byte;
    CREATE UNIQUE INDEX p_more_id ON p_more (id) INCLUDE (a);
    ALTER TABLE p_more ALTER id SET NOT NULL, REPLICA IDENTITY USING INDEX p_more_id;
    CREATE TABLE p_extra AS TABLE p_byte;
    CREATE TABLE p_swap AS TABLE p_byte;
    CREATE TABLE p_duplicates (a text);
    INSERT INTO p_duplicates VALUES ('a'), ('a'), ('b'), ('b'), ('b'), ('b');
    CREATE TABLE p_null (a text, b text);
    INSERT INTO p_null VALUES (NULL, '');
    CREATE TABLE p_case (a text COLLATE blind PRIMARY KEY);
    INSERT INTO p_case VALUES ('Straße');
    CREATE TABLE p_scale (a numeric);
    INSERT INTO p_scale VALUES (1.0);
    CREATE TABLE p_zero (a float8);
    INSERT INTO p_zero VALUES ('-0');
    CREATE TABLE p_json (a json);
    INSERT INTO p_json VALUES ('{"a":1}');
    CREATE TABLE p_gone (a int);
    INSERT INTO p_gone VALUES (1);
    CREATE TABLE p_unlogged (a int);
    INSERT INTO p_unlogged VALUES (1);
    """

  static let plant = """
    UPDATE p_byte SET a = overlay(a PLACING 'x' FROM 7) WHERE id = 12345;
    DELETE FROM p_missing WHERE id = 1;
    INSERT INTO p_more VALUES (20001, 'one'), (-1, 'two');
    UPDATE p_more SET a = 'three' WHERE id = 3;
    INSERT INTO p_extra SELECT * FROM p_extra WHERE id = 1;
    UPDATE p_swap SET a = CASE id WHEN 1 THEN md5('2') ELSE md5('1') END WHERE id IN (1, 2);
    DELETE FROM p_duplicates;
    INSERT INTO p_duplicates VALUES ('a'), ('a'), ('a'), ('a'), ('b'), ('b');
    UPDATE p_null SET a = '', b = NULL;
    UPDATE p_case SET a = 'STRASSE' WHERE false;
    UPDATE p_case SET a = 'straße';
    UPDATE p_scale SET a = 1.00;
    UPDATE p_zero SET a = 0;
    UPDATE p_json SET a = '{"a": 1}';
    DROP TABLE p_gone;
    ALTER TABLE p_unlogged SET UNLOGGED;
    CREATE TABLE p_new (a int);
    """

  @Test func everyPlantedDifferenceIsFoundAndNothingElse() async throws {
    try await TwoServers.with { source in
      try await source.run("postgres", "CREATE DATABASE one")
      try await source.run("postgres", "CREATE DATABASE two ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
      try await source.run("postgres", "CREATE DATABASE three")
      try await source.run("three", Self.computed)
      try await source.run("one", Self.odd + Self.planted)
      // More tables than one round trip takes.
      let many = (1...120).map { "CREATE TABLE many_\($0) AS SELECT \($0) AS n;" }.joined()
      try await source.run(
        "two", "SET client_encoding = 'UTF8'; CREATE TABLE \"é\" AS SELECT 'ü'::text;" + many)
    } _: { servers in
      // The same content in another physical form, and settings that change how it would be shown.
      try await servers.run(
        "source", "one",
        "ALTER TABLE widened ADD b text DEFAULT 'new'; UPDATE types SET f = f; UPDATE generated SET a = a WHERE id < 5")
      try await servers.run("source", "one", "VACUUM FULL twins")
      try await servers.run("target", "one", "ALTER TABLE widened ADD b text; UPDATE widened SET b = 'new'")
      try await servers.run(
        "target", "postgres",
        """
        ALTER DATABASE one SET DateStyle = 'German'; ALTER DATABASE one SET TimeZone = 'Asia/Tokyo'; SET check_function_bodies = off;
        ALTER DATABASE one SET extra_float_digits = 0; ALTER DATABASE one SET bytea_output = 'escape';
        ALTER DATABASE one SET IntervalStyle = 'iso_8601'; ALTER DATABASE one SET search_path = public;
        ALTER DATABASE one SET enable_seqscan = off
        """)
      try await equal(servers)
      try await wide(servers)
      try await budget(servers)
      try await servers.run("target", "one", Self.plant)
      try await different(servers)
      try await largeObjects(servers)
      try await drift(servers)
      try await indexes(servers)
    }
  }

  /// What was altered on one side is named, however odd its name; a copy has no drift.
  private func drift(_ servers: TwoServers) async throws {
    let copied = try await servers.pair("two") { try await SchemaDrift.between(source: $0, target: $1) }
    #expect(copied.differences == [])
    let here = try await servers.pair("one") { try await SchemaDrift.between(source: $0, target: $1) }.differences
    #expect(
      here == [
        "column public.p_gone.a: only on the source",
        "column public.p_new.a: only on the target",
        "column public.widened.b: text DEFAULT 'new'::text on the source, text on the target",
        "table public.p_gone: only on the source",
        "table public.p_new: only on the target",
        "table public.p_unlogged: not the same on both sides",
      ])
    try await servers.run(
      "target", "one", "DROP TABLE p_new; ALTER TABLE p_unlogged SET LOGGED; CREATE TABLE p_gone (a int)")
    try await servers.run("target", "one", "ALTER TABLE widened ALTER b SET DEFAULT 'new'")
    let mended = try await servers.pair("one") { try await SchemaDrift.between(source: $0, target: $1) }
    #expect(mended.differences == [])
    try await servers.run(
      "source", "one",
      """
      ALTER TABLE p_byte ALTER a TYPE varchar(40), ADD CHECK (id < 1000000); CREATE INDEX late ON p_more (a);
      ALTER TYPE mood ADD VALUE 'oh'; CREATE OR REPLACE FUNCTION spring(trap) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
      GRANT SELECT ON twins TO PUBLIC; CREATE VIEW "o'dd ""schema"" \\"."a view" AS SELECT 1 AS one;
      ALTER TABLE types ALTER n SET NOT NULL
      """)
    let drift = try await servers.pair("one") { try await SchemaDrift.between(source: $0, target: $1) }
    #expect(
      drift.differences == [
        #"column "o'dd ""schema"" \"."a view".one: only on the source"#,
        "column public.p_byte.a: character varying(40) on the source, text on the target",
        "column public.types.n: numeric NOT NULL on the source, numeric on the target",
        "constraint p_byte_id_check of public.p_byte: only on the source",
        "function public.spring(public.trap): not the same on both sides",
        "index public.late: only on the source",
        "table public.twins: not the same on both sides",
        "type public.mood: not the same on both sides",
        #"view "o'dd ""schema"" \"."a view": only on the source"#,
      ])
  }

  private func equal(_ servers: TwoServers) async throws {
    let comparisons = try await servers.verification(.full).run(["one", "two"])
    #expect(comparisons.map(\.differences) == [[], []])
    #expect(comparisons.map(\.largeObjectsDiffer) == [false, false])
    let one = try #require(comparisons.first)
    #expect(one.source.checksum == one.target.checksum)
    #expect(one.source.unlogged == [RelationName(schema: "public", name: "scratch")])
    var rows: [String: UInt64] = [:]
    for table in one.source.tables { rows[table.name.name, default: 0] += table.rows }
    for (name, count) in ["t": 3, "no_columns": 3, "empty": 0, "twins": 4, "leaf_1": 10, "ancestor": 1, "trap": 1] {
      #expect(rows[name] == UInt64(count), "table \(name)")
    }
    #expect(rows["parent"] == nil)
    // Swift holds the two for the same name.
    #expect(rows["caf\u{e9}"] == 3)
    #expect(one.source.largeObjects.objects == 2)
    #expect(one.source.largeObjects.pages == 1)
    #expect(comparisons[1].source.tables.count == 121)
    #expect(comparisons[1].source.rows == 121)
    try check(comparisons, at: .host("here"))
    // However the work is shared out.
    let shared = SideSums(mode: .full, lanes: 3, firstBytes: 100_000) { database in
      try await servers.session("target", database)
    } progress: { _ in
    }
    #expect(try await shared.run(["one", "two"]) == comparisons.map(\.target))
  }

  /// Without any time every table is sampled; with enough, none is.
  private func budget(_ servers: TwoServers) async throws {
    var verification = servers.verification(.full)
    verification.budget = .zero
    let samples = try await verification.run(["one"])[0]
    #expect(samples.differences == [])
    #expect(samples.source.tables.allSatisfy(\.isSample) && samples.target.tables.allSatisfy(\.isSample))
    var sums: [String: TableSum] = [:]
    for table in samples.source.tables { sums[table.name.name] = table }
    #expect(sums["p_byte"]?.rows == 20_000)
    #expect(sums["p_more"]?.checksum != nil && sums["p_more"]?.checksum != 0)
    #expect(sums["twins"] == nil || sums["twins"]?.checksum == nil)
    verification.budget = .seconds(60)
    let full = try await verification.run(["one"])[0]
    #expect(full.sampled.isEmpty && full.source.checksum != samples.source.checksum)

    // What is in the sample is seen, and so is a row too many.
    try await servers.run("target", "one", "UPDATE p_more SET a = 'all'; INSERT INTO twins VALUES ('more')")
    verification.budget = .zero
    #expect(try await verification.run(["one"])[0].differences.map(\.name.name) == ["p_more", "twins"])
    try await servers.run(
      "target", "one",
      "UPDATE p_more SET a = md5(id::text); DELETE FROM twins WHERE a = 'more'")
  }

  /// The way for rows that are too long for one text sees the same.
  private func wide(_ servers: TwoServers) async throws {
    try await servers.pair("one") { source, target in
      for table in ["types", "no_columns", "composed", "generated", "t"] {
        let name = RelationName(schema: "public", name: table)
        let here = try await source.query(SumQueries(session: source).wideStatement(name))
        let there = try await target.query(SumQueries(session: target).wideStatement(name))
        #expect(here.rows.map { [$0[1], $0[2]] } == there.rows.map { [$0[1], $0[2]] }, "table \(table)")
        #expect(table == "empty" || here.rows.first?[2] != "0")
      }
    }
  }

  private func different(_ servers: TwoServers) async throws {
    let full = try await servers.verification(.full).run(["one", "two"])
    #expect(
      full.map { $0.differences.map(\.name.name) } == [
        [
          "p_byte", "p_case", "p_duplicates", "p_extra", "p_gone", "p_json", "p_missing", "p_more", "p_new", "p_null",
          "p_scale",
          "p_swap", "p_unlogged", "p_zero",
        ], [],
      ])
    let counts = try await servers.verification(.counts).run(["one", "two"])
    #expect(
      counts[0].differences.map(\.description) == [
        "public.p_extra: source 20000 rows, target 20001 rows",
        "public.p_gone: source 1 row, target has no such table",
        "public.p_missing: source 20000 rows, target 19999 rows",
        "public.p_more: source 20000 rows, target 20002 rows",
        "public.p_new: source has no such table, target 0 rows",
        "public.p_unlogged: source 1 row, target has no such table",
      ])
    #expect(try await servers.verification(.off).run(["one"])[0].differences == [])
    try await narrowedDown(servers, full)
    let error = #expect(throws: ConvoyError.self) { try check(counts, at: .host("here")) }
    #expect(error?.code == "verify.differs")
    #expect(
      error?.message.hasPrefix(
        "6 tables differ: database one, table public.p_extra: source 20000 rows, target 20001 rows; ") == true)
  }

  /// Each planted row is named, and nothing else, without the tables being carried over.
  private func narrowedDown(_ servers: TwoServers, _ comparisons: [Verification.Comparison]) async throws {
    let narrowed = await servers.verification(.full).narrowDown(comparisons, within: .seconds(30))
    var found: [String: String] = [:]
    for difference in narrowed[0].differences { found[difference.name.name] = difference.rows?.description() }
    let two = "(2,c81e728d9d4c2f636f067f89cc14862c)"
    let one = "(1,c4ca4238a0b923820dcc509a6f75849b)"
    #expect(
      found == [
        "p_byte": "different (id)=(12345)",
        "p_missing": "missing (a, id)=(c4ca4238a0b923820dcc509a6f75849b,1)",
        "p_more": "extra (id)=(-1), (id)=(20001); different (id)=(3)",
        // Without a key.
        "p_extra": "extra \(one)",
        "p_swap": "missing \(one), \(two); extra (1,c81e728d9d4c2f636f067f89cc14862c), "
          + "(2,c4ca4238a0b923820dcc509a6f75849b)",
        "p_duplicates": "missing 2 × (b); extra 2 × (a)",
        "p_null": "missing (,\"\"); extra (\"\",)",
        "p_case": "missing (a)=(Straße); extra (a)=(straße)",
        "p_scale": "missing (1.0); extra (1.00)",
        "p_zero": "missing (-0); extra (0)",
        "p_json": #"missing ("{""a"":1}"); extra ("{""a"": 1}")"#,
      ])
    #expect(narrowed[1].differences == [])
    let said = "public.p_byte: source 20000 rows (checksum "
    #expect(narrowed[0].differences.first?.description.hasPrefix(said) == true)
    #expect(narrowed[0].differences.first?.description.hasSuffix("): different (id)=(12345)") == true)
    try await levels(servers)
  }

  /// Level by level, and no more names than are wanted.
  private func levels(_ servers: TwoServers) async throws {
    try await servers.run("target", "one", "DELETE FROM p_byte WHERE id BETWEEN 1 AND 50")
    try await servers.pair("one") { source, target in
      let name = RelationName(schema: "public", name: "p_more")
      var narrowing = NarrowingDown(source: source, target: target, end: ContinuousClock.now + .seconds(30), fewRows: 1)
      let fine = try #require(try await narrowing.run(name, rows: 16))
      #expect(fine.description() == "extra (id)=(-1), (id)=(20001); different (id)=(3)")
      narrowing.fewRows = 2_000
      let many = try #require(
        try await narrowing.run(RelationName(schema: "public", name: "p_byte"), rows: 20_000))
      #expect(many.count == RowDifferences.most && !many.isComplete)
      #expect(many.description(most: 1).hasSuffix("; there are more"))
      // A long row, seen column by column.
      let wide = RowTable(name: name, key: ["id"], columns: [("id", "integer"), ("a", "text")])
      #expect(try await target.query(wide.sums(in: BucketSet(), bits: 0)).rows.map { $0[1] } == ["20002"])
      #expect(
        try await NarrowingDown(source: source, target: target, end: ContinuousClock.now).run(name, rows: 1) == nil)
    }
  }

  private func largeObjects(_ servers: TwoServers) async throws {
    try await servers.run("target", "one", "SELECT lo_put(4711, 1, '\\x03')")
    let content = try await servers.verification(.off).run(["one", "two"])
    #expect(content.map(\.largeObjectsDiffer) == [true, false])
    #expect(throws: ConvoyError.self) { try check(content, at: .host("here")) }
    try await servers.run(
      "target", "one", "SELECT lo_put(4711, 1, '\\x02'); CREATE ROLE other; ALTER LARGE OBJECT 4712 OWNER TO other")
    let owner = try await servers.verification(.off).run(["one"])[0]
    #expect(owner.source.largeObjects.pageChecksum == owner.target.largeObjects.pageChecksum)
    #expect(owner.source.largeObjects.objectChecksum != owner.target.largeObjects.objectChecksum)
  }
}
