import ChangeApply
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// Rows of relations that the target lacks: left out where nobody will ever read them, and only there.
@Suite(.cluster)
struct AbsentRelations {
  private static let schema = """
    CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO t VALUES (0, 'old');
    CREATE SCHEMA a; CREATE TABLE a.x (id int PRIMARY KEY)
    """

  /// What comes and goes, beside rows of an application in the same transactions.
  private static let rebuilds = """
    BEGIN; CREATE TABLE staging AS SELECT i AS id, 'staged ' || i AS v FROM generate_series(1, 3) i;
    UPDATE staging SET v = v || '!'; INSERT INTO t SELECT * FROM staging; DROP TABLE staging; COMMIT;;
    CREATE SCHEMA repack; CREATE TABLE repack.log_1 (n bigserial PRIMARY KEY, pk int, row t);
    CREATE FUNCTION repack.note() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO repack.log_1 (pk, row) VALUES (NEW.id, NEW); RETURN NULL; END';
    CREATE TRIGGER repack AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION repack.note();;
    BEGIN; INSERT INTO kept VALUES (1); INSERT INTO t VALUES (10, 'from an application'); COMMIT;;
    CREATE TABLE repack.table_1 AS SELECT * FROM t; DELETE FROM repack.log_1; DROP TRIGGER repack ON t;
    DROP FUNCTION repack.note(); DROP TABLE repack.log_1, repack.table_1; DROP SCHEMA repack;;
    DO $$ BEGIN
      BEGIN CREATE TABLE inner_one (id int, v text); INSERT INTO inner_one VALUES (1, 'x'); EXCEPTION WHEN others THEN RAISE; END;
      ALTER TABLE inner_one RENAME TO outer_one; ALTER TABLE outer_one SET SCHEMA a; INSERT INTO a.outer_one VALUES (2, 'y');
      DROP TABLE a.outer_one; INSERT INTO kept VALUES (2);
    END $$;;
    BEGIN; CREATE MATERIALIZED VIEW brief AS SELECT id FROM t; DROP MATERIALIZED VIEW brief; COMMIT;;
    BEGIN; CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9); INSERT INTO parts VALUES (1); INSERT INTO kept VALUES (3);
    TRUNCATE parts_1, kept; INSERT INTO kept VALUES (4); DROP TABLE parts; COMMIT
    """

  private func expectRebuilds<Parser: RecordParser>(_ pair: DatabasePair, _ parser: Parser, backlog: Bool) throws {
    // Made on both sides since the copy, before the rebuilds and after them: neither can be any of those tables.
    for side in [pair.source, pair.target] { try side.script("CREATE TABLE early (id int, v text)") }
    for part in Self.rebuilds.split(separator: ";;") { try pair.source.script(String(part)) }
    for side in [pair.source, pair.target] { try side.script("CREATE TABLE late (number int PRIMARY KEY)") }
    try pair.source.script("INSERT INTO early VALUES (1, 'x'); INSERT INTO late VALUES (1)")
    let applier = try pair.applier(of: parser)
    applier.hasBacklog = backlog
    try applier.apply(try pair.changes())
    try applier.commitGroup()
    try pair.expectEqual()
    func left(_ schema: String, _ name: String) -> UInt64? {
      applier.counters.goneRows[RelationName(schema: schema, name: name)]
    }
    #expect(left("public", "staging") == 6)
    #expect([left("repack", "log_1"), left("repack", "table_1")] == [2, 5])
    #expect([left("public", "inner_one"), left("a", "outer_one")] == [1, 1])
    #expect(left("public", "parts_1") ?? 0 > 0)
    #expect(left("public", "t") == nil && left("public", "kept") == nil)
    #expect(applier.counters.missedRows == 0)
  }

  @Test(arguments: [false, true])
  func whatIsGoneIsLeftOut(backlog: Bool) throws {
    try expectRebuilds(try DatabasePair(Self.schema), TestDecodingParser(), backlog: backlog)
  }

  @Test func whatIsGoneIsLeftOutByOID() throws {
    let schema = Self.schema + "; ALTER TABLE kept REPLICA IDENTITY DEFAULT"
    let pair = try DatabasePair(schema, plugin: .pgoutput)
    // A table that is updated must have an identity there.
    try pair.source.script(
      "CREATE FUNCTION identify() RETURNS event_trigger LANGUAGE plpgsql AS 'DECLARE o oid; BEGIN FOR o IN SELECT objid FROM pg_event_trigger_ddl_commands() JOIN pg_class c ON c.oid = objid AND relkind = ''r'' AND relreplident = ''d'' LOOP EXECUTE ''ALTER TABLE '' || o::regclass || '' REPLICA IDENTITY FULL''; END LOOP; END'"
    )
    try pair.source.script(
      "CREATE EVENT TRIGGER identify ON ddl_command_end WHEN TAG IN ('CREATE TABLE AS', 'CREATE TABLE') EXECUTE FUNCTION identify()"
    )
    try expectRebuilds(pair, PgoutputParser(), backlog: false)
  }

