import Inventory
import ReplicationModel
import Testing

@testable import MigrationSteps

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

struct QuarantineTests {
  private static let upstream = Quarantine.Upstream(connectionString: "host='h' passfile='/p'", slot: "s")

  private func quarantine(_ kept: String = "", version: Int = 150018, preload: String = "") -> Quarantine {
    Quarantine(
      kept: ConfigurationText(parsing: kept), minimums: [.init(name: "max_connections", value: "200")],
      preloadLibraries: preload, serverVersion: version)
  }

  private func text(_ quarantine: Quarantine, _ stage: Quarantine.Stage) -> [String] {
    quarantine.configuration(for: stage).rendered(comment: "").split(separator: "\n").map(String.init)
  }

  @Test func standby() {
    let lines = text(
      quarantine("port = 7\narchive_mode = always\nmax_connections = 100\nrecovery_target_xid = 5"),
      .standby(Self.upstream))
    #expect(
      lines == [
        "port = '7'", "max_connections = '200'", "wal_level = 'logical'", "archive_mode = 'off'",
        "archive_command = ''",
        "archive_library = ''", "restore_command = ''", "archive_cleanup_command = ''", "recovery_end_command = ''",
        "recovery_min_apply_delay = '0'", "recovery_target = ''", "recovery_target_lsn = ''",
        "recovery_target_name = ''", "recovery_target_time = ''", "recovery_target_xid = ''", "hot_standby = 'on'",
        "synchronous_standby_names = ''", "session_preload_libraries = ''",
        "local_preload_libraries = ''", "default_transaction_read_only = 'off'",
        "primary_conninfo = 'host=''h'' passfile=''/p'''", "primary_slot_name = 's'",
        "recovery_target_timeline = 'latest'", "max_logical_replication_workers = '0'",
      ])
  }

  @Test func recoveryEndsAtTheRestorePointAndPromotes() {
    let standby = text(quarantine("recovery_target_action = shutdown"), .standby(Self.upstream))
    let recovery = text(
      quarantine("recovery_target_action = shutdown"), .recovery(Self.upstream, restorePoint: "pgconvoy_x"))
    #expect(recovery.contains("recovery_target_name = 'pgconvoy_x'"))
    #expect(recovery.contains("recovery_target_action = 'promote'"))
    let targets = recovery.filter { $0.hasPrefix("recovery_target") }
    #expect(targets.filter { !$0.hasSuffix("''") }.count == 3)
    #expect(standby.contains("recovery_target_action = 'shutdown'"))
    #expect(recovery.filter { $0.hasPrefix("recovery_target_action") }.count == 1)
  }

  @Test func aServerThatSynchronisesFollowsNobody() {
    let lines = text(quarantine("primary_conninfo = 'host=old'"), .synchronising)
    #expect(!lines.contains { $0.hasPrefix("primary_conninfo") || $0.hasPrefix("recovery_target_name") })
    #expect(lines.contains("synchronous_standby_names = ''"))
    #expect(!lines.contains { $0.hasPrefix("max_logical_replication_workers") })
  }

  @Test func openKeepsTheAdminsSettingsAndNoArchive() {
    let lines = text(
      quarantine(
        "work_mem = 8MB\narchive_command = 'cp %p /a'\nprimary_conninfo = 'x'\nsynchronous_standby_names = 'b'",
        preload: "pg_cron"), .open)
    #expect(
      lines == [
        "work_mem = '8MB'", "synchronous_standby_names = 'b'", "max_connections = '200'", "wal_level = 'logical'",
        "archive_mode = 'off'", "archive_command = ''", "archive_library = ''",
      ])
  }

  @Test func settingsFollowTheVersion() {
    #expect(!text(quarantine(version: 140000), .open).contains { $0.hasPrefix("archive_library") })
    let new = text(quarantine(version: 170000), .synchronising)
    for line in ["event_triggers = 'off'", "sync_replication_slots = 'off'", "summarize_wal = 'off'"] {
      #expect(new.contains(line))
    }
    #expect(!text(quarantine(version: 160000), .synchronising).contains { $0.hasPrefix("event_triggers") })
  }

  @Test(arguments: [
    ("", ""), ("pg_cron", ""), ("pg_stat_statements, pg_cron", "pg_stat_statements"),
    ("\"$libdir/pgaudit\",timescaledb, auto_explain ", "$libdir/pgaudit,auto_explain"),
  ])
  func librariesThatActOnTheirOwnStayOut(_ configured: String, _ loaded: String) {
    #expect(quarantine(preload: configured).preloadedInQuarantine == loaded)
  }

  @Test(arguments: [
    ("secret", "secret"), ("a:b\\c", "a\\:b\\\\c"), ("", ""), ("*", "*"), (":\u{301}", "\\:\u{301}"),
  ])
  func passfileLines(_ password: String, _ written: String) {
    let line = Quarantine.passfileLine(host: "::1", port: 5432, database: "*", user: "u", password: password)
    #expect(Array(line.utf8) == Array("\\:\\:1:5432:*:u:\(written)\n".utf8))
  }

  @Test func connectionStrings() {
    #expect(
      Quarantine.connectionString([("host", "a b"), ("user", "it's\\"), ("x", "")])
        == #"host='a b' user='it\'s\\' x=''"#)
  }
}

struct DrainMarkerTests {
  @Test func readsAnAnnouncement() {
    #expect(
      DrainMarker(
        announcement: #"{"nonce":"ab12","lsn":"0/1A","changes":12,"applier":"ff"}"#, database: "d")
        == DrainMarker(database: "d", nonce: "ab12", lsn: LSN(0x1A), changes: 12, applier: "ff"))
  }

  @Test(arguments: [
    "", "}", "{", "{}", "{{{{", "}}}}", ",", ":", "{:}", "{,}", "{\"nonce\"}", "nonce", "{\"nonce\":\"a\"}",
    #"{"nonce":"a","lsn":"x","changes":1,"applier":"f"}"#, #"{"nonce":"a","lsn":"0/1","changes":-1,"applier":"f"}"#,
    #"{"nonce":"a","lsn":"0/1","changes":99999999999999999999,"applier":"f"}"#, "🐘",
    String(repeating: "{", count: 7999),
  ])
  func whatAnyoneMaySendIsNoMarker(_ text: String) {
    #expect(DrainMarker(announcement: text, database: "d") == nil)
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

struct FenceTests {
  @Test(arguments: [
    "postgres: checkpointer ", "postgres: lab: background writer", "postgres: autovacuum worker shop",
    "postgres: archiver last was 000000010000000000000007", "postgres: startup recovering 000000010000000000000007",
    "postgres: cluster: walwriter", "postgres: logical replication launcher ",
    "postgres: io worker 1", "postgres: stats collector ", "postgres: logger ",
  ])
  func theServersOwnProcessesAreSpared(_ title: String) {
    #expect(PostmasterChild(title: title).isBackground)
  }

  @Test(arguments: [
    "/usr/lib/postgresql/15/bin/postgres -D data", "postgres: app shop 127.0.0.1(5000) authentication",
    "postgres: lab: app shop [local] startup", "postgres: logger shop 127.0.0.1(5000) authentication",
    "postgres: startup_app shop [local] initializing", "postgres: lab: archiver archiver ::1(5000) authentication",
    "postgres: walsender app shop 10.0.0.1(4711) authentication", "postgres: checkpointers", "postgres: app",
    "postgres: logical replication worker for subscription 16394", "",
  ])
  func whoMayBeAClientIsNot(_ title: String) {
    #expect(!PostmasterChild(title: title).isBackground)
  }
}
