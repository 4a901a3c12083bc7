import ChangeApply
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// A schema, what is done to it, and how many updates or deletes may find no row.
struct SpecialCase: Sendable, CustomTestStringConvertible {
  var name: String
  var schema: String
  var script: String

  init(_ name: String, _ schema: String, _ script: String) {
    self.name = name
    self.schema = schema
    self.script = script
  }

  var testDescription: String { name }

  static let all: [SpecialCase] = [
    .init(
      "FullIdentityWithTypesThatHaveNoEquality",
      "CREATE TABLE t (a json, b point, c xml); ALTER TABLE t REPLICA IDENTITY FULL",
      """
      INSERT INTO t VALUES ('{"a": 1}', '(1,2)', '<a/>'), ('{"a":1}', '(1,2)', '<a/>'), (NULL, NULL, NULL);
      UPDATE t SET b = '(3,4)' WHERE a::text = '{"a":1}';
      DELETE FROM t WHERE a IS NULL
      """),
    .init(
      "FullIdentityWithBooleans",
      """
      CREATE DOMAIN flag AS boolean;
      CREATE TABLE t (a int, b boolean, c flag, d boolean[], e bit(3)); CREATE INDEX ON t (b);
      CREATE TABLE u (a int, b boolean); ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE u REPLICA IDENTITY FULL
      """,
      """
      INSERT INTO t VALUES (1, true, true, '{t,f}', '101'), (1, false, false, '{f}', '001'), (1, NULL, NULL, NULL, NULL);
      INSERT INTO u SELECT 1, b FROM t;
      UPDATE t SET a = 2 WHERE b; DELETE FROM t WHERE NOT b;
      UPDATE u SET a = 2 WHERE b; DELETE FROM u WHERE NOT b
      """),
    .init(
      "FullIdentityTellsNullFromEmpty",
      """
      CREATE TYPE pair AS (a int, b int); CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL;
      CREATE TABLE c (a int, b pair); ALTER TABLE c REPLICA IDENTITY FULL
      """,
      """
      INSERT INTO t VALUES (1, NULL), (1, ''); DELETE FROM t WHERE b = '';
      INSERT INTO t VALUES (2, NULL), (2, ''); UPDATE t SET a = 3 WHERE b = '';
      INSERT INTO c VALUES (1, ROW(NULL, NULL)), (1, NULL), (2, ROW(NULL, 1)); DELETE FROM c WHERE a = 2;
      DELETE FROM c WHERE b IS NOT DISTINCT FROM NULL; INSERT INTO c VALUES (3, NULL), (3, ROW(NULL, NULL));
      DELETE FROM c WHERE a = 3 AND b IS DISTINCT FROM NULL
      """),
    .init(
      "FullIdentityDuplicatesOneByOne",
      "CREATE TABLE t (a int, b numeric); ALTER TABLE t REPLICA IDENTITY FULL",
      """
      INSERT INTO t VALUES (1, 1.0), (1, 1.0), (1, 1.0), (1, 1.00);
      DELETE FROM t WHERE ctid = '(0,1)'; UPDATE t SET a = 2 WHERE ctid = '(0,2)'; DELETE FROM t WHERE b::text = '1.00'
      """),
    .init(
      "FullIdentityGeneratedColumn",
      """
      CREATE TABLE t (a int, b text GENERATED ALWAYS AS (a::text || 'x') STORED); ALTER TABLE t REPLICA IDENTITY FULL
      """,
      "INSERT INTO t VALUES (1), (2), (NULL); UPDATE t SET a = 3 WHERE a = 1; DELETE FROM t WHERE a IS NULL"),
    .init(
      "FullIdentityToast",
      "CREATE TABLE t (a int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL",
      """
      INSERT INTO t VALUES (1, repeat('a', 9000)), (2, repeat('b', 9000));
      UPDATE t SET a = 3 WHERE a = 1; DELETE FROM t WHERE a = 2; UPDATE t SET big = 'small' WHERE a = 3
      """),
    .init(
      "UsingIndexIdentity",
      """
      CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b char(3) NOT NULL, c text);
      CREATE UNIQUE INDEX i ON t (b, a) INCLUDE (c); ALTER TABLE t REPLICA IDENTITY USING INDEX i
      """,
      """
      INSERT INTO t VALUES (1, 'x', 'y', 'c'), (2, 'x', 'z', 'd');
      UPDATE t SET c = 'e' WHERE id = 1; UPDATE t SET b = 'q' WHERE id = 2; UPDATE t SET id = 7 WHERE id = 1;
      DELETE FROM t WHERE id = 2
      """),
    .init(
      "KeyTypesOfAnExtensionOutOfTheSearchPath",
      """
      CREATE EXTENSION ltree; CREATE EXTENSION citext; CREATE EXTENSION isn;
      CREATE TABLE t (id ltree PRIMARY KEY, v int); CREATE TABLE c (id citext PRIMARY KEY, v int);
      CREATE TABLE f (id ltree, v int); CREATE INDEX ON f (id); ALTER TABLE f REPLICA IDENTITY FULL;
      CREATE TABLE e (id ean13, b isbn, v int, PRIMARY KEY (b, id))
      """,
      """
      INSERT INTO t VALUES ('a.b', 1), ('a.c', 2); UPDATE t SET v = 3 WHERE id = 'a.b'; UPDATE t SET id = 'x' WHERE v = 2;
      INSERT INTO c VALUES ('Foo', 1), ('bar', 2); UPDATE c SET id = 'FOO' WHERE id = 'foo'; UPDATE c SET v = 4; DELETE FROM c WHERE id = 'BAR';
      INSERT INTO f VALUES ('a.b', 1); UPDATE f SET v = 2; DELETE FROM t WHERE id = 'x';
      INSERT INTO e VALUES ('978-0-11-000533-1', '978-0-393-04002-9', 1); UPDATE e SET v = 2
      """),
    .init(
      "KeyTypes",
      """
      CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN code AS char(5);
      CREATE TABLE k1 (id char(5), id2 varchar(3), v int, PRIMARY KEY (id, id2));
      CREATE TABLE k2 (id mood PRIMARY KEY, v int); CREATE TABLE k3 (id pair PRIMARY KEY, v int);
      CREATE TABLE k4 (id code PRIMARY KEY, v int); CREATE TABLE k5 (id int[] PRIMARY KEY, v int);
      CREATE TABLE k6 (id "char" PRIMARY KEY, v int); CREATE TABLE k7 (id bit(3) PRIMARY KEY, v int);
      CREATE TABLE k8 (id numeric PRIMARY KEY, v int); CREATE TABLE k9 (id float8 PRIMARY KEY, v int);
      CREATE TABLE k10 (id bytea PRIMARY KEY, v int); CREATE TABLE k11 (id name PRIMARY KEY, v int);
      CREATE TABLE k12 (id int4range PRIMARY KEY, v int); CREATE TABLE k13 (id bpchar PRIMARY KEY, v int);
      CREATE TABLE k14 (id timestamptz(3) PRIMARY KEY, v int); CREATE TABLE k15 (id interval PRIMARY KEY, v int)
      """,
      """
      INSERT INTO k1 VALUES ('a', 'b', 1), ('abcde', '', 2); UPDATE k1 SET v = 3; UPDATE k1 SET id = 'z' WHERE id2 = '';
      INSERT INTO k2 VALUES ('sad', 1), ('it''s', 2); UPDATE k2 SET v = 3; DELETE FROM k2 WHERE id = 'sad';
      INSERT INTO k3 VALUES ((1, 'a,"b'), 1), ((NULL, ''), 2); UPDATE k3 SET v = 3; DELETE FROM k3 WHERE (id).a = 1;
      INSERT INTO k4 VALUES ('ab', 1); UPDATE k4 SET v = 2;
      INSERT INTO k5 VALUES ('{1,NULL}', 1), ('[0:1]={1,2}', 2); UPDATE k5 SET v = v + 1; DELETE FROM k5 WHERE v = 2;
      INSERT INTO k6 VALUES ('a', 1), ('', 2), ('\\', 3); UPDATE k6 SET v = v + 1; DELETE FROM k6 WHERE v = 2;
      INSERT INTO k7 VALUES ('101', 1); UPDATE k7 SET v = 2; UPDATE k7 SET id = '000';
      INSERT INTO k8 VALUES (1.0, 1), ('NaN', 2), (1e-20, 3); UPDATE k8 SET v = v + 1; UPDATE k8 SET id = 1.00 WHERE id = 1;
      INSERT INTO k9 VALUES (0.1, 1), ('-Infinity', 2), ('NaN', 3), (1e300, 4); UPDATE k9 SET v = v + 1;
      INSERT INTO k10 VALUES ('\\x00ff27', 1); UPDATE k10 SET v = 2; INSERT INTO k11 VALUES ('a''b', 1); UPDATE k11 SET v = 2;
      INSERT INTO k12 VALUES ('[1,5)', 1), ('empty', 2); UPDATE k12 SET v = v + 1; DELETE FROM k12 WHERE v = 3;
      INSERT INTO k13 VALUES ('a  ', 1); UPDATE k13 SET v = 2;
      INSERT INTO k14 VALUES ('infinity', 1), ('2000-01-01 00:00:00.1234+05', 2); UPDATE k14 SET v = 3;
      INSERT INTO k15 VALUES ('-1 day +02:00', 1); UPDATE k15 SET v = 2
      """),
    .init(
      "IdentityAlways",
      """
      CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
      CREATE TABLE u (k int PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, v text, g int GENERATED ALWAYS AS (k * 2) STORED);
      ALTER TABLE u ALTER v SET STORAGE EXTERNAL;
      CREATE TABLE d (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text);
      CREATE TABLE f (id int GENERATED ALWAYS AS IDENTITY, v text); ALTER TABLE f REPLICA IDENTITY FULL
      """,
      """
      INSERT INTO t (v) VALUES ('a'), ('b'); UPDATE t SET v = 'c' WHERE id = 1; UPDATE t SET id = DEFAULT WHERE id = 2;
      INSERT INTO u (k, v) VALUES (1, repeat('x', 9000)), (2, 'y'); UPDATE u SET v = 'z' WHERE k = 2;
      UPDATE u SET id = DEFAULT WHERE k = 1; UPDATE u SET k = 5 WHERE k = 1;
      INSERT INTO d VALUES (7, 'a'); UPDATE d SET id = 8; DELETE FROM t WHERE id = 1;
      INSERT INTO f (v) VALUES ('a'), ('b'); UPDATE f SET v = 'c' WHERE id = 1; DELETE FROM f WHERE id = 2
      """),
    .init(
      "NothingToSetAndNoColumns",
      """
      CREATE TABLE z (); CREATE TABLE zf (); ALTER TABLE zf REPLICA IDENTITY FULL;
      CREATE TABLE g (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED);
      CREATE TABLE i (a int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)
      """,
      """
      INSERT INTO z DEFAULT VALUES; INSERT INTO z DEFAULT VALUES; INSERT INTO zf DEFAULT VALUES; INSERT INTO zf DEFAULT VALUES;
      DELETE FROM zf WHERE ctid = '(0,1)'; INSERT INTO g VALUES (1), (2); UPDATE g SET a = a WHERE a = 1;
      INSERT INTO i DEFAULT VALUES; UPDATE i SET a = DEFAULT; DELETE FROM g WHERE a = 2
      """),
    .init(
      "ToastedKey",
      "CREATE TABLE t (k text PRIMARY KEY, v int, w text); ALTER TABLE t ALTER k SET STORAGE EXTERNAL",
      """
      INSERT INTO t VALUES (repeat('k', 2400), 1, 'a'), ('short', 2, repeat('w', 3000));
      UPDATE t SET v = 3 WHERE v = 1; UPDATE t SET v = 4 WHERE v = 2; UPDATE t SET k = 'moved' WHERE v = 4;
      DELETE FROM t WHERE v = 3
      """),
    .init(
      "PartitionsAndInheritance",
      """
      CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
      CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 (v text, gone int, id int NOT NULL);
      ALTER TABLE p2 DROP gone; ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
      CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (c int, PRIMARY KEY (id)) INHERITS (parent)
      """,
      """
      INSERT INTO p VALUES (1, 'a'), (2, 'b'), (11, 'c'); UPDATE p SET id = 12 WHERE id = 1; UPDATE p SET v = 'x';
      DELETE FROM p WHERE id = 2; INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c', 1);
      UPDATE ONLY parent SET v = 'only'; DELETE FROM child
      """),
    .init(
      "Truncate",
      """
      CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id int REFERENCES a);
      CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
      CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent)
      """,
      """
      INSERT INTO a DEFAULT VALUES; INSERT INTO b VALUES (1); INSERT INTO p VALUES (1); TRUNCATE a CASCADE; TRUNCATE p;
      INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2); TRUNCATE ONLY parent; INSERT INTO parent VALUES (3);
      TRUNCATE parent RESTART IDENTITY; INSERT INTO p VALUES (1); INSERT INTO a DEFAULT VALUES
      """),
    .init(
      "NamesThatNeedQuotes",
      """
      CREATE SCHEMA "S.x"; CREATE TYPE "S.x"."we]ird" AS ENUM ('x]:''y');
      CREATE TABLE "S.x"."T "":[x], 'q' 🐘.y" ("select" int, "new-tuple: " text, "a]b:c" "S.x"."we]ird", "é" text,
        "e\u{301}" text, "$1" "S.x"."we]ird"[], PRIMARY KEY ("select", "e\u{301}"))
      """,
      """
      INSERT INTO "S.x"."T "":[x], 'q' 🐘.y" VALUES (1, 'null', 'x]:''y', 'é', 'e', '{"x]:''y"}');
      UPDATE "S.x"."T "":[x], 'q' 🐘.y" SET "new-tuple: " = E'it''s \\n\\\\\\' new-tuple: a[b]:''x''', "é" = NULL;
      UPDATE "S.x"."T "":[x], 'q' 🐘.y" SET "e\u{301}" = 'f'
      """),
    .init(
      "RowsWithABinaryForm",
      """
      CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
      CREATE TABLE t (id bigint PRIMARY KEY, a smallint, b int, c oid, d real, e double precision, f numeric,
        g numeric(10, 2), h boolean, i text, j varchar(5), k char(4), l name, m date, n time, o timestamp,
        p timestamptz, q timestamptz(0), r uuid, s bytea, u json, v jsonb, w mood);
      CREATE TABLE inserts (LIKE t); ALTER TABLE inserts REPLICA IDENTITY NOTHING
      """,
      """
      INSERT INTO t SELECT n, n, -n, n, n / 7.0::real, n / 7.0::float8, n / 7.0, n / 7.0, n % 2 = 0, 'text ' || n, n, n,
        'name ' || n, date '2026-11-27' - n * 1000, time '03:04:05.678' + n * interval '1 second',
        timestamp '2026-11-27 03:04:05.678' - n * interval '1000 days', timestamptz '2026-11-27 03:04:05.678+01', now(),
        md5(n::text)::uuid, decode(md5(n::text), 'hex'), ('{"a":  ' || n || '}')::json, ('{"a":  ' || n || '}')::jsonb,
        'it''s "ok"'::mood FROM generate_series(1, 300) n;
      INSERT INTO t (id) VALUES (1000);
      UPDATE t SET b = b - 1, d = -d, e = e * 1e200, f = f * 1e30, g = 0, h = NOT h, m = m + 1, n = '24:00', o = o + '1 us',
        p = p + '1 month', q = q, r = r, s = s || s, u = u, v = v, w = 'sad' WHERE id % 2 = 0;
      INSERT INTO inserts SELECT * FROM t
      """),
    // One such value has all rows of its COPY, and its column of a set, go as text.
    .init(
      "RowsWithAValueThatHasNoBinaryForm",
      """
      CREATE TABLE t (id int PRIMARY KEY, a numeric, b timestamptz, c date, d float8, e timestamp)
      """,
      """
      INSERT INTO t SELECT n, n, timestamptz '2026-11-27 03:04:05+00', date '2026-11-27', n, now() FROM generate_series(1, 20) n;
      INSERT INTO t VALUES (21, 'NaN', 'infinity', '-infinity', 'NaN', '0044-03-15 BC'),
        (22, 'Infinity', '0044-03-15 BC', '0044-03-15 BC', '-Infinity', '294276-12-31 23:59:59.999999'),
        (23, 1e100, '12345-01-01', '5874897-12-31', 5e-324, 'infinity'), (24, NULL, NULL, NULL, NULL, NULL);
      UPDATE t SET a = 'NaN', b = 'infinity', c = '-infinity', d = 'NaN', e = '10000-01-01' WHERE id IN (3, 17);
      UPDATE t SET a = a + 0.10, b = b + '1 s', c = c + 1, d = d / 3, e = e + '1 us' WHERE id IN (4, 5, 6)
      """),
    .init(
      "UniqueValueMovesWithinATransaction",
      "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)",
      """
      INSERT INTO t VALUES (1, 1), (2, 2); BEGIN; UPDATE t SET v = 3 WHERE id = 1; UPDATE t SET v = 1 WHERE id = 2;
      UPDATE t SET v = 2 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 9); COMMIT
      """),
    .init(
      "ConstraintsThatHoldOverSeveralRows",
      """
      CREATE TABLE list (id int PRIMARY KEY, place int, UNIQUE (place) DEFERRABLE INITIALLY DEFERRED);
      CREATE TABLE free (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
      CREATE TABLE late (LIKE free, PRIMARY KEY (id), EXCLUDE USING gist (during WITH &&) DEFERRABLE INITIALLY DEFERRED);
      CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY,
        a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)
      """,
      """
      INSERT INTO list SELECT n, n FROM generate_series(1, 50) n; UPDATE list SET place = 51 - place;;
      UPDATE list SET place = place + 1;; UPDATE list SET id = id + 25 WHERE id > 25;; UPDATE list SET id = id + 25 WHERE id < 26;
      INSERT INTO free VALUES (1, '[1,5)'), (2, '[5,9)');; UPDATE free SET during = '[20,30)' WHERE id = 1;;
      UPDATE free SET during = '[1,5)' WHERE id = 2; UPDATE free SET during = '[5,)' WHERE id = 1;;
      BEGIN; INSERT INTO late VALUES (1, '[1,5)'), (2, '[5,9)'); COMMIT;; BEGIN; UPDATE late SET during = '[5,9)' WHERE id = 1;
      UPDATE late SET during = '[1,5)' WHERE id = 2; COMMIT;;
      INSERT INTO a SELECT generate_series(1, 9); INSERT INTO b SELECT n, n FROM generate_series(1, 9) n;;
      BEGIN; INSERT INTO b VALUES (10, 10); UPDATE a SET id = id + 100 WHERE id < 4; DELETE FROM a WHERE id > 6 AND id < 10;
      INSERT INTO a VALUES (10); COMMIT
      """),
    .init(
      "AllTheColumnsThatATableCanHave",
      """
      DO $$ DECLARE list text := (SELECT string_agg('c' || n || ' smallint', ', ') FROM generate_series(1, 1599) n); BEGIN
        EXECUTE 'CREATE TABLE t (id int PRIMARY KEY, ' || list || ')'; EXECUTE 'CREATE TABLE f (id int, ' || list || ')'; END $$;
      ALTER TABLE f REPLICA IDENTITY FULL
      """,
      """
      INSERT INTO t (id, c1599) SELECT n, n FROM generate_series(1, 9) n; INSERT INTO f (id, c1599) SELECT id, c1599 FROM t;
      UPDATE t SET c5 = 7; UPDATE t SET c1599 = 8 WHERE id < 5; DELETE FROM t WHERE id = 8;
      UPDATE f SET c5 = 3 WHERE id < 5; DELETE FROM f WHERE id = 7
      """),
    .init(
      "HundredsOfSavepoints",
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, n int)",
      """
      DO $$ BEGIN FOR i IN 1..600 LOOP
        BEGIN INSERT INTO t VALUES (i, 's'); IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;;
      INSERT INTO t SELECT n, repeat(md5(n::text), 400) FROM generate_series(590, 610) n ON CONFLICT (id) DO UPDATE
        SET v = excluded.v; INSERT INTO t SELECT n, 'no' FROM generate_series(605, 620) n ON CONFLICT DO NOTHING
      """),
    .init(
      "TriggersAndForeignKeysStayQuiet",
      """
      CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
      CREATE TABLE log (n serial PRIMARY KEY, what text);
      CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
      CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON b FOR EACH ROW EXECUTE FUNCTION f()
      """,
      """
      INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1), (2, 2); DELETE FROM a WHERE id = 1; UPDATE b SET id = 5
      """),
    .init(
      "RolledBackPartsAndPreparedTransactions",
      "CREATE TABLE t (id int PRIMARY KEY)",
      """
      BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); ROLLBACK TO s; INSERT INTO t VALUES (3); COMMIT;;
      BEGIN; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'it''s';; COMMIT PREPARED 'it''s';;
      BEGIN; INSERT INTO t VALUES (5); ROLLBACK;; BEGIN; INSERT INTO t VALUES (6); PREPARE TRANSACTION 'p';; ROLLBACK PREPARED 'p'
      """),
  ]
}

