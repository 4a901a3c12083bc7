import Testing

@testable import StatementReplication

/// What may be carried over, by tag and text.
@Suite struct StatementListTests {
  private func judge(_ tag: String, _ text: String) -> StatementVerdict {
    StatementList.judge(tag: tag, command: Array(text.utf8), standardStrings: true)
  }

  @Test(arguments: [
    ("CREATE TABLE", "create table t (a int, b text default ';')"),
    ("CREATE TABLE", "/* x */ CREATE UNLOGGED TABLE t ();;"),
    ("ALTER TABLE", "ALTER TABLE t ADD c text"), ("DROP TABLE", "DROP TABLE IF EXISTS t -- ; x"),
    ("CREATE INDEX", "CREATE UNIQUE INDEX i ON t (a)"),
    ("CREATE VIEW", "CREATE OR REPLACE RECURSIVE VIEW v (a) AS SELECT 1"),
    ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1; SELECT 2$$"),
    ("CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"),
    ("CREATE TYPE", "CREATE TYPE t AS ENUM ('a;b')"), ("GRANT", "GRANT SELECT ON t TO alice"),
    ("ALTER DEFAULT PRIVILEGES", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO alice"),
    ("DROP MATERIALIZED VIEW", "DROP MATERIALIZED VIEW m"), ("COMMENT", "COMMENT ON TABLE t IS 'a'"),
  ])
  func runs(_ tag: String, _ text: String) { #expect(judge(tag, text) == .run) }

  @Test(arguments: [
    ("CREATE EXTENSION", "CREATE EXTENSION hstore", "not on the list"),
    ("CREATE TABLE", "CREATE TABLE a (); CREATE TABLE b ()", "not the only statement"),
    ("CREATE TABLE", "CREATE TABLE a (); RESET ROLE; DROP TABLE b", "not the only statement"),
    ("CREATE TABLE", "SELECT f()", "inside a function"),
    ("CREATE TABLE", "DO $$ CREATE TABLE t () $$", "inside a function"),
    ("DROP TABLE", "CREATE TABLE t ()", "inside a function"),
    ("CREATE TABLE", "CREATE TABLESPACE t", "inside a function"),
    ("ALTER TABLE", "ALTER", "inside a function"), ("CREATE VIEW", "CREATE VIEW v AS SELECT 'a", "cannot be read"),
    ("ALTER TABLE", "ALTER TABLE t ENABLE ALWAYS TRIGGER x", "superuser"),
    ("ALTER TABLE", "ALTER TABLE t DISABLE TRIGGER x, enable /* */ replica rule y", "superuser"),
    ("ALTER TABLE", "ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "several transactions"),
    ("ALTER TABLE", "ALTER TABLE t OWNER TO SESSION_USER", "session_user"),
    ("CREATE TABLE AS", "CREATE TABLE t AS SELECT $1", "parameters"),
    ("CREATE TABLE AS", "CREATE TABLE t (a) AS EXECUTE p", "its session only"),
    ("CREATE FUNCTION", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", "not the only statement"),
    ("SELECT INTO", "SELECT 1 INTO t", "not on the list"), ("CREATE TABLE", "", "inside a function"),
  ])
  func refuses(_ tag: String, _ text: String, _ words: String) {
    guard case .refuse(let reason) = judge(tag, text) else {
      Issue.record("\(text) is not refused")
      return
    }
    #expect(reason.contains(words), "\(reason)")
  }

  @Test(arguments: [
    "CREATE TEMP TABLE t AS SELECT 1", "create local temporary table t as execute p",
    "CREATE TABLE pg_temp.t AS SELECT 1", "CREATE TABLE IF NOT EXISTS \"pg_temp\".t AS SELECT $1",
  ])
  func passesOverTemporaryTables(_ text: String) { #expect(judge("CREATE TABLE AS", text) == .passOver) }

  @Test(arguments: [
    ("CREATE INDEX", "CREATE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX ON t (a)"),
    (
      "CREATE INDEX", "CREATE UNIQUE INDEX /* x */ concurrently -- y\n i ON t (a)",
      "CREATE UNIQUE INDEX /* x */ i ON t (a)"
    ),
    ("DROP INDEX", "DROP INDEX CONCURRENTLY i", "DROP INDEX i"),
  ])
  func needsNoConcurrencyOnTheTarget(_ tag: String, _ text: String, _ wanted: String) {
    #expect(judge(tag, text) == .runInstead(Array(wanted.utf8)))
  }

  @Test(arguments: [
    ("CREATE TABLE t AS SELECT 1", "CREATE TABLE t AS SELECT 1\nWITH NO DATA"),
    ("CREATE TABLE t AS SELECT 1 -- x", "CREATE TABLE t AS SELECT 1\nWITH NO DATA"),
    ("CREATE TABLE t AS SELECT 1 WITH DATA;", "CREATE TABLE t AS SELECT 1 \nWITH NO DATA"),
    ("CREATE TABLE t AS (SELECT 1 AS execute) ; ", "CREATE TABLE t AS (SELECT 1 AS execute) \nWITH NO DATA"),
  ])
  func leavesRowsToTheStream(_ text: String, _ wanted: String) {
    #expect(judge("CREATE TABLE AS", text) == .runWithoutData(Array(wanted.utf8)))
  }

  @Test func leavesNoDataAsItIs() {
    #expect(judge("CREATE MATERIALIZED VIEW", "CREATE MATERIALIZED VIEW m AS SELECT 1 WITH NO DATA") == .run)
  }
}
