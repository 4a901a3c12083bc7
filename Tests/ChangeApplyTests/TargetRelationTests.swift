import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import ChangeApply

@Suite(.cluster)
struct TargetRelationTests {
  private func load(_ pair: DatabasePair, _ name: String, schema: String = "public") throws -> TargetRelation? {
    var parameters = pair.target.parameters
    parameters.settings = canonicalTextSettings.merging(["client_encoding": "UTF8"]) { $1 }
    let connection = try PostgresConnection.connect(parameters)
    return try TargetRelation.load(schema: Array(schema.utf8), table: Array(name.utf8), from: connection)
  }

  @Test func readsAZooOfTables() throws {
    let pair = try DatabasePair(
      """
      CREATE DOMAIN code AS char(4); CREATE TYPE "My type" AS ENUM ('a');
      CREATE TABLE pk (a int, gone int, b char(5) NOT NULL, c "My type"[], g int GENERATED ALWAYS AS (a) STORED,
        i int GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (b, a) INCLUDE (c)); ALTER TABLE pk DROP gone;
      CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE); CREATE TABLE uniq (a int NOT NULL UNIQUE);
      CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
      CREATE TABLE whole (a int PRIMARY KEY, b code); ALTER TABLE whole REPLICA IDENTITY FULL;
      CREATE TABLE idx (id int PRIMARY KEY, a text NOT NULL, b numeric(5,2) NOT NULL); CREATE UNIQUE INDEX ui ON idx (b, a);
      ALTER TABLE idx REPLICA IDENTITY USING INDEX ui;
      CREATE TABLE part (a int PRIMARY KEY) PARTITION BY LIST (a); CREATE VIEW v AS SELECT 1 AS a;
      CREATE MATERIALIZED VIEW m AS SELECT 1 AS a; CREATE TABLE empty ();
      CREATE INDEX ON whole (b) WHERE a > 1
      """)
    let keyed = try #require(try load(pair, "pk"))
    #expect(keyed.kind == .table)
    #expect(keyed.identity == .key(["b", "a"]))
    #expect(keyed.columns.map(\.name) == ["a", "b", "c", "g", "i"])
    #expect(keyed.columns.map(\.type) == ["integer", "character(5)", "public.\"My type\"[]", "integer", "integer"])
    #expect(keyed.columns.map(\.isGenerated) == [false, false, false, true, false])
    #expect(keyed.columns.map(\.isIdentityAlways) == [false, false, false, false, true])
    #expect(keyed.columns.map(\.isIndexed) == [true, true, false, false, false])
    #expect(try load(pair, "deferred")?.identity == .nothing)
    #expect(try load(pair, "uniq")?.identity == .nothing)
    #expect(try load(pair, "nothing")?.identity == .nothing)
    #expect(try load(pair, "whole")?.identity == .full)
    #expect(try load(pair, "whole")?.columns.map(\.isIndexed) == [true, false])
    #expect(try load(pair, "whole")?.columns.map(\.type) == ["integer", "public.code"])
    #expect(try load(pair, "idx")?.identity == .key(["b", "a"]))
    #expect(try load(pair, "idx")?.columns.map(\.type) == ["integer", "text", "numeric(5,2)"])
    #expect(try load(pair, "part")?.kind == .partitioned)
    #expect(try load(pair, "v")?.kind == .other("v"))
    #expect(try load(pair, "m")?.kind == .materializedView)
    #expect(try load(pair, "empty")?.columns == [])
    #expect(try load(pair, "absent") == nil)
    #expect(try load(pair, "pk", schema: "PUBLIC") == nil)
    // No scan of a catalog for each of 50,000 tables.
    let plan = try pair.target.query("EXPLAIN " + TargetRelation.lookup, ["\\x7075626c6963", "\\x706b"])
    #expect(
      plan.rows.contains { $0.string(0).contains("Index Cond: (relname = (convert_from(") },
      "\(plan.rows.map { $0.string(0) })")
  }
}

