import Foundation
import Inventory
import MigrationFixtures
import Playbook
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import ClosingReports
@testable import CopySteps
@testable import Journal
@testable import MigrationCore
@testable import MigrationSteps
@testable import Verification

@Suite("Steps between the drain and the report", .serialized)
struct CutoverStepsTests {
  private func state(of servers: TwoServers) -> String { servers.source.directory + "/state" }

  /// A migration that was handed off and drained, as far as its journal knows.
  private func context(_ servers: TwoServers, databases: [String]) async throws -> MigrationContext {
    var migration = try migration(
      in: """
        hosts:
          old: { address: 127.0.0.1, transport: local, postgres: { user: postgres } }
          new: { address: 127.0.0.1, transport: local, postgres: { user: postgres, port: 2 } }
        migrations:
          "a.b": { source: old, target: new }
        """)
    migration.source.postgres.port = servers.source.port
    migration.target.postgres.port = servers.target.port
    let context = try await migrationContext(migration, state: state(of: servers))
    let names = HandOffNames(nonce: "0123456789ab")
    let record = HandOffRecord(
      names: names, sourceSystemIdentifier: 1, sourceTimeline: 1,
      databases: databases.enumerated().map { .init(name: $1, oid: UInt32($0), names: names) })
    try await context.journal.perform { file throws(ConvoyError) in
      try file.registerMigration("a.b", source: "old", target: "new")
      try file.beginHandOff(record, migration: "a.b")
      try file.updateHandOff(migration: "a.b") { $0.handOffLSN = LSN(0x123) }
      for state in [MigrationState.copying, .standby, .handedOff, .fenced, .drained] {
        try file.setState(state, of: "a.b")
      }
      let run = try file.beginRun(command: "play cutover")
      for name in ["drain", "copy_sequences", "open_target"] {
        let step = try file.beginStep(run: run, migration: "a.b", name: name)
        try file.endStep(step, outcome: name == "open_target" ? .failed : .changed)
      }
    }
    return context
  }

  @Test func aDrainedMigrationIsCarriedOverVerifiedAndReported() async throws {
    try await TwoServers.with { source in
      try await source.run("postgres", "CREATE DATABASE \"o'ne\"")
      try await source.run(
        "postgres", "CREATE TABLE plain AS SELECT 1 AS a; CREATE UNLOGGED TABLE u (a int)")
      try await source.run(
        "o'ne",
        """
        CREATE SEQUENCE s; CREATE MATERIALIZED VIEW v AS SELECT 1 AS a; CREATE TABLE t AS TABLE v;
        CREATE TABLE busy AS SELECT generate_series(1, 1000) AS n; CREATE ROLE reader; CREATE ROLE "Own er";
        SELECT lo_from_bytea(4711, '\\x0102'), lo_from_bytea(4712, '\\x03'), lo_from_bytea(4713, '\\x04');
        SELECT lo_from_bytea(4710, '\\x05'), lo_from_bytea(4709, decode(repeat('00ff', 4000), 'hex'))
        """)
    } _: { servers in
      let context = try await context(servers, databases: ["o'ne", "postgres"])
      try await doing {
        try await run(context, servers)
      } finally: {
        await context.close()
      }
    }
  }

  /// A table that is dropped, or renamed, between the look at what there is and its turn.
  private func tablesGo(_ context: MigrationContext, _ servers: TwoServers) async throws {
    try await servers.run(
      "target", "o'ne", "CREATE SCHEMA going; CREATE TABLE going.one AS SELECT generate_series(1, 1000) AS n")
    try await eventually("the statistics") {
      try await servers.pair("o'ne") { _, target in
        try await target.query(AnalyzeStep.stale).rows.contains { $0.string(0) == "going" }
      }
    }
    let analyzing = try await AnalyzeStep().deeds(context)
    try await servers.run("target", "o'ne", "DROP SCHEMA going CASCADE")
    try await DeedPerformer(context, step: "analyze").perform(analyzing)

    try await servers.run("source", "postgres", "CREATE TABLE dropped (); CREATE TABLE renamed ()")
    let identities = try await ReplicaIdentityStep().deeds(context)
    try await servers.run("source", "postgres", "DROP TABLE dropped; ALTER TABLE renamed RENAME TO other")
    try await DeedPerformer(context, step: "set_replica_identity").perform(identities)
    #expect(try await ReplicaIdentities.missing(context).isEmpty)
    try await servers.run("source", "postgres", "DROP TABLE other")
    // A table that is gone is none to be given back.
    _ = try await ReplicaIdentityStep().undo(context)
    #expect(try await ReplicaIdentities.left(context).isEmpty)
  }

