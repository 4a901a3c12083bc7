import Presentation
import Testing

@Suite struct TextTableTests {
  private func table(_ rows: [[String]], _ columns: TextTable.Column...) -> TextTable {
    var table = TextTable(columns)
    for row in rows { table.add(row) }
    return table
  }

  @Test func columnsAreAsWideAsATerminalShowsThem() {
    let table = table(
      [["naïve", "1", "x"], ["日本", "1,234", ""], ["e\u{301}🚚", "", "y"], ["👩‍💻"]], .init(title: "NAME"),
      .init(title: "N", right: true), .init(title: ""))
    #expect(
      table.text() == """
        NAME       N
        naïve      1  x
        日本   1,234
        e\u{301}🚚           y
        👩‍💻

        """)
  }

  @Test func noRowsAreAHead() {
    #expect(TextTable(titles: ["A", "LONG", "B"]).lines() == ["A  LONG  B"])
    #expect(TextTable(columns: 3).text() == "")
    #expect(TextTable([]).lines() == [])
  }

  @Test func withoutTitlesThereIsNoHead() {
    var table = TextTable(columns: 2)
    table.add(["  a", "1"])
    table.add(["  bcd", ""])
    table.add(["", "2"])
    #expect(table.lines() == ["  a    1", "  bcd", "       2"])
  }

  @Test func aColumnMayHaveAWidthOfItsOwn() {
    let table = table([["a", "b", "c"]], .init(title: "", least: 4), .init(title: "R", right: true, least: 3), .init())
    #expect(table.lines() == ["        R", "a       b  c"])
  }

  @Test func nothingInACellActsOnATerminalOrEndsALine() {
    let table = table([["a\u{1B}[2J\r\nb", "c\u{202E}d"], ["x", "y"]], .init(title: "T"), .init(title: "U"))
    #expect(
      table.text()
        == """
        T         U
        a␛[2J␍␊b  c\\u{202E}d
        x         y

        """)
  }

  @Test(
    arguments: [
      (nil, "a-very-long-name-1  x  another sentence that is long"),
      (60, "a-very-long-name-1  x  another sentence that is long"),
      (51, "a-very-long-name-1  x  another sentence that is lo…"), (40, "a-very-long-name-1  x  another sentence…"),
      (33, "a-very-long-name-1  x  another s…"), (30, "a-very-…-name-1  x  another s…"),
      (27, "a-very…ame-1  x  another s…"),
      (10, "a-v…e-1  x  another s…"),
    ] as [(Int?, String)])
  func whatIsTooWideIsCut(width: Int?, expected: String) {
    let table = table(
      [["a-very-long-name-1", "x", "another sentence that is long"]], .init(shrinksTo: 7, cut: .middle), .init(),
      .init(shrinksTo: 10))
    #expect(table.lines(.init(width: width)) == [expected])
  }

  @Test func aVeryLongCellIsCutToo() {
    let long = String(repeating: "日本語 ", count: 5000)
    let table = table([[long, "1"]], .init(title: "T", shrinksTo: 4), .init(title: "N", right: true))
    #expect(table.lines(.init(width: 12)) == ["T          N", "日本語…    1"])
    #expect(DisplayText.width(table.lines()[1]) == 5000 * 7 + 3)
  }

  @Test func inkStandsAroundTheTextAlone() {
    var table = TextTable([.init(title: "A"), .init(title: "N", right: true), .init(title: "B")])
    table.rows = [[.init("x", .red), .init("–"), .init("", .green)], [.init("long"), .init("1"), .init("y", .cyan)]]
    #expect(
      table.lines(.init(color: true)).map { $0.replacing("\u{1B}[", with: "<") } == [
        "<1mA<0m     <1mN<0m  <1mB<0m", "<31mx<0m     <2m–<0m", "long  1  <36my<0m",
      ])
    #expect(table.lines() == ["A     N  B", "x     –", "long  1  y"])
  }
}

@Suite struct TextStyleTests {
  @Test(
    arguments: [
      ([:], true), (["TERM": "xterm-256color"], true), (["TERM": "dumb"], false), (["NO_COLOR": "1"], false),
      (["NO_COLOR": ""], false), (["NO_COLOR": "1", "TERM": "xterm"], false),
    ] as [([String: String], Bool)])
  func coloursAreForTerminalsThatWantThem(environment: [String: String], color: Bool) {
    #expect(TextStyle.terminal(columns: 80) { environment[$0] } == TextStyle(width: 80, color: color))
  }

  @Test func plainIsPlain() {
    for ink in TextStyle.Ink.allCases {
      #expect(TextStyle.plain.paint("a", ink) == "a")
      #expect(TextStyle(color: true).paint("a", ink) == "\u{1B}[\(ink.rawValue)ma\u{1B}[0m")
      #expect(TextStyle(color: true).paint("", ink) == "")
    }
    #expect(TextStyle(color: true).paint("a", nil) == "a")
  }
}
