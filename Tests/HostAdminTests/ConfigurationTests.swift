import Inventory
import ReplicationModel
import Testing

@testable import HostAdmin

struct ConfigurationTextTests {
  private func pairs(_ text: String) -> [String] {
    ConfigurationText(parsing: text).settings.map { "\($0.name)=\($0.value)" }
  }

  @Test(arguments: [
    ("a = 1", ["a=1"]), ("  a=on # comment", ["a=on"]), ("a 'x y' # c", ["a=x y"]), ("a = ''", ["a="]),
    ("a = 'it''s'", ["a=it's"]), (#"a = 'it\'s \\ \n'"#, ["a=it's \\ \n"]), (#"a = '\101\7x'"#, ["a=A\u{7}x"]),
    ("# a = 1\n\nb=2", ["b=2"]), ("a = 'x#y'", ["a=x#y"]), ("a = 10MB\t#c", ["a=10MB"]),
    ("a = /dir/x-1.y", ["a=/dir/x-1.y"]),
    ("my.setting = 'v'", ["my.setting=v"]), ("a = 'open", []), ("a", []), ("a =", []), ("= 1", []),
    ("a = 1\r\nb = 'x'\r\nc = 'y'", ["a=1", "b=x", "c=y"]),
  ])
  func readsLines(_ text: String, _ expected: [String]) {
    #expect(pairs(text) == expected)
  }

  @Test func findsIncludes() {
    let text = ConfigurationText(
      parsing: "include 'a.conf'\r\nINCLUDE_IF_EXISTS = 'b c.conf'\ninclude_dir 'conf.d'\nx = 1\n")
    #expect(
      text.includes == [
        .init(path: "a.conf", isDirectory: false), .init(path: "b c.conf", isDirectory: false),
        .init(path: "conf.d", isDirectory: true),
      ])
    #expect(text["X"] == "1")
  }

  @Test func theLastOneWinsAndSetReplacesAll() {
    var text = ConfigurationText(parsing: "a = 1\nA = 2\nb = 3")
    #expect(text["a"] == "2")
    text.set("a", "4")
    #expect(text.rendered(comment: "one\ntwo") == "# one\n# two\nb = '3'\na = '4'\n")
  }

  @Test(arguments: ["", "it's", "back\\slash", "'", "\\'", "a#b", "'\u{301}x", "\u{e9}", "x y"])
  func whatIsWrittenReadsBack(_ value: String) {
    var text = ConfigurationText()
    text.set("a", value)
    #expect(
      Array(ConfigurationText(parsing: text.rendered(comment: "c"))["a"]?.utf8 ?? "none".utf8) == Array(value.utf8))
  }
}

struct TimelineHistoryTests {
  @Test func theLastLineCounts() {
    let text = "1\t0/3000000\tno recovery target specified\n\n2\t16/B374D848\tat restore point \"pgconvoy_1\"\n"
    let point = TimelineHistory.lastSwitchPoint(text)
    #expect(point?.timeline == 2)
    #expect(point?.lsn == LSN("16/B374D848"))
  }

  @Test(arguments: ["", "\n", "# 1\t0/1\n", "1", "x\t0/1\n", "1\t0\n"])
  func anythingElseIsNone(_ text: String) {
    #expect(TimelineHistory.lastSwitchPoint(text) == nil)
  }

  @Test func theControlFileSaysHowFarRecoveryMustGo() {
    let text =
      "Database cluster state:               shut down in recovery\nMinimum recovery ending location:     0/5000098\nMin recovery ending loc's timeline:   1\n"
    #expect(ControlData(text).minimumRecoveryEnd == LSN("0/5000098"))
    #expect(ControlData("nothing").minimumRecoveryEnd == nil)
  }
}
