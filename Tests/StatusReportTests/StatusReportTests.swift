import FoundationEssentials
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

  @Test func nothingAtAllIsATableToo() {
    let status = ConvoyStatus(generatedAt: moment, sync: .init(running: false), migrations: [])
    #expect(
      StatusTable.render(status) == """
        MIGRATION  DATABASE  PHASE  LAG  BEHIND  TX  ROWS  ROWS/S  LAST ERROR

        0 databases, worst lag –, 0 parked, sync is not running

        """)
  }
}

@Suite struct Texts {
  @Test(arguments: [
    ("plain", "plain", 5), ("", "", 0), ("a\tb\u{0}\u{7F}", "a␉b␀␡", 5), ("日本", "日本", 4), ("e\u{301}", "e\u{301}", 1),
    ("🚚", "🚚", 2), ("👩‍💻", "👩‍💻", 2), ("🇩🇪", "🇩🇪", 2), ("❤️", "❤️", 2), ("\r\n", "␍␊", 2),
    ("a\u{202E}b", "a\\u{202E}b", 10), ("\u{200B}", "\\u{200B}", 8), ("\u{9B}2J", "\\u{9B}2J", 8),
    ("\u{2028}", "\\u{2028}", 8), ("ﾊ한", "ﾊ한", 3), ("1\u{200D}", "1\\u{200D}", 9),
  ])
  func whatATerminalShows(text: String, visible: String, width: Int) {
    #expect(DisplayText.visible(text) == visible)
    #expect(DisplayText.width(visible) == width)
  }

  @Test(arguments: [
    ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("ab cd", 4, "ab…"), ("abc", 1, "…"),
    ("abc", 0, ""),
  ])
  func whereItIsCut(text: String, limit: Int, expected: String) {
    #expect(DisplayText.truncated(text, to: limit) == expected)
  }
}

@Suite struct Numbers {
  @Test(
    arguments: [
      (nil, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (1536, "1.5 kB"), (1_258_291, "1.2 MB"),
      (102_348, "99.9 kB"), (102_399, "100 kB"), (1_048_063, "1023 kB"), (1_048_064, "1.0 MB"), (1_048_575, "1.0 MB"),
      (5 << 30, "5.0 GB"), (1 << 60, "1.0 EB"), (UInt64.max, "16.0 EB"),
    ] as [(UInt64?, String)])
  func bytes(value: UInt64?, expected: String) {
    #expect(HumanFormat.bytes(value) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0 s"), (0.0001, "0 s"), (0.25, "250 ms"), (0.9999, "1.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"),
      (59.96, "1 min 0 s"), (185, "3 min 5 s"), (3599.6, "1 h 0 min"), (8040, "2 h 14 min"), (86_400, "1 d 0 h"),
      (273_600, "3 d 4 h"), (-5, "0 s"), (.nan, "–"), (.infinity, "–"), (1e300, "11,574,074 d 1 h"),
    ] as [(Double?, String)])
  func durations(value: Double?, expected: String) {
    #expect(HumanFormat.duration(seconds: value) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"),
      (UInt64.max, "18,446,744,073,709,551,615"),
    ] as [(UInt64?, String)])
  func counts(value: UInt64?, expected: String) {
    #expect(HumanFormat.count(value) == expected)
  }

  @Test(
    arguments: [
      (nil, "–"), (0, "0"), (0.44, "0.4"), (9.96, "10"), (3, "3"), (12_345.6, "12,346"), (.nan, "–"), (-1, "0"),
    ] as [(Double?, String)])
  func rates(value: Double?, expected: String) {
    #expect(HumanFormat.rate(value) == expected)
  }
}