  /// Tables whose rows live on, under the name that they had when they were written or another one.
  private static let survivors = [
    "BEGIN; CREATE TABLE new (LIKE t INCLUDING ALL); INSERT INTO new VALUES (1, 'new'); DROP TABLE t; ALTER TABLE new RENAME TO t; COMMIT",
    """
    DO $$ BEGIN CREATE TABLE new (LIKE t INCLUDING ALL); INSERT INTO new VALUES (1, 'new'); DROP TABLE t;
    ALTER TABLE new RENAME TO t; EXCEPTION WHEN others THEN RAISE; END $$
    """,
    """
    BEGIN; CREATE TABLE new (id int PRIMARY KEY, v text); INSERT INTO new VALUES (1, 'new'); ALTER TABLE new ADD COLUMN w int;
    DROP TABLE t; ALTER TABLE new RENAME TO t; COMMIT
    """,
    """
    BEGIN; CREATE TABLE new (id int PRIMARY KEY, v text); INSERT INTO new VALUES (1, 'new');
    ALTER TABLE new RENAME COLUMN v TO val; DROP TABLE t; ALTER TABLE new RENAME TO t; COMMIT
    """,
    """
    DO $$ BEGIN CREATE TABLE new (id int PRIMARY KEY, v text); INSERT INTO new VALUES (1, 'new');
    ALTER TABLE new ALTER COLUMN v SET DEFAULT 'x', ADD COLUMN w int; DROP TABLE t; ALTER TABLE new RENAME TO t;
    EXCEPTION WHEN others THEN RAISE; END $$
    """,
    "CREATE TABLE new AS SELECT * FROM t;; ALTER TABLE t RENAME TO gone;; ALTER TABLE new RENAME TO t",
    "CREATE TABLE new AS SELECT * FROM t;; ALTER TABLE new SET SCHEMA a",
    "BEGIN; ALTER TABLE t RENAME TO new; INSERT INTO new VALUES (1, 'x'); ALTER TABLE new RENAME TO t; COMMIT",
    "BEGIN; ALTER SCHEMA a RENAME TO b; INSERT INTO b.x VALUES (1); ALTER SCHEMA b RENAME TO a; COMMIT",
    "CREATE TABLE new AS SELECT * FROM t", "CREATE MATERIALIZED VIEW new AS SELECT * FROM t",
    "CREATE TABLE new AS SELECT * FROM t;; DROP TABLE new;; CREATE TABLE new AS SELECT 1 AS id",
  ]

  @Test(arguments: survivors)
  func whatLivesOnIsNot(_ script: String) throws {
    let pair = try DatabasePair(Self.schema)
    let failure = #expect(throws: ApplyFailure.self) { try pair.replicate(script) }
    #expect(failure?.reason == .absent && failure?.lsn != nil, "\(String(describing: failure))")
    #expect(try pair.target.query("SELECT string_agg(v, ' ') FROM t").first == "old")
  }

  @Test func whatLivesOnIsKnownByItsOID() throws {
    let pair = try DatabasePair(Self.schema, plugin: .pgoutput)
    try pair.source.script(Self.survivors[0])
    let applier = try pair.applier(of: PgoutputParser())
    let records = try pair.changes()
    let failure = #expect(throws: ApplyFailure.self) { try applier.apply(records) }
    #expect(failure?.reason == .absent && failure?.message.contains("are those of public.t ") == true)
  }

  /// A transaction that has the smaller number and renames the table later.
  @Test func aRenameByAnOlderTransaction() throws {
    let pair = try DatabasePair(Self.schema)
    let older = try PostgresConnection.connect(pair.source.parameters)
    try older.script("BEGIN; SELECT txid_current()")
    try pair.source.script("CREATE TABLE new AS SELECT * FROM t")
    try older.script("ALTER TABLE new RENAME TO newer; COMMIT")
    let failure = #expect(throws: ApplyFailure.self) { try pair.replicate("SELECT 1") }
    #expect(failure?.reason == .absent && failure?.message.contains("may be those of public.newer ") == true)
  }

  /// What the error says to do brings every row in.
  @Test func theRemedyCarriesATableThatWasRenamedOverAnother() throws {
    let pair = try DatabasePair(Self.schema)
    try pair.source.script(Self.survivors[0])
    try pair.source.script("INSERT INTO t VALUES (2, 'since')")
    let records = try pair.changes()
    func apply() throws {
      let progress = try pair.progress()
      let applier = try pair.applier(from: progress, limits: .oneTransaction)
      defer { applier.end() }
      try applier.apply(pair.remaining(records, after: progress))
      try applier.commitGroup()
    }
    let first = #expect(throws: ApplyFailure.self) { try apply() }
    #expect(
      first?.message == """
        table public.new does not exist on the target: its rows may be those of public.t on the source; on the target, \
        drop public.t if it is there and create public.new as the source has public.t now; when the rows have come and the \
        worker stops at public.t, or has caught up, rename public.new to it
        """)
    try pair.target.script("DROP TABLE t; CREATE TABLE new (id int PRIMARY KEY, v text)")
    let second = #expect(throws: ApplyFailure.self) { try apply() }
    #expect(second?.message == "table public.t does not exist on the target: create it there as the source has it")
    try pair.target.script("ALTER TABLE new RENAME TO t")
    try apply()
    try pair.expectEqual()
  }
}