/// The statements to the letter.
struct ChangeStatementTests {
  private typealias Column = TargetRelation.Column

  private func column(
    _ name: String, _ type: String = "integer", generated: Bool = false, always: Bool = false, indexed: Bool = false
  ) -> TargetRelation.Column {
    TargetRelation.Column(
      name: name, type: type, isGenerated: generated, isIdentityAlways: always, isIndexed: indexed)
  }

  private func relation(_ identity: ReplicaIdentity, _ columns: [TargetRelation.Column]) -> TargetRelation {
    TargetRelation(
      name: RelationName(schema: "S", name: "t\"x"), kind: .table, identity: identity, columns: columns)
  }

  @Test func insert() {
    let plain = relation(.nothing, [column("a"), column("g", generated: true), column("b\"c", "text")])
    #expect(
      plain.insertStatement(columns: [0, 1, 2])
        == .init(
          sql: #"INSERT INTO "S"."t""x" ("a", "b""c") OVERRIDING SYSTEM VALUE VALUES ($1, $2)"#,
          parameters: [.new(0), .new(2)]))
    #expect(
      plain.insertStatement(columns: [1]) == .init(sql: #"INSERT INTO "S"."t""x" DEFAULT VALUES"#, parameters: []))
  }

  @Test func keyed() throws {
    let keyed = relation(.key(["k", "j"]), [column("j", "character(5)"), column("v", "text"), column("k")])
    #expect(
      try keyed.updateStatement(columns: [0, 1, 2], oldKey: nil)
        == .init(
          sql: """
            UPDATE ONLY "S"."t""x" SET "j" = $1, "v" = $2, "k" = $3 WHERE \
            "k" OPERATOR(pg_catalog.=) $4::integer AND "j" OPERATOR(pg_catalog.=) $5::character(5)
            """, parameters: [.new(0), .new(1), .new(2), .new(2), .new(0)]))
    #expect(
      try keyed.updateStatement(columns: [0, 2], oldKey: [0, 2])
        == .init(
          sql: """
            UPDATE ONLY "S"."t""x" SET "j" = $1, "k" = $2 WHERE "k" OPERATOR(pg_catalog.=) $3::integer AND \
            "j" OPERATOR(pg_catalog.=) $4::character(5)
            """, parameters: [.new(0), .new(2), .old(2), .old(0)]))
    #expect(
      try keyed.deleteStatement(oldKey: [0, 2])
        == .init(
          sql: """
            DELETE FROM ONLY "S"."t""x" WHERE "k" OPERATOR(pg_catalog.=) $1::integer AND "j" OPERATOR(pg_catalog.=) $2::character(5)
            """,
          parameters: [.old(2), .old(0)]))
    #expect(throws: ApplyFailure.self) { try keyed.deleteStatement(oldKey: [2]) }
  }

  @Test func full() throws {
    let full = relation(
      .full, [column("a", indexed: true), column("b", "boolean"), column("c", "json"), column("g", generated: true)])
    #expect(
      try full.deleteStatement(oldKey: [0, 1, 3])
        == .init(
          sql: """
            DELETE FROM ONLY "S"."t""x" WHERE ctid OPERATOR(pg_catalog.=) \
            (SELECT ctid FROM ONLY "S"."t""x" WHERE "a" OPERATOR(pg_catalog.=) $1::integer AND "a" IS DISTINCT FROM NULL \
            AND pg_catalog.format('%s', "a") OPERATOR(pg_catalog.=) $2::pg_catalog.text \
            AND "b" OPERATOR(pg_catalog.=) $3::boolean AND "c" IS NOT DISTINCT FROM NULL LIMIT 1)
            """, parameters: [.old(0), .old(0), .old(1)]))
    #expect(throws: ApplyFailure.self) { try full.updateStatement(columns: [0], oldKey: nil) }
    let empty = relation(.full, [])
    #expect(
      try empty.deleteStatement(oldKey: []).sql
        == """
        DELETE FROM ONLY "S"."t""x" WHERE ctid OPERATOR(pg_catalog.=) (SELECT ctid FROM ONLY "S"."t""x" WHERE true LIMIT 1)
        """)
  }

  /// Where the session writes under other settings than the stream was printed under.
  @Test func fullSearchedForFirst() throws {
    var full = relation(.full, [column("a", "date"), column("b", "boolean")])
    full.searchesFirst = true
    let update = try #require(try full.updateStatement(columns: [0, 1], oldKey: [0]))
    #expect(
      update.sql == """
        UPDATE ONLY "S"."t""x" SET "a" = $1, "b" = $2 WHERE ctid OPERATOR(pg_catalog.=) \
        pg_catalog.current_setting('pgconvoy.row')::pg_catalog.tid
        """)
    #expect(update.parameters == [.new(0), .new(1)])
    #expect(
      update.search?.sql == """
        SELECT pg_catalog.set_config('pgconvoy.row', coalesce((SELECT ctid::pg_catalog.text FROM ONLY "S"."t""x" \
        WHERE "a" IS DISTINCT FROM NULL AND pg_catalog.format('%s', "a") OPERATOR(pg_catalog.=) $1::pg_catalog.text \
        AND "b" IS NOT DISTINCT FROM NULL LIMIT 1), '(0,0)'), false)
        """)
    #expect(update.search?.parameters == [.old(0)])
  }

  @Test func nothing() {
    let none = relation(.nothing, [column("a")])
    let update = #expect(throws: ApplyFailure.self) { try none.updateStatement(columns: [0], oldKey: nil) }
    #expect(update?.reason == .noIdentity)
    #expect(throws: ApplyFailure.self) { try none.deleteStatement(oldKey: [0]) }
  }

  @Test func identityAlways() throws {
    let keyed = relation(
      .key(["id"]), [column("id", always: true), column("v", "text"), column("n", always: true)])
    #expect(
      try keyed.updateStatement(columns: [0, 1], oldKey: nil)
        == .init(
          sql: #"UPDATE ONLY "S"."t""x" SET "v" = $1 WHERE "id" OPERATOR(pg_catalog.=) $2::integer"#,
          parameters: [.new(1), .new(0)]))
    #expect(
      try keyed.updateStatement(columns: [0, 2], oldKey: nil)
        == .init(
          sql: """
            WITH gone AS (DELETE FROM ONLY "S"."t""x" WHERE "id" OPERATOR(pg_catalog.=) $3::integer RETURNING *) \
            INSERT INTO "S"."t""x" ("id", "v", "n") OVERRIDING SYSTEM VALUE \
            SELECT $1::integer, gone."v", $2::integer FROM gone
            """, parameters: [.new(0), .new(2), .new(0)]))
    #expect(try relation(.key(["id"]), [column("id", always: true)]).updateStatement(columns: [0], oldKey: nil) == nil)
  }

  @Test func truncate() {
    let name = RelationName(schema: "S", name: "t\"x")
    #expect(TruncateStatement.text([name], parents: [], restartIdentity: false) == #"TRUNCATE ONLY "S"."t""x""#)
    #expect(
      TruncateStatement.text([name, name], parents: [RelationName(schema: "S", name: "p")], restartIdentity: true)
        == #"TRUNCATE ONLY "S"."t""x", ONLY "S"."t""x", "S"."p" RESTART IDENTITY"#)
  }

  /// PostgreSQL tells names apart that are the same to Unicode.
  @Test func columnNamesAreBytes() {
    let relation = relation(.key(["e\u{301}"]), [column("\u{e9}"), column("e\u{301}")])
    #expect(relation.column(named: "e\u{301}") == 1)
    #expect(relation.column(named: "\u{e9}") == 0)
  }
}
