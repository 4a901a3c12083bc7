import BlockingIO
import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// `ddl: replicate` between two databases: statements in their place among the rows.
@Suite(.cluster) struct StatementReplication {
  @Test(arguments: [false, true])
  func carriesTablesAndTheirRowsInOneTransaction(backlog: Bool) throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
    try test.run(
      "BEGIN", "INSERT INTO t VALUES (2, 'before')", "ALTER TABLE t ADD COLUMN w int DEFAULT 7",
      "INSERT INTO t VALUES (3, 'after', 8)", "CREATE TABLE u (id serial PRIMARY KEY, n numeric(6, 2) NOT NULL)",
      "INSERT INTO u (n) VALUES (1.5), (2)", "ALTER TABLE t RENAME COLUMN v TO word",
      "UPDATE t SET word = 'renamed' WHERE id = 1", "SAVEPOINT s", "CREATE TABLE gone ()", "ROLLBACK TO s",
      "ALTER TABLE u RENAME TO \"New U\"", "INSERT INTO \"New U\" (n) VALUES (3)", "COMMIT")
    try test.run("INSERT INTO t VALUES (4, 'later', 9)", "ALTER TABLE t DROP COLUMN w", "INSERT INTO t VALUES (5, 'x')")
    try test.run("CREATE TABLE short (id int)", "INSERT INTO short VALUES (1)", "DROP TABLE short")
    try test.apply(backlog: backlog)
    try test.expectSameSchemas()
    try test.expectSameRows("t", 5)
    try test.expectSameRows("\"New U\"", 3)
  }

  /// What they have written on the source comes as rows.
  @Test func eventTriggersOfUsersDoNotFireOnTheTarget() throws {
    let test = try StatementPair(
      """
      CREATE TABLE noted (id serial PRIMARY KEY, tag text);
      CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.noted (tag) VALUES (tg_tag); END';
      CREATE EVENT TRIGGER usual ON ddl_command_end EXECUTE FUNCTION note();
      CREATE EVENT TRIGGER always ON ddl_command_start EXECUTE FUNCTION note(); ALTER EVENT TRIGGER always ENABLE ALWAYS;
      CREATE EVENT TRIGGER dropped ON sql_drop EXECUTE FUNCTION note(); ALTER EVENT TRIGGER dropped ENABLE ALWAYS;
      CREATE EVENT TRIGGER replica ON ddl_command_end EXECUTE FUNCTION note(); ALTER EVENT TRIGGER replica ENABLE REPLICA
      """)
    try test.run(
      "CREATE TABLE u (id int)", "INSERT INTO u VALUES (1)", "ALTER TABLE u ADD v int DEFAULT 7", "DROP TABLE u")
    try test.apply()
    try test.expectSameRows("noted", 7)
    let states = "SELECT string_agg(evtname || evtenabled::text, ' ' ORDER BY evtname) FROM pg_event_trigger"
    #expect(try test.value(test.target, states) == "alwaysA droppedA replicaR usualO")
  }

  @Test func carriesIndexesViewsTypesAndMore() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY, v text)")
    let role = try test.role()
    try test.run(
      "CREATE INDEX ON t (v)", "CREATE UNIQUE INDEX i ON t (lower(v)) WHERE id > 0", "ALTER INDEX i RENAME TO j",
      "CREATE VIEW w AS SELECT id FROM t", "CREATE OR REPLACE VIEW w AS SELECT id, v FROM t",
      "CREATE MATERIALIZED VIEW m AS SELECT 1 AS a", "CREATE UNIQUE INDEX ON m (a)", "REFRESH MATERIALIZED VIEW m",
      "CREATE TYPE mood AS ENUM ('sad')", "ALTER TYPE mood ADD VALUE 'happy' BEFORE 'sad'",
      "ALTER TABLE t ADD m mood DEFAULT 'happy'", "INSERT INTO t VALUES (1, 'a', 'happy')",
      "CREATE DOMAIN positive AS int CHECK (VALUE > 0)", "CREATE SEQUENCE s INCREMENT 5",
      "CREATE SCHEMA x CREATE TABLE y ()",
      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'by trigger; '; RETURN NEW; END $$",
      "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "INSERT INTO t VALUES (2, 'b')",
      "GRANT SELECT ON t TO \(role)", "COMMENT ON TABLE t IS 'it''s'",
      "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \(role)", "CREATE TABLE granted ()",
      "ALTER TABLE granted OWNER TO \(role)", "CREATE POLICY p ON t USING (id > 1)",
      "CREATE STATISTICS st ON id, v FROM t",
      "DROP DOMAIN positive", "DROP VIEW w", "DROP INDEX j", "REINDEX TABLE t", "DROP SCHEMA x CASCADE")
    try test.apply()
    try test.expectSameSchemas()
    try test.expectSameRows("t", 2)
  }

  @Test(arguments: [false, true])
  func makesATableBeforeTheRowsOfItsQuery(backlog: Bool) throws {
    let test = try StatementPair("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100)")
    try test.run(
      "CREATE TABLE c AS SELECT id, random() AS r, now() AS at FROM t", "INSERT INTO c VALUES (0, 0, now())",
      "CREATE TABLE d AS SELECT id FROM t WITH NO DATA", "CREATE TABLE IF NOT EXISTS d AS SELECT 'never'",
      "CREATE MATERIALIZED VIEW m AS SELECT id FROM c")
    try test.apply(backlog: backlog)
    try test.expectSameSchemas()
    try test.expectSameRows("c", 101)
    try test.expectSameRows("d", 0)
  }

  @Test func buildsIndexesConcurrently() throws {
    let test = try StatementPair("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a')")
    let role = try test.role()
    try test.run(
      "INSERT INTO t VALUES (2, 'b')", "CREATE INDEX CONCURRENTLY i ON t (id)", "CREATE INDEX CONCURRENTLY ON t (v)",
      "INSERT INTO t VALUES (3, 'c')", "CREATE UNIQUE INDEX CONCURRENTLY u ON t (id)", "DROP INDEX CONCURRENTLY u")
    try test.run(
      "CREATE TABLE \(role).own (id int)", "SET search_path = \(role)", "CREATE INDEX CONCURRENTLY own_i ON own (id)",
      as: role)
    try test.apply()
    try test.expectSameSchemas()
    try test.expectSameRows("t", 3)
    try test.apply()
  }

  /// On the target it is built in the transaction of its progress, so that nothing half done is ever there.
  @Test func anIndexOfThatNameIsNotTakenForIt() throws {
    let test = try StatementPair("CREATE TABLE t (id int)")
    try test.run("CREATE INDEX CONCURRENTLY gone ON t (id)", "DROP INDEX CONCURRENTLY gone")
    try test.apply()
    try test.target.script("CREATE INDEX other ON t (id)")
    try test.run("CREATE INDEX CONCURRENTLY other ON t ((id + 1))")
    try test.expectRefusal("already exists")
  }

  /// What cannot be told makes the statement park, and never fail: it is an application's.
  @Test func whatCannotBeToldIsNoErrorOfTheApplication() throws {
    let test = try StatementPair(
      "CREATE TABLE t (id int, v bytea); INSERT INTO t VALUES (1, repeat('x', 540000000)::bytea)")
    try test.run("ALTER TABLE t ALTER id TYPE bigint")
    try test.expectRefusal("cannot be told")
  }

  @Test func sessionsThatQuoteEverythingAreUnderstood() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    try test.run("SET quote_all_identifiers = on", "ALTER TABLE t ADD at timestamptz DEFAULT clock_timestamp()")
    try test.expectRefusal("something else")
  }

  @Test func rewritesAreTheSameOrParked() throws {
    let test = try StatementPair(
      "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, i::text FROM generate_series(1, 50) i")
    try test.run(
      "ALTER TABLE t ALTER id TYPE bigint", "SET TimeZone = 'Asia/Tokyo'",
      "ALTER TABLE t ADD at timestamptz DEFAULT '2026-01-01 00:00'",
      "ALTER TABLE t ALTER v TYPE timestamptz USING '2026-01-01'::timestamp + v::int * interval '1 day'",
      "ALTER TABLE t ADD twice bigint GENERATED ALWAYS AS (id * 2) STORED")
    try test.apply()
    try test.expectSameSchemas()
    try test.expectSameRows("t", 50)
    try test.expectSameRows("(SELECT at, twice FROM t)", 50)
  }

  /// None of these may come out otherwise and go unseen.
  @Test(arguments: [
    "ALTER TABLE t ADD c timestamptz DEFAULT now()", "ALTER TABLE t ADD c float DEFAULT random()",
    "ALTER TABLE t ALTER v TYPE float USING random()",
    "ALTER TABLE t ADD c text DEFAULT session_user || pg_backend_pid()",
    "ALTER TABLE lone SET LOGGED",
  ])
  func whatComesOutOtherwiseIsParked(_ statement: String) throws {
    let test = try StatementPair(
      """
      CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
      CREATE UNLOGGED TABLE lone (id int)
      """)
    try test.run("INSERT INTO lone VALUES (1)", statement)
    let failure = try test.failure()
    #expect(failure.isStatement, "\(failure)")
    #expect(
      failure.description.contains("something else") || failure.description.contains("session_user"), "\(failure)")
    try test.target.script("ROLLBACK")
    #expect(try test.value(test.target, "SELECT count(*) FROM pg_attribute WHERE attname = 'c'") == "0")
  }

  @Test(arguments: [
    ("CREATE EXTENSION hstore", "not on the list"), ("SELECT 1 AS a INTO made", "not on the list"),
    ("CREATE TABLE a (); CREATE TABLE b ()", "not the only statement"),
    ("DO $$ BEGIN CREATE TABLE a (); END $$", "inside a function"), ("SELECT make()", "inside a function"),
    ("CREATE PUBLICATION foreign_one", "not on the list"), ("ALTER TABLE t ENABLE ALWAYS RULE r", "superuser"),
    ("CREATE CAST (text AS t) WITH INOUT", "not on the list"),
  ])
  func whatIsNotOnTheListIsParked(_ statement: String, _ words: String) throws {
    let test = try StatementPair(
      """
      CREATE TABLE t (id int PRIMARY KEY); CREATE RULE r AS ON INSERT TO t WHERE false DO NOTHING;
      CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TABLE made (); END'
      """)
    let role = try test.role("SUPERUSER")
    try test.run("INSERT INTO t VALUES (1)", statement, as: role)
    let failure = try test.failure()
    // A SELECT INTO parks at its rows, or at its end.
    if failure.isStatement {
      #expect(failure.description.contains(words) && failure.description.contains("pgconvoy skip"), "\(failure)")
    } else {
      #expect(statement.hasPrefix("SELECT 1") && failure.description.contains("made"), "\(failure)")
    }
  }

  /// Temporary objects stay where they are, also inside functions and several statements at once.
  @Test func temporaryObjectsAreNobodysBusiness() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY)")
    try test.run(
      "CREATE TEMP TABLE a (id serial PRIMARY KEY, v text)", "CREATE INDEX ON a (v)",
      "ALTER TABLE a ADD w int DEFAULT random()",
      "CREATE TEMP TABLE b AS SELECT 1 AS x", "SELECT 1 AS y INTO TEMP c", "SELECT lo_create(4711)",
      "ALTER LARGE OBJECT 4711 OWNER TO CURRENT_USER",
      "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC", "CREATE TEMP VIEW d AS SELECT * FROM a",
      "DO $$ BEGIN CREATE TEMP TABLE e AS SELECT 2 AS z; DROP TABLE e; END $$", "CREATE TEMP TABLE f (); DROP TABLE f",
      "CREATE TRIGGER tr BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
      "DROP TABLE a CASCADE", "SET search_path = pg_temp", "CREATE TABLE g AS SELECT 1 AS one",
      "INSERT INTO public.t VALUES (1)")
    try test.apply()
    try test.expectSameRows("t", 1)
    try test.expectSameSchemas()
  }

  /// A temporary table hides one that a statement names.
  @Test func aTemporaryTableInTheWayIsParked() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY)")
    try test.run("CREATE TEMP TABLE t (other text)", "CREATE TABLE u (LIKE t)")
    try test.expectRefusal("temporary relation t")
  }

  @Test func failuresNameTheStatementAndLeaveNothingBehind() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY)")
    try test.target.script("CREATE TABLE u (id int)")
    try test.run(
      "BEGIN", "INSERT INTO t VALUES (1)", "CREATE TABLE u (id int, v text)", "INSERT INTO u VALUES (1)", "COMMIT")
    let failure = try test.failure()
    #expect(failure.isStatement && failure.lsn != nil && failure.xid != nil)
    let text = failure.description
    #expect(text.hasPrefix("CREATE TABLE, xid "), "\(text)")
    for words in ["already exists", "42P07", "by postgres: CREATE TABLE u (id int, v text)", "'pgconvoy skip'"] {
      #expect(text.contains(words), "\(text)")
    }
    #expect(try test.value(test.target, "SELECT count(*) FROM t") == "0")
    // By hand, and then it goes on without this statement, and without losing the rows beside it.
    try test.target.script("ALTER TABLE u ADD v text")
    try test.apply(leavingOut: [try #require(failure.lsn)])
    try test.expectSameRows("t", 1)
    try test.expectSameRows("u", 1)
    try test.expectSameSchemas()
  }

  @Test func readsAgainWhatWasCutOff() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY)")
    try test.run("CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)")
    let records = try test.pair.changes()
    // All but the last COMMIT, twice.
    for _ in 0..<2 {
      let applier = try test.pair.applier(from: try test.pair.progress())
      try applier.apply(Array(test.pair.remaining(records, after: try test.pair.progress()).dropLast()))
      applier.end()
    }
    let applier = try test.pair.applier(from: try test.pair.progress())
    try applier.apply(test.pair.remaining(records, after: try test.pair.progress()))
    try applier.commitGroup()
    try test.expectSameRows("a", 1)
  }

  @Test func worksInOtherEncodings() throws {
    let test = try StatementPair("CREATE TABLE t (id int PRIMARY KEY)", encoding: "LATIN1")
    try test.run("CREATE TABLE \"grün\" (\"größe\" text DEFAULT 'weiß')", "INSERT INTO \"grün\" DEFAULT VALUES")
    try test.run("CREATE INDEX CONCURRENTLY \"ö\" ON \"grün\" (\"größe\")")
    try test.apply()
    try test.expectSameRows("\"grün\"", 1)
    try test.expectSameSchemas()
  }

  /// Settings of the client that give its text another meaning.
  @Test func settingsOfTheSessionComeAlong() throws {
    let test = try StatementPair("CREATE SCHEMA \"a b\"; CREATE SCHEMA c; CREATE TYPE c.n AS ENUM ('x')")
    try test.run(
      "SET search_path = \"a b\", c", "CREATE TABLE t (v n DEFAULT 'x')", "SET standard_conforming_strings = off",
      "SET escape_string_warning = off", "CREATE TABLE u (v text DEFAULT 'it\\'s; ')",
      "SET check_function_bodies = off",
      "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT nothing FROM nowhere'")
    let kept = try test.session()
    try kept.script("SET search_path = c")
    try kept.script("BEGIN")
    try kept.script("SET LOCAL search_path = \"a b\"")
    try kept.script("CREATE TABLE v ()")
    #expect(try kept.query("SHOW search_path").first == "\"a b\"")
    try kept.script("COMMIT")
    #expect(try kept.query("SHOW search_path").first == "c")
    try test.apply()
    try test.expectSameSchemas()
  }
}
