import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct ClosingReport {
  @Test func theWholePicture() {
    #expect(
      MigrationReportText.render(sampleReport()) == """
        chef-eu: eu-old → eu-new, cut over 2026-03-01T10:00:00Z
        PostgreSQL 15.20 → 15.20, chef-server 15.9, hand-off at 16/B374D848, pgconvoy 0.1.0

        DATABASE           TX  CHANGES  SEQUENCES  TABLES  SOURCE ROWS     TARGET ROWS  SOURCE SUM       TARGET SUM
        opscode_chef  104,112  400,000         12      48    1,204,112  =    1,204,112  9f3c51aa0be…  =  9f3c51aa0be…
        bookshelf          12        0          –       –            –               –  –                –

        PHASE              TIME
        base backup  1 min 12 s  ████████████████████████
        standby           3.1 s  █▏
        catch up         18.0 s  ██████
        fence            240 ms  ▏
        drain            900 ms  ▍
        verify            2.0 s  ▊

        MARKER  DATABASE      LSN          CHANGES BEFORE
        drain   opscode_chef  16/B5000000               –
        proof   opscode_chef  16/B5000120               0

        note: archiving stays off on the target
        warning: database bookshelf: 2 unlogged tables are empty

        1 database not compared, 1 database equal on both sides, downtime 3.2 s

        """)
  }

  @Test func aDifferenceStandsOut() {
    var report = sampleReport()
    report.outcome = .calledOff
    report.downtimeMilliseconds = nil
    report.phases = []
    report.markers = []
    report.findings = []
    report.databases.removeLast()
    report.databases[0].target = .init(rows: 1_204_111, checksum: "0000")
    #expect(
      MigrationReportText.render(report) == """
        chef-eu: eu-old → eu-new, called off 2026-03-01T10:00:00Z
        PostgreSQL 15.20 → 15.20, chef-server 15.9, hand-off at 16/B374D848, pgconvoy 0.1.0

        DATABASE           TX  CHANGES  SEQUENCES  TABLES  SOURCE ROWS     TARGET ROWS  SOURCE SUM       TARGET SUM
        opscode_chef  104,112  400,000         12      48    1,204,112  ≠    1,204,111  9f3c51aa0be…  ≠  0000

        1 database differs

        """)
  }

  @Test(
    arguments: [
      (nil, nil, nil), (.init(rows: 1), nil, nil), (.init(rows: 1), .init(rows: 1), true),
      (.init(rows: 1), .init(rows: 2), false), (.init(rows: 1, checksum: "a"), .init(rows: 1, checksum: "a"), true),
      (.init(rows: 1, checksum: "a"), .init(rows: 1, checksum: "b"), false),
      (.init(rows: 1, checksum: "a"), .init(rows: 1), nil), (.init(rows: 2, checksum: "a"), .init(rows: 1), false),
    ] as [(MigrationReport.Side?, MigrationReport.Side?, Bool?)])
  func equalMeansThatBothSidesWereLookedAt(
    source: MigrationReport.Side?, target: MigrationReport.Side?, expected: Bool?
  ) {
    var database = MigrationReport.Database(name: "d")
    database.source = source
    database.target = target
    #expect(database.isEqual == expected)
  }
}
