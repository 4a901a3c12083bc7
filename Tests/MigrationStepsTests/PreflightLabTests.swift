import Inventory
import Journal
import Lab
import MigrationFixtures
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

@testable import CopySteps
@testable import HostAdmin
@testable import MigrationCore
@testable import MigrationSteps
@testable import Preflight

/// Preflight against two real hosts: each thing planted is found, and nothing is changed by looking.
@Suite("preflight on a lab")
struct PreflightLabTests {
  @Test(.timeLimit(.minutes(3))) func plantedTroubleThenWrongInventory() async throws {
    try await withPreflightLab { lab, migration in
      let context = try await context(lab, migration)
      try await plant(context, lab)
      let before = try await traces(context, lab)

      // A check asks for whichever setting it needs; nobody has to have named it before.
      let facts = await PreflightReader(context: context).read()
      for side in [facts.source, facts.target] { #expect(try side.server.get().settings["shared_buffers"] != nil) }

      let report = try await Preflight.run(context)
      let found = Set(report.findings.map { "\($0.severity.rawValue) \($0.code) \($0.database ?? "")" })
      #expect(
        found.isSuperset(of: [
          "error preflight.version-check ", "error preflight.replication-hba ",
          "error preflight.no-replica-identity a", "warning preflight.unlogged-tables a",
          "warning preflight.large-objects a", "warning preflight.always-firing a",
          "warning preflight.transaction-ids a", "warning preflight.other-slots ",
          "note preflight.materialized-views a", "warning preflight.prepared-transaction a",
        ]), "\(PreflightText.render([report]))")
      #expect(report.checks.filter { $0.notMade != nil } == [])
      #expect(
        report.findings.first { $0.code == "preflight.replication-hba" }?.remedy?.contains(
          ": host replication pgconvoy 127.") == true)
      #expect(
        report.findings.first { $0.code == "preflight.version-check" }?.problem
          == "version_check prints 'lab-server 1.0.0' on lab-source, 'lab-server 1.1.0' on lab-target")
      #expect(
        report.findings.filter { $0.code == "preflight.no-replica-identity" }.map(\.problem) == [
          "no replica identity, but updates or deletes: planted.deferred (its primary key is deferrable), "
            + "planted.\"No Key\"",
          "no replica identity: planted.lost (its identity index is gone), planted.quiet",
        ])
      #expect(
        report.findings.first { $0.code == "preflight.full-identity-types" }?.problem
          == "REPLICA IDENTITY FULL, and types without '=': planted.uncomparable (doc json, spots planted.place[])")
      #expect(
        report.findings.first { $0.code == "preflight.transaction-ids" }?.problem
          == "columns with ids of transactions: planted.outbox.a, planted.outbox.b")
      // One that is there, such as PL/pgSQL's, is no finding.
      let libraries = report.findings.filter { $0.code == "preflight.library" }.map(\.problem)
      #expect(
        libraries.count == 1 && libraries[0].hasSuffix(" lacks $libdir/pgconvoy_absent, used in: a"), "\(libraries)")

      await #expect(throws: ConvoyError.self) { try await PreflightStep().run(context) }
      #expect(try await PreflightStep().isDone(context) == false)
      #expect(try await traces(context, lab) == before)
      let rendered = PreflightText.render([report])
      #expect(try !rendered.contains(password(lab)))

      try await mend(context, lab)
      let mended = try await Preflight.run(context)
      #expect(mended.count(.error) == 0, "\(PreflightText.render([mended]))")
      await context.close()

      try await filesInTheWay(lab, migration)
      try await wrongInventory(lab, migration)
    }
  }

  /// What lies in data directories, or leads into them, and what the server's user cannot read or replace.
  private func filesInTheWay(_ lab: LabDescription, _ migration: Migration) async throws {
    let (source, target) = (try #require(lab.source).dataDirectory, try #require(lab.target).dataDirectory)
    let places = lab.directory + "/places"
    try Program.check([
      "/bin/sh", "-c",
      """
      set -e; install -m 600 -o root /dev/null "$1/base/unreadable"; ln -s /nowhere "$1/base/99999"
      ln -s /var/log "$1/log_elsewhere"; chown root "$1/pg_hba.conf"; chmod 644 "$1/pg_hba.conf"
      install -m 600 -o root /dev/null "$2/server.key"; install -d -o "$4" "$3" "$3/spc"; ln -s "$2" "$3/in"
      """, "sh", source, target, places, lab.osUser,
    ])
    var migration = migration
    migration.baseBackup.tablespaceMapping = [places + "/spc": places + "/in/spc"]
    migration.baseBackup.walDirectory = target + "/wal"
    let context = try await context(lab, migration)
    try await context.session(.source).script("CREATE TABLESPACE planted LOCATION '\(places)/spc'")
    let report = try await Preflight.run(context)
    let found = report.findings.filter { $0.severity == .error || $0.code == "preflight.linked-file" }.map { finding in
      "\(finding.host ?? "") \(finding.code) \(finding.object ?? "")"
    }
    #expect(
      found == [
        "lab-source preflight.hba-not-replaceable \(source)/pg_hba.conf", "lab-target preflight.tablespace planted",
        "lab-target preflight.wal-directory \(target)/wal",
        "lab-source preflight.unreadable-file \(source)/base/unreadable",
        "lab-source preflight.linked-data \(source)/base/99999",
        "lab-target preflight.unreadable-file \(target)/server.key",
        "lab-source preflight.linked-file \(source)/log_elsewhere",
      ], "\(PreflightText.render([report]))")

    try Program.check(["/bin/sh", "-c", "echo no_such_setting = on >>\"$1/postgresql.conf\"", "sh", target])
    let broken = try await Preflight.run(context)
    let finding = try #require(broken.findings.first { $0.code == "preflight.broken-configuration" })
    #expect(finding.host == "lab-target")
    #expect(finding.problem.contains("\"no_such_setting\" in file \"\(target)/postgresql.conf\""), "\(finding.problem)")

    try await context.session(.source).script("DROP TABLESPACE planted")
    try Program.check([
      "/bin/sh", "-c",
      """
      set -e; rm "$1/base/unreadable" "$1/base/99999" "$1/log_elsewhere" "$2/server.key"; rm -r "$3"
      sed -i /^no_such_setting/d "$2/postgresql.conf"; chown "$4" "$1/pg_hba.conf" "$2/postgresql.conf"
      """, "sh", source, target, places, lab.osUser,
    ])
    let mended = try await Preflight.run(context)
    #expect(mended.findings.filter { $0.severity == .error }.map(\.code) == ["preflight.wal-directory"])
    await context.close()
  }

  private func wrongInventory(_ lab: LabDescription, _ migration: Migration) async throws {
    // The target's address and directory are the source's.
    var same = migration
    same.target.postgres = same.source.postgres
    let sameContext = try await context(lab, same)
    let sameReport = try await Preflight.run(sameContext)
    #expect(
      Set(sameReport.findings.map(\.code)).isSuperset(of: [
        "preflight.same-server", "preflight.same-data-directory",
      ]), "\(PreflightText.render([sameReport]))")
    await sameContext.close()

    // A host that does not answer: one finding, and the source's checks are made all the same.
    var silent = migration
    silent.target.ssh.port = 1
    let silentContext = try await context(lab, silent)
    let silentReport = try await Preflight.run(silentContext)
    let errors = silentReport.findings.filter { $0.severity == .error }
    #expect(errors.map(\.host) == ["lab-target"])
    #expect(errors.first?.code.hasPrefix("ssh.") == true)
    #expect(silentReport.checks.contains { $0.name == "target.space" && $0.notMade != nil })
    #expect(silentReport.checks.contains { $0.name == "databases.replica-identity" && $0.notMade == nil })
    await silentContext.close()

    // A target without a cluster, but with another server where the copy is to listen.
    var empty = migration
    empty.target.postgres.dataDirectory = (lab.target?.postgresDirectory ?? "") + "/none/data"
    let emptyContext = try await context(lab, empty)
    let emptyReport = try await Preflight.run(emptyContext)
    #expect(
      emptyReport.findings.filter { $0.severity == .error }.map(\.code) == ["preflight.port-taken"],
      "\(PreflightText.render([emptyReport]))")
    #expect(
      emptyReport.checks.first { $0.name == "target.connection" }?.notMade
        == "PostgreSQL does not run on lab-target")
    await emptyContext.close()

    // A user that commands cannot run as.
    var nobody = migration
    nobody.target.postgres.osUser = "no-such-user"
    let nobodyContext = try await context(lab, nobody)
    let nobodyReport = try await Preflight.run(nobodyContext)
    #expect(
      nobodyReport.findings.filter { $0.severity == .error }.map(\.code).allSatisfy {
        ["host.user-refused", "host.sudo-refused"].contains($0)
      })
    #expect(nobodyReport.count(.error) == 1)
    await nobodyContext.close()
  }

  // MARK: pieces

  private func plant(_ context: MigrationContext, _ lab: LabDescription) async throws {
    let session = try await context.session(.source, database: "a")
    try await session.script("SELECT pg_create_logical_replication_slot('capture', 'test_decoding')")
    try await session.script(
      """
      CREATE SCHEMA planted;
      CREATE TABLE planted."No Key" (v int);
      CREATE TABLE planted.deferred (id int PRIMARY KEY DEFERRABLE, v int);
      CREATE TABLE planted.quiet (v int);
      CREATE TABLE planted.complete (v int);
      ALTER TABLE planted.complete REPLICA IDENTITY FULL;
      CREATE TABLE planted.indexed (v int NOT NULL UNIQUE);
      ALTER TABLE planted.indexed REPLICA IDENTITY USING INDEX indexed_v_key;
      CREATE UNLOGGED TABLE planted.scratch (id int PRIMARY KEY);
      CREATE DOMAIN planted.position AS xid8;
      CREATE TABLE planted.outbox (id int PRIMARY KEY, a planted.position, b bigint DEFAULT txid_current(), c bigint);
      CREATE MATERIALIZED VIEW planted.totals AS SELECT 1 AS one;
      CREATE FUNCTION planted.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
      CREATE TRIGGER always BEFORE INSERT ON planted.indexed FOR EACH ROW EXECUTE FUNCTION planted.note();
      ALTER TABLE planted.indexed ENABLE ALWAYS TRIGGER always;
      CREATE TABLE planted.lost (v int NOT NULL UNIQUE);
      ALTER TABLE planted.lost REPLICA IDENTITY USING INDEX lost_v_key;
      ALTER TABLE planted.lost DROP CONSTRAINT lost_v_key;
      CREATE DOMAIN planted.place AS point;
      CREATE TABLE planted.uncomparable (
        id int, name varchar(9), tags text[], doc json, spots planted.place[]);
      ALTER TABLE planted.uncomparable REPLICA IDENTITY FULL;
      CREATE FUNCTION planted.absent() RETURNS language_handler
        LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
      SET allow_system_table_mods = on;
      UPDATE pg_catalog.pg_proc SET probin = '$libdir/pgconvoy_absent' WHERE proname = 'absent';
      RESET allow_system_table_mods;
      INSERT INTO planted."No Key" VALUES (1);
      INSERT INTO planted.deferred VALUES (1, 1);
      INSERT INTO planted.complete VALUES (1);
      SELECT pg_catalog.lo_create(0);
      """)
    for table in ["\"No Key\"", "deferred", "deferred", "complete"] {
      try await session.script("UPDATE planted.\(table) SET v = v + 1")
    }
    try await session.script(
      "BEGIN; CREATE TABLE planted.later (id int PRIMARY KEY); PREPARE TRANSACTION 'planted'")
    // The counts of a session reach the statistics when it is idle for a while, or when it ends.
    await context.closeSessions(.source)
    try await eventually("the statistics", within: .seconds(10)) {
      let session = try await context.newSession(.source, database: "a")
      let updates = try await session.query(
        """
        SELECT pg_catalog.sum(n_tup_upd) FROM pg_catalog.pg_stat_user_tables
         WHERE schemaname = 'planted' AND relname IN ('No Key', 'deferred')
        """
      ).first
      await session.close()
      return updates == "3"
    }
    let target = try #require(lab.target)
    try writeFile(target.versionManifest, "lab-server 1.1.0\n")
    try await setReplicationRecord(context, lab, to: "# host replication")
  }

  private func mend(_ context: MigrationContext, _ lab: LabDescription) async throws {
    let session = try await context.session(.source, database: "a")
    try await session.script("ROLLBACK PREPARED 'planted'")
    try await session.script("SELECT pg_drop_replication_slot('capture')")
    try await session.script("DROP SCHEMA planted CASCADE")
    try writeFile(try #require(lab.target).versionManifest, "lab-server 1.0.0\n")
    try await setReplicationRecord(context, lab, to: "host replication")
  }

  private func setReplicationRecord(
    _ context: MigrationContext, _ lab: LabDescription, to words: String
  ) async throws {
    let path = try #require(lab.source).dataDirectory + "/pg_hba.conf"
    let remote = try await context.remote(.source)
    try await remote.runChecked(
      .shell("sed -i -E \"s/^(# )?host +replication/$2/\" \"$1\"", arguments: [path, words], user: lab.osUser))
    let session = try await context.session(.source)
    let asked = try await session.query("SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_reload_conf()").first
    try await eventually("the reload", within: .seconds(10)) {
      let probe = try await context.newSession(.source)
      let loaded = try await probe.query("SELECT pg_catalog.pg_conf_load_time() >= $1::timestamptz", [asked]).first
      await probe.close()
      return loaded == "t"
    }
  }

  /// What a look must not change: slots, roles, settings, and every file's name, size and time, but for the servers'
  /// own logs, statistics and WAL.
  private func traces(_ context: MigrationContext, _ lab: LabDescription) async throws -> [String] {
    var traces: [String] = []
    for side in Side.allCases {
      let session = try await context.session(side)
      for sql in [
        "SELECT slot_name FROM pg_catalog.pg_replication_slots", "SELECT oid FROM pg_catalog.pg_roles ORDER BY 1",
        "SELECT oid FROM pg_catalog.pg_database ORDER BY 1", "SELECT pg_catalog.pg_conf_load_time()",
        "SELECT roname FROM pg_catalog.pg_replication_origin",
      ] {
        traces += try await session.query(sql).rows.map { $0.string(0) }
      }
      let host = try #require(side == .source ? lab.source : lab.target)
      let listing = try await context.remote(side).runChecked(
        .shell(
          """
          cd -- "$1"
          find . \\( -name pg_wal -o -name pg_stat_tmp -o -name pg_stat -o -name base -o -name global -o -name pg_xact \
            -o -name supervise -o -name log -o -name pg_subtrans -o -name pg_multixact -o -name pg_logical \
            -o -name pg_dynshmem -o -name pg_commit_ts -o -name pg_notify \\) -prune \
            -o -type f ! -name '*.log' ! -name postmaster.pid -printf '%p %s %T@\\n' | sort
          """, arguments: [host.directory]))
      traces += listing.text.split(separator: "\n").map(String.init)
    }
    return traces
  }

  private func context(_ lab: LabDescription, _ migration: Migration) async throws -> MigrationContext {
    try await migrationContext(migration, state: lab.directory + "/state", inventory: lab.inventoryFile)
  }

  private func password(_ lab: LabDescription) throws -> String {
    let uri = try #require(try lab.environment()["LAB_SOURCE_URI"])
    return String(uri.split(separator: ":")[2].prefix { $0 != "@" })
  }
}

/// A lab whose services only sleep.
private func withPreflightLab(
  _ body: (LabDescription, Migration) async throws -> Void
) async throws {
  let directory = try TemporaryDirectory("preflight", mode: 0o755)
  let program = try directory.write("#!/bin/sh\nexec sleep 86400\n", to: "program", mode: 0o755)
  try await withLab(["a"], program: program) { lab in
    let inventory = try FleetInventory.load(path: lab.inventoryFile)
    try await body(lab, try #require(inventory.migrations.first))
  }
}
