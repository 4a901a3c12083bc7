package import HostAdmin

/// The settings under which a physical copy may run before the cutover: an allow-list by what it does, written to
/// `postgresql.auto.conf`, whose entries win over every other file.
///
/// A copy believes that it is its source: left alone it would archive into the source's archive, run the source's
/// scheduled jobs, feed its subscriptions. Kept are the settings that the target's own admin had made.
package struct Quarantine: Equatable {
  /// What the standby streams from.
  package struct Upstream: Equatable {
    /// libpq's connection string, the password left to a password file.
    package var connectionString: String
    package var slot: String
  }

  package enum Stage: Equatable {
    /// Follows the source without an end.
    case standby(Upstream)
    /// Follows it up to a restore point and promotes there.
    case recovery(Upstream, restorePoint: String)
    /// Promoted, taking the stream of changes; applications are still kept out.
    case synchronising
    /// Open to applications.
    case open
  }

  /// The target's own `postgresql.auto.conf` before the migration.
  package var kept: ConfigurationText
  /// Settings that must not be lower than the source's while the copy is a standby, with the larger of both values.
  package var minimums: [ConfigurationText.Setting]
  /// The target's configured `shared_preload_libraries`, comma-separated as the server takes them.
  var preloadLibraries: String
  /// As `server_version_num`.
  package var serverVersion: Int

  /// Libraries that only do something when a session asks for it.
  static let passiveLibraries: Set<String> = [
    "pg_stat_statements", "auto_explain", "passwordcheck", "auth_delay", "pg_hint_plan",
    "pg_qualstats", "pg_stat_kcache", "pgaudit", "sepgsql", "plpgsql", "pg_wait_sampling", "credcheck", "set_user",
  ]

  var preloadedInQuarantine: String {
    preloadLibraries.split(separator: ",")
      .map { $0.drop { $0 == " " || $0 == "\"" } }
      .map { name in String(name.reversed().drop { $0 == " " || $0 == "\"" }.reversed()) }
      .filter { Self.passiveLibraries.contains(String($0.split(separator: "/").last ?? "")) }
      .joined(separator: ",")
  }

  /// The whole file for a stage.
  package func configuration(for stage: Stage) -> ConfigurationText {
    var result = kept
    for setting in minimums { result.set(setting.name, setting.value) }
    result.set("wal_level", "logical")
    // Archiving stays off, open or not, until the admin has named an archive that is the new server's own.
    result.set("archive_mode", "off")
    result.set("archive_command", "")
    if serverVersion >= 150000 { result.set("archive_library", "") }
    for name in ["restore_command", "archive_cleanup_command", "recovery_end_command"] { result.set(name, "") }
    result.set("recovery_min_apply_delay", "0")
    for name in [
      "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
    ] {
      result.set(name, "")
    }
    result.set("primary_conninfo", "")
    result.set("primary_slot_name", "")
    // Once promoted, recovery's settings mean nothing; gone from the file now, they are not "pending" at the opening.
    if stage == .synchronising || stage == .open {
      for name in recoveryOnly { result.remove(name) }
    }
    if stage == .open { return result }
    result.set("hot_standby", "on")
    result.set("synchronous_standby_names", "")
    if preloadedInQuarantine != preloadLibraries { result.set("shared_preload_libraries", preloadedInQuarantine) }
    result.set("session_preload_libraries", "")
    result.set("local_preload_libraries", "")
    result.set("default_transaction_read_only", "off")
    if serverVersion >= 170000 {
      result.set("event_triggers", "off")
      result.set("sync_replication_slots", "off")
      result.set("summarize_wal", "off")
    }
    switch stage {
    case .standby(let upstream), .recovery(let upstream, _):
      result.set("primary_conninfo", upstream.connectionString)
      result.set("primary_slot_name", upstream.slot)
      result.set("recovery_target_timeline", "latest")
      // An inherited subscription would connect to its publisher as soon as the copy is promoted.
      result.set("max_logical_replication_workers", "0")
    case .synchronising, .open:
      break
    }
    if case .recovery(_, let restorePoint) = stage {
      result.set("recovery_target_name", restorePoint)
      result.set("recovery_target_action", "promote")
    }
    return result
  }

  private var recoveryOnly: [String] {
    [
      "restore_command", "archive_cleanup_command", "recovery_end_command", "recovery_min_apply_delay",
      "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
      "primary_conninfo", "primary_slot_name",
    ]
  }

  /// `host=… port=…`, each value in quotes where it needs them.
  package static func connectionString(_ keywords: [(String, String)]) -> String {
    keywords.map { name, value in
      var escaped = String.UnicodeScalarView()
      for scalar in value.unicodeScalars {
        if scalar == "'" || scalar == "\\" { escaped.append("\\") }
        escaped.append(scalar)
      }
      return "\(name)='\(String(escaped))'"
    }.joined(separator: " ")
  }

  /// One line of a libpq password file; colons and backslashes are escaped.
  package static func passfileLine(host: String, port: Int, database: String, user: String, password: String) -> String
  {
    [host, String(port), database, user, password].map { field in
      field == "*"
        ? "*"
        : String(
          field.unicodeScalars.reduce(into: String.UnicodeScalarView()) { text, scalar in
            if scalar == ":" || scalar == "\\" { text.append("\\") }
            text.append(scalar)
          })
    }.joined(separator: ":") + "\n"
  }
}
