package import HostAdmin
import Inventory
import Journal
import PostgresClient

extension Quarantine {
  package static let comment = """
    Written by pgconvoy: the quarantine of a physical copy. It is rewritten at the hand-off and lifted at the
    cutover; ALTER SYSTEM would be lost.
    """

  /// How such a block begins, whichever migration it is of.
  static let noteBegins = "quarantine of migration"

  /// What the block in the copy's pg_hba.conf says of itself.
  package static func note(_ context: MigrationContext) -> String { "\(noteBegins) \(context.migrationName)" }

  /// Stands among the kept settings: the target's own `shared_preload_libraries`, which cannot be asked for once the
  /// quarantine's file is in force.
  package static let keptPreload = "pgconvoy.preload_libraries"

  /// Settings that a standby must not have lower than its source.
  private static let standbyMinimums = [
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction",
  ]

  /// Reads what the quarantine of a copy depends on: the settings that were kept in it, the target's own values, the
  /// source's.
  package static func assemble(
    _ context: MigrationContext, _ target: ServerControl, directory: String
  ) async throws -> Quarantine {
    let kept = ConfigurationText(parsing: try await target.download("\(directory)/\(ServerControl.keptSettings)"))
    return try await assemble(context, target, kept: kept, configuredIn: directory)
  }

  /// - Parameters:
  ///   - kept: the target's own `postgresql.auto.conf`, with `keptPreload`.
  ///   - directory: whose configuration files say the rest; nil for a target without a cluster of its own.
  package static func assemble(
    _ context: MigrationContext, _ target: ServerControl, kept: ConfigurationText, configuredIn directory: String?
  ) async throws -> Quarantine {
    var kept = kept
    let preload = kept[keptPreload] ?? ""
    kept.remove(keptPreload)
    let source = try await context.session(.source)
    let handOff = try await context.record()?.handOff
    let databases =
      if let handOff { handOff.databases.count } else { try await context.selectedDatabases().count }
    var names = standbyMinimums + ["max_replication_slots"]
    if await source.serverVersion >= 180000 { names.append("max_active_replication_origins") }
    let theirs = try await source.query(
      "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[])",
      ["{" + names.joined(separator: ",") + "}"])
    let configured =
      if let directory { try await target.configuredValues(names, directory: directory) } else { [String: String]() }
    var minimums: [ConfigurationText.Setting] = []
    for name in names {
      let source = theirs.rows.first { $0[0] == name }?.int(1) ?? 0
      var value = max(source, (kept[name] ?? configured[name]).flatMap { Int($0) } ?? 0)
      // Two origins or a slot for the way back for every database, which are counted apart, and some to spare.
      if name == "max_replication_slots" || name == "max_active_replication_origins" {
        value = max(value, 2 * databases + 4)
      }
      if name == "max_wal_senders" { value = max(value, databases + 4) }
      minimums.append(.init(name: name, value: String(value)))
    }
    return Quarantine(
      kept: kept, minimums: minimums, preloadLibraries: preload, serverVersion: await source.serverVersion)
  }
}

extension Quarantine {
  /// The whole `postgresql.auto.conf` of an open target; nil when nothing is kept to make it of: it is open already.
  static func settingsToOpen(_ context: MigrationContext, _ target: ServerControl) async throws -> String? {
    guard try await target.exists(target.keptSettingsFile) else { return nil }
    return try await assemble(context, target, directory: target.dataDirectory)
      .configuration(for: .open).rendered(comment: openComment)
  }

  static let openComment = """
    Written by pgconvoy when the server was opened: the settings that its admin had made, and archiving off until an
    archive of its own is named.
    """
}