@Suite(.cluster)
struct SpecialCases {
  @Test(arguments: SpecialCase.all)
  func appliesVerbatim(_ special: SpecialCase) throws {
    let pair = try DatabasePair(special.schema)
    let applier = try pair.replicate(special.script)
    try pair.expectEqual()
    #expect(applier.counters.missedRows == 0)
  }

  /// The same with a backlog, set by set; in pieces of a few changes, too.
  @Test(arguments: SpecialCase.all)
  func appliesVerbatimInBatches(_ special: SpecialCase) throws {
    let pair = try DatabasePair(special.schema)
    for part in special.script.split(separator: ";;") { try pair.source.script(String(part)) }
    let outcome = try pair.applyBacklog(try pair.changes(), limits: BatchLimits(changes: 7))
    try pair.expectEqual()
    #expect(outcome.missedRows == 0)
    // The server reads what was written for it.
    if special.name.hasPrefix("RowsWith") { #expect(outcome.replays == 0) }
  }

  /// What a column's type prints must read back as the same value, as a whole row's column and as an array's element,
  /// with a key and under REPLICA IDENTITY FULL.
  @Test(arguments: TypeFamily.all, [false, true])
  func valuesSurvive(_ family: TypeFamily, inBatches: Bool) throws {
    var schema = "CREATE TYPE mood AS ENUM ('sad', 'it''s, \"ok\"'); CREATE TYPE pair AS (a int, b text);"
    schema += "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN word AS varchar(5) DEFAULT 'x';"
    schema += "CREATE DOMAIN numbers AS int[];"
    var script = ""
    var again = ""
    for (index, column) in family.columns.enumerated() {
      for (table, identity) in [
        ("keyed\(index)", ""), ("full\(index)", "; ALTER TABLE full\(index) REPLICA IDENTITY FULL"),
      ] {
        let key = identity.isEmpty ? "id int PRIMARY KEY" : "id int"
        schema +=
          "CREATE TABLE \(table) (\(key), v \(column.type), a \(column.arrayType ?? column.type + "[]"))\(identity);"
        for (number, value) in column.values.enumerated() {
          let array = column.arrayType == nil ? "ARRAY[v, NULL]" : "a"
          script += """
            INSERT INTO \(table) (id, v) VALUES (\(number), \(value)); \
            UPDATE \(table) SET a = \(array) WHERE id = \(number);
            """
        }
        again += "UPDATE \(table) SET a = a;"
        script += "UPDATE \(table) SET id = id + 100 WHERE id % 2 = 0; DELETE FROM \(table) WHERE id % 3 = 1;"
      }
    }
    let pair = try DatabasePair(schema)
    for script in [script, again] {
      if inBatches {
        try pair.source.script(script)
        let outcome = try pair.applyBacklog(try pair.changes())
        #expect(outcome == (0, 0))
      } else {
        #expect(try pair.replicate(script).counters.missedRows == 0)
      }
      try pair.expectEqual("\(family.name)")
    }
  }
}
