import Inventory
import ReplicationModel
import Testing

@testable import HostAdmin
@testable import MigrationCore

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