  /// A marker that does not get away leaves no session listening, its own database's or another's.
  private func markersFail(_ context: MigrationContext) async throws {
    try await context.setFact(.markers, [])
    _ = try await context.session(.target, database: "postgres")
    // Each listens before it looks at its database's replication origin, and there is none.
    let error = await #expect(throws: ConvoyError.self) {
      try await ConfirmFenceStep(deadline: .seconds(20)).run(context)
    }
    #expect(error?.message.contains("replication origin") == true, "\(String(describing: error))")
    for name in ["o'ne", "postgres"] {
      let channels = try await context.session(.target, database: name).query("SELECT pg_listening_channels()")
      #expect(channels.rows.isEmpty, "database \(name)")
    }
    try await context.removeFact(.markers)
  }

  /// Content, holes, owners and privileges; what is new, changed and gone.
  private func largeObjects(_ context: MigrationContext, _ servers: TwoServers) async throws {
    #expect(try await CopyLargeObjectsStep().run(context).changed == false)
    try await servers.run(
      "source", "o'ne",
      """
      SELECT lo_put(4711, 1, '\\xff'), lo_put(4711, 10000000, '\\xee'), lo_unlink(4713);
      SELECT lo_from_bytea(4714, decode(repeat('0123456789abcdef', 200000), 'hex')), lo_create(4715);
      ALTER LARGE OBJECT 4712 OWNER TO "Own er";
      GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC; GRANT UPDATE ON LARGE OBJECT 4712 TO reader WITH GRANT OPTION;
      REVOKE SELECT ON LARGE OBJECT 4712 FROM "Own er";
      SELECT lo_truncate(lo_open(4710, 131072), 4096), lo_truncate(lo_open(4709, 131072), 2048);
      SELECT lo_truncate(lo_open(lo_create(4716), 131072), 0);
      SELECT lo_put(4710, 10000, '\\xaa')
      """)
    let error = await #expect(throws: ConvoyError.self) { try await VerifyStep().run(context) }
    #expect(error?.code == "verify.large-objects-differ")
    #expect(
      try await CopyLargeObjectsStep().plan(context).first?.text
        == "database o'ne: make 7 large objects anew, remove 1")
    #expect(try await CopyLargeObjectsStep().run(context).figures == [.init("copied", 7), .init("removed", 1)])
    try await servers.pair("o'ne") { source, target in
      let here = try await LargeObjectCopy.list(source)
      #expect(here == (try await LargeObjectCopy.list(target)))
      #expect(here.map(\.oid) == [4709, 4710, 4711, 4712, 4714, 4715, 4716])
      let lengths =
        "SELECT string_agg(oid || ':' || length(lo_get(oid)), ' ' ORDER BY oid) FROM pg_largeobject_metadata"
      #expect(try await source.query(lengths).first == (try await target.query(lengths).first))
    }
    try await servers.run("source", "postgres", "CREATE ROLE late PASSWORD 'geheim'")
  }

  private func run(_ context: MigrationContext, _ servers: TwoServers) async throws {
    try await servers.run("source", "o'ne", "SELECT setval('s', 7)")
    let plan = try await CopySequencesStep().plan(context)
    #expect(
      plan.first?.text == "SELECT pg_catalog.setval(v.name::pg_catalog.regclass, v.value, v.called) "
        + "FROM (VALUES ('\"public\".\"s\"', 7, true)) AS v (name, value, called)")
    #expect(plan.first?.kind == .sql(database: "o'ne"))
    #expect(try await CopySequencesStep().run(context).figures == [.init("sequences", 1), .init("set", 1)])
    #expect(
      try await RefreshMaterializedViewsStep().run(context).figures == [.init("views", 1), .init("refreshed", 0)])
    #expect(
      try await RefreshMaterializedViewsStep().plan(context).first?.text
        == "where its content differs from the source's, in database o'ne: "
        + "REFRESH MATERIALIZED VIEW \"public\".\"v\""
    )
    #expect(try await VerifyStep().plan(context).count == 2)
    #expect(try await AnalyzeStep().isDone(context))
    #expect(try await AnalyzeStep().run(context).figures == [.init("tables", 1)])
    try await tablesGo(context, servers)
    try await markersFail(context)
    try await largeObjects(context, servers)

    try await servers.run("target", "postgres", "UPDATE plain SET a = 2")
    let error = await #expect(throws: ConvoyError.self) { try await VerifyStep().run(context) }
    #expect(error?.code == "verify.differs")
    #expect(error?.message.hasPrefix("1 table differs: database postgres, table public.plain: source 1 row") == true)
    #expect(error?.place == .step(migration: "a.b", host: nil, step: "verify"))
    try await servers.run("target", "postgres", "UPDATE plain SET a = 1")
    #expect(try await VerifyStep().run(context).figures == [.init("tables", 3), .init("rows", 1002)])

    #expect(try await ClosingReport.latest(context) == nil)
    #expect(try await ReportStep().run(context).changed)
    #expect(try await ReportStep().isDone(context) == false)
    try await context.setState(.cutOver)
    for isDone in [
      try await CopySequencesStep().isDone(context), try await RefreshMaterializedViewsStep().isDone(context),
      try await VerifyStep().isDone(context),
    ] { #expect(isDone) }
    let summary = try await ReportStep().run(context).summary
    let path = state(of: servers) + "/reports/a.b-0123456789ab-2.json"
    #expect(summary.hasPrefix("wrote \(path), SHA-256 "))
    #expect(try await ReportStep().isDone(context))
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    #expect(try FileManager.default.contentsOfDirectory(atPath: state(of: servers) + "/reports").count == 6)

    let report = try #require(try await ClosingReport.latest(context)).report
    #expect(report.outcome == .cutOver)
    #expect(report.phases.map(\.name) == ["drain", "copy_sequences"])
    #expect(report.databases.map(\.sequencesSet) == [1, 0])
    #expect(report.databases.map(\.tablesVerified) == [2, 1])
    #expect(report.databases.map(\.isEqual) == [true, true])
    #expect(
      report.findings == [
        .init(.warning, "unlogged tables are empty on the target: public.u", database: "postgres"),
        .init(.note, "7 large objects were copied, 1 removed", database: "o'ne"),
        .init(.warning, "not the same on both servers: role late: only on the source"),
      ])
    try FileManager.default.removeItem(atPath: path)
    #expect(try await ClosingReport.latest(context)?.report.databases == report.databases)
  }
}
