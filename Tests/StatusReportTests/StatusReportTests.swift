import FoundationEssentials
import Presentation
import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct Tables {
  @Test func oneRowPerDatabaseAndASummary() {
    #expect(
      StatusTable.render(sampleStatus()) == """
        MIGRATION  DATABASE          PHASE         LAG     BEHIND         TX           ROWS  ROWS/S  LAST ERROR
        chef-eu    opscode_chef      streaming  1.2 MB     250 ms  1,204,112  9,876,543,210  12,346
        chef-eu    naïve "x"␊🚚日本  parked     5.0 GB  2 h 5 min          7              8       0  \
        duplicate key value violates unique constraint "users_pkey" at 16/B374D900
        chef-us    bifrost           copying         –          –          –              –       –
        chef-ap    –                 none            –          –          –              –       –

        3 databases, worst lag 5.0 GB, 1 parked, 2 missed rows, sync is running (pid 4711)

        """)
  }

  @Test func aTerminalsWidthShortensTheErrorFirst() {
    #expect(
      StatusTable.render(sampleStatus(), style: .init(width: 120)) == """
        MIGRATION  DATABASE          PHASE         LAG     BEHIND         TX           ROWS  ROWS/S  LAST ERROR
        chef-eu    opscode_chef      streaming  1.2 MB     250 ms  1,204,112  9,876,543,210  12,346
        chef-eu    naïve "x"␊🚚日本  parked     5.0 GB  2 h 5 min          7              8       0  \
        duplicate key value violat…
        chef-us    bifrost           copying         –          –          –              –       –
        chef-ap    –                 none            –          –          –              –       –

        3 databases, worst lag 5.0 GB, 1 parked, 2 missed rows, sync is running (pid 4711)

        """)
    for width in 104...140 {
      for line in StatusTable.render(sampleStatus(), style: .init(width: width)).split(separator: "\n").prefix(5) {
        #expect(DisplayText.width(String(line)) <= width)
      }
    }
  }

  @Test func coloursOnlyWhenAskedFor() {
    #expect(!StatusTable.render(sampleStatus(), style: .init(width: 80)).contains("\u{1B}"))
    var status = sampleStatus()
    status.migrations.removeSubrange(1...)
    status.migrations[0].databases.removeFirst()
    status.migrations[0].databases[0].database = "d"
    status.migrations[0].databases[0].lastError = "e\u{1B}[2J"
    status.sync = .init(running: false)
    #expect(
      StatusTable.render(status, style: .init(color: true)).replacing("\u{1B}[", with: "<") == """
        <1mMIGRATION<0m  <1mDATABASE<0m  <1mPHASE<0m      <1mLAG<0m     <1mBEHIND<0m  <1mTX<0m  <1mROWS<0m  \
        <1mROWS/S<0m  <1mLAST ERROR<0m
        chef-eu    d         <31mparked<0m  5.0 GB  2 h 5 min   7     8       0  <31me␛[2J<0m

        1 database, worst lag 5.0 GB, <31m1 parked<0m, <31m2 missed rows<0m, <33msync is not running<0m

        """)
  }

  @Test func whatWasLeftOutIsNamed() {
    var status = sampleStatus()
    status.migrations[0].databases[0].goneRows = [
      GoneRows(table: "public.staging", rows: 100), GoneRows(table: "repack.log_1", rows: 1),
      GoneRows(table: "a", rows: 2), GoneRows(table: "b", rows: 3),
    ]
    let words =
      "left out, since the table was dropped: public.staging (100 rows), repack.log_1 (1 row), a (2 rows) and 1 more\n"
    #expect(StatusTable.render(status).contains(words))
    let json = StatusJSON.render(status).filter { !$0.isWhitespace }
    #expect(json.contains(#""gone_rows":[{"table":"public.staging","rows":100},{"table":"repack.log_1","rows":1}"#))
  }

  @Test func nothingAtAllIsATableToo() {
    let status = ConvoyStatus(generatedAt: moment, sync: .init(running: false), migrations: [])
    #expect(
      StatusTable.render(status) == """
        MIGRATION  DATABASE  PHASE  LAG  BEHIND  TX  ROWS  ROWS/S  LAST ERROR

        0 databases, worst lag –, 0 parked, sync is not running

        """)
  }
}
