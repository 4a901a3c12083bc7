import ChangeApply
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// What a TRUNCATE of the source does on the target, and nowhere else.
@Suite(.cluster)
struct TruncateTests {
  /// A schema with partitions, or inheritance children, whose rows are in a third database.
  private static func schema(_ parameters: ConnectionParameters, third: String) -> String {
    """
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER third FOREIGN DATA WRAPPER postgres_fdw
      OPTIONS (host '\(parameters.host)', port '\(parameters.port)', dbname '\(third)');
    CREATE USER MAPPING FOR CURRENT_USER SERVER third OPTIONS (user '\(parameters.user)');
    CREATE TABLE p (id int, v text) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
    CREATE TABLE q PARTITION OF p FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
    CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (10) TO (20);
    CREATE FOREIGN TABLE q2 PARTITION OF q FOR VALUES FROM (20) TO (30) SERVER third OPTIONS (table_name 'far');
    CREATE FOREIGN TABLE p9 PARTITION OF p FOR VALUES FROM (90) TO (99) SERVER third OPTIONS (table_name 'far');
    CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
    CREATE FOREIGN TABLE away () INHERITS (parent) SERVER third OPTIONS (table_name 'far');
    CREATE TABLE near (id int)
    """
  }

  @Test func aThirdServersRowsStay() throws {
    let cluster = try #require(Cluster.current)
    let third = "third_" + HandOffNames.random().nonce
    let admin = try PostgresConnection.connect(cluster.parameters("postgres"))
    try admin.script("CREATE DATABASE \(third)")
    let far = try PostgresConnection.connect(cluster.parameters(third))
    try far.script("CREATE TABLE far (id int, v text); INSERT INTO far VALUES (0, 'written before')")
    let pair = try DatabasePair(Self.schema(cluster.parameters(third), third: third))
    try pair.replicate("INSERT INTO p VALUES (1), (11); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)")
    try pair.source.script("TRUNCATE p RESTART IDENTITY; INSERT INTO p VALUES (2), (12)")
    try pair.source.script("TRUNCATE parent; INSERT INTO child VALUES (3)")
    #expect(try far.query("SELECT count(*) FROM far").first == "0")
    // Written between the source's TRUNCATE and its way through the stream.
    try far.script("INSERT INTO far VALUES (21, 'written since')")
    try pair.replicate("SELECT 1")
    #expect(try far.query("SELECT v FROM far").first == "written since")
    try pair.expectEqual()
    try pair.source.script("TRUNCATE p, parent, near; INSERT INTO near VALUES (1)")
    try far.script("INSERT INTO far VALUES (22, 'again')")
    try pair.applyBacklog(try pair.changes())
    #expect(try far.query("SELECT v FROM far").first == "again")
    try pair.expectEqual()
  }

  /// A foreign key between partitioned tables wants the parents to be named, whatever the stream names.
  @Test func keysBetweenPartitionedTables() throws {
    let pair = try DatabasePair(
      """
      CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (10);
      CREATE TABLE a2 PARTITION OF a FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
      CREATE TABLE a21 PARTITION OF a2 FOR VALUES FROM (10) TO (20);
      CREATE TABLE b (id int REFERENCES a, part int) PARTITION BY LIST (part);
      CREATE TABLE b1 PARTITION OF b FOR VALUES IN (1); CREATE UNLOGGED TABLE b2 PARTITION OF b FOR VALUES IN (2);
      CREATE TABLE c (id int REFERENCES a1)
      """)
    let applier = try pair.replicate(
      """
      INSERT INTO a VALUES (1), (11); INSERT INTO b VALUES (1, 1), (11, 1); INSERT INTO c VALUES (1);;
      TRUNCATE a CASCADE; INSERT INTO a VALUES (2), (12); INSERT INTO b VALUES (12, 1);;
      TRUNCATE b; TRUNCATE c; INSERT INTO b VALUES (2, 1), (12, 1)
      """)
    try pair.expectEqual()
    #expect(applier.counters.missedRows == 0)
  }

  /// What is a plain table on the source only.
  @Test(arguments: ["INSERT INTO t VALUES (1)", "TRUNCATE t"])
  func rowsDoNotGoIntoAForeignTable(_ change: String) throws {
    let pair = try DatabasePair("CREATE EXTENSION postgres_fdw; CREATE TABLE t (id int)")
    try pair.target.script(
      """
      DROP TABLE t; CREATE SERVER third FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'postgres');
      CREATE USER MAPPING FOR CURRENT_USER SERVER third; CREATE FOREIGN TABLE t (id int) SERVER third
      """)
    let failure = #expect(throws: ApplyFailure.self) { try pair.replicate(change) }
    #expect(failure?.reason == .drift && failure?.message.contains("foreign table") == true)
  }
}
