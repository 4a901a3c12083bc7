import FoundationEssentials
import ReplicationModel
import Testing

@testable import CopySteps
@testable import MigrationCore
@testable import MigrationSteps
@testable import Preflight

@Suite("preflight: what a person and a program read")
struct PreflightTextTests {
  private let report = PreflightReport(
    migration: "shop", source: "old", target: "new",
    findings: [
      Finding(
        .error, "preflight.wal-level", host: "old", object: "wal_level", "wal_level is replica",
        consequence: "no logical slot can be made", remedy: "ALTER SYSTEM SET wal_level = 'logical'"),
      Finding(
        .note, "preflight.foreign-tables", host: "old", database: "a\u{1B}b", "foreign tables: f",
        consequence: "their servers must be reachable from the target too"),
    ],
    checks: [
      .init(name: "source.wal-level", summary: "decodes", notMade: nil),
      .init(name: "target.programs", summary: "programs", notMade: "host new is silent"),
      .init(name: "target.space", summary: "space", notMade: "host new is silent"),
    ])

  @Test func text() {
    #expect(
      PreflightText.render([report]) == """
        shop: preflight of old → new
        SEVERITY  WHERE              FINDING
        error     old                wal_level is replica [preflight.wal-level]
                                     no logical slot can be made
                                     remedy: ALTER SYSTEM SET wal_level = 'logical'
        note      old, database a␛b  foreign tables: f [preflight.foreign-tables]
                                     their servers must be reachable from the target too

        1 error, 0 warnings, 1 note; 1 check made, 2 not made
        not made, since host new is silent: target.programs, target.space

        """)
  }

  @Test func json() throws {
    var one = report
    one.findings = [report.findings[1]]
    one.checks = Array(report.checks[1...1])
    let text = try PreflightJSON.render([one], at: Date(timeIntervalSince1970: 1_772_359_200))
    #expect(
      text == """
        {
          "generated_at" : "2026-03-01T10:00:00Z",
          "migrations" : [
            {
              "checks" : [
                {
                  "made" : false,
                  "name" : "target.programs",
                  "not_made" : "host new is silent",
                  "summary" : "programs"
                }
              ],
              "findings" : [
                {
                  "code" : "preflight.foreign-tables",
                  "consequence" : "their servers must be reachable from the target too",
                  "database" : "a\\u001bb",
                  "host" : "old",
                  "object" : null,
                  "problem" : "foreign tables: f",
                  "remedy" : null,
                  "severity" : "note"
                }
              ],
              "migration" : "shop",
              "passed" : true,
              "source" : "old",
              "target" : "new"
            }
          ],
          "version" : 1
        }

        """)
    let finding = try JSONDecoder().decode(Finding.self, from: try JSONEncoder().encode(report.findings[1]))
    #expect(finding == report.findings[1])
  }

  @Test func failure() {
    var two = report
    two.findings.insert(
      Finding(
        .error, "preflight.large-objects", host: "old", database: "shop", "1 large object", consequence: "lost"), at: 1)
    let error = PreflightStep.failure(two, at: .step(migration: "shop", host: nil, step: "preflight"))
    #expect(
      error.description == """
        error: migration shop, step preflight: 2 errors: wal_level is replica, and 1 more [preflight.failed]
        hint: nothing has been changed; 'pgconvoy check' shows every finding with its remedy
        """)
    #expect(
      error.cause == """
        error: old: wal_level is replica [preflight.wal-level]
        error: old, database shop: 1 large object [preflight.large-objects]
        """)
  }

  @Test(arguments: [
    ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", 15, 20 as Int?), ("postgres (PostgreSQL) 18.6", 18, 6),
    ("postgres (PostgreSQL) 19devel", 19, nil), ("postgres (PostgreSQL) 18beta1", 18, nil),
  ])
  func versions(_ text: String, _ major: Int, _ minor: Int?) {
    let version = ProgramVersion(parsing: text)
    #expect(version?.major == major)
    #expect(version?.minor == minor)
  }

  @Test(arguments: ["", "postgres", "sh: postgres: not found", "postgres (PostgreSQL)"])
  func noVersion(_ text: String) {
    #expect(ProgramVersion(parsing: text) == nil)
  }

  @Test func machine() {
    let facts = MachineFacts(
      parsing: """
        boot\tb\nlibc\tglibc 2.36\ninode\t1:2\nversion\tpostgres (PostgreSQL) 15.20\nprogram\tpsql\nprogram\tpg_ctl
        plugin-missing\t/pg/lib\nleftover\t/pg/data.pgconvoy-copy
        manager\t/proc/5/cmdline:2:/usr/bin/patroni\nmanager\t/proc/6/cmdline:2:repmgrd
        manager\t/proc/7/cmdline:1:pg_autoctl\nmanager\ttrace:patroni
        address\t10.0.1.20\nlistening\t1401000A\nlistening\t00000000000000000000000001000000\nlistening\tx
        own-port\t5433
        """)
    #expect(
      facts
        == MachineFacts(
          bootID: "b", cLibrary: "glibc 2.36", dataInode: "1:2", programs: ["psql", "pg_ctl"],
          postgresVersion: "postgres (PostgreSQL) 15.20", outputPlugin: .missing(directory: "/pg/lib"),
          clusterManagers: ["patroni", "pg_autoctl"], leftovers: ["/pg/data.pgconvoy-copy"],
          ownAddresses: ["10.0.1.20"], listening: ["10.0.1.20", "::1"], ownPort: 5433))
  }
}
