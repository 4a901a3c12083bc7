import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// `start_standby`: the copy takes the place of the target's data directory, quarantined, and follows the source.
///
/// The target's own configuration and certificates are kept, wherever they are; its old data directory is moved
/// aside. When the copy does not start, everything is put back and the old server is started again where it ran.
struct StandbyStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let target = try await context.server(.target)
    let host = context.migration.target.name
    var actions: [PlannedAction] = []
    let files = try await ConfigurationFiles.find(target)
    for file in files?.inside ?? [] {
      actions.append(.init(host: host, .file(old: nil, new: nil), "keep \(target.dataDirectory)/\(file)"))
    }
    if try await target.isRunning() {
      actions.append(.init(host: host, .command, "stop PostgreSQL on \(target.dataDirectory)"))
    }
    actions += [
      .init(host: host, .command, "move \(target.dataDirectory) to \(target.dataDirectory).pgconvoy-old-<nonce>"),
      .init(host: host, .command, "move \(target.copyDirectory) to \(target.dataDirectory)"),
      .init(host: host, .file(old: nil, new: nil), "write postgresql.auto.conf (quarantine) and standby.signal"),
      .init(
        host: host, .file(old: nil, new: nil),
        "put a fence for everyone but \(context.migration.target.postgres.user) on top of pg_hba.conf"),
      .init(host: host, .command, "start PostgreSQL as a standby of \(context.migration.source.name)"),
      .init(host: host, .wait, "until it has replayed what the source has now"),
    ]
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    let state = try await context.state()
    guard ![.none, .prepared, .copying].contains(state) else { return false }
    if state != .standby { return true }
    // Once L is fixed the copy must not follow the source without an end: it would go beyond. hand_off starts it.
    if try await context.record()?.handOff?.handOffLSN != nil { return true }
    return try await context.server(.target).isRunning()
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let target = try await context.server(.target)
    let names = try await context.handOff().names
    if try await context.state() != .standby {
      let hasCopy = try await target.exists(target.copyDirectory + "/PG_VERSION")
      let isSwapping = try await target.exists(target.oldDirectory(names))
      guard hasCopy || isSwapping else {
        throw ConvoyError(
          "migration.copy-missing", "the copy at \(target.copyDirectory) is gone",
          at: context.place("start_standby", .target), hint: "run the playbook again with --start-at base_backup")
      }
      try await install(context, target, names)
    }
    await context.closeSessions(.target)
    do {
      try await target.start()
    } catch {
      try await putBack(context, target, names)
      throw error
    }
    try await context.setState(.standby)
    let bytes = try await catchUp(context)
    return StepResult(
      changed: true, "the standby has caught up", figures: [.init("of WAL replayed", bytes, .bytes)])
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    let target = try await context.server(.target)
    try await putBack(context, target, try await context.handOff().names)
    return .undone("put the old data directory back")
  }

  // MARK: the swap

  private func install(_ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames) async throws {
    let old = target.oldDirectory(names)
    if try await !target.exists(old) {
      context.progress("keeping configuration and certificates")
      let files = try await ConfigurationFiles.find(target)
      try await prepareCopy(context, target, files, names)
      await context.closeSessions(.target)
      context.progress("stopping the target's old server")
      try await target.stop()
      try await context.setFact(FactKey.oldDataDirectory, old)
      // The first rename is the point where the old server no longer starts by itself; both undo each other.
      try await target.check(
        "if [ -e \"$1\" ]; then mv -T -- \"$1\" \"$2\"; else mkdir -m 700 -- \"$2\"; fi", [target.dataDirectory, old],
        label: "moving the old data directory aside")
    }
    if try await target.exists(target.copyDirectory) {
      try await target.check(
        "mv -T -- \"$1\" \"$2\"", [target.copyDirectory, target.dataDirectory], label: "moving the copy into place")
    }
  }

  private func prepareCopy(
    _ context: MigrationContext, _ target: ServerControl, _ files: ConfigurationFiles?, _ names: HandOffNames
  ) async throws {
    let copy = target.copyDirectory
    if let files {
      for file in files.inside {
        try await target.check(
          "mkdir -p -- \"$(dirname -- \"$3/$2\")\" && cp -a -- \"$1/$2\" \"$3/$2\"",
          [target.dataDirectory, file, copy],
          label: "keeping \(file)")
      }
      try await target.check(
        // A copy of an earlier attempt holds the settings that it had kept; its own are that quarantine's.
        """
        if [ -e "$1/$3" ]; then cp -a -- "$1/$3" "$2/$3"
        elif [ -e "$1/postgresql.auto.conf" ]; then cp -a -- "$1/postgresql.auto.conf" "$2/$3"
        else : > "$2/$3"; fi
        """, [target.dataDirectory, copy, ServerControl.keptSettings],
        label: "keeping postgresql.auto.conf")
    } else {
      // No cluster of its own: the source's configuration came along, and must not claim the source's address.
      let settings = context.migration.target.postgres
      var own = ConfigurationText()
      own.set("port", String(settings.port))
      own.set("listen_addresses", settings.address.hasPrefix("/") ? "" : settings.address)
      own.set("external_pid_file", "")
      try await target.upload(
        own.rendered(comment: "Set by pgconvoy for a host without a cluster of its own."),
        to: "\(copy)/\(ServerControl.keptSettings)")
    }
    // The source's own entries are out of the way before anything reads them.
    try await target.upload("# emptied by pgconvoy\n", to: copy + "/postgresql.auto.conf")
    try await keepPreloadLibraries(target)
    let quarantine = try await Quarantine.assemble(context, target, directory: copy)
    try await target.upload(
      quarantine.configuration(for: .standby(context.upstream(target, names))).rendered(comment: Quarantine.comment),
      to: copy + "/postgresql.auto.conf")
    try await target.check(
      "rm -f -- \"$1/recovery.signal\" && : > \"$1/standby.signal\"", [copy], label: "writing standby.signal")
    let hbaPath = files?.hba ?? "pg_hba.conf"
    try await HBAFile(server: target, path: hbaPath.hasPrefix("/") ? hbaPath : "\(copy)/\(hbaPath)")
      .fence(for: context.migration.target.postgres.user, note: Quarantine.note(context))
  }

  private func keepPreloadLibraries(_ target: ServerControl) async throws {
    let path = "\(target.copyDirectory)/\(ServerControl.keptSettings)"
    var kept = ConfigurationText(parsing: try await target.download(path))
    let name = "shared_preload_libraries"
    let configured = try await target.configuredValues([name], directory: target.copyDirectory)
    kept.set(Quarantine.keptPreload, kept[name] ?? configured[name] ?? "")
    try await target.upload(kept.rendered(comment: "The target's own settings, kept by pgconvoy."), to: path)
  }

  func putBack(_ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames) async throws {
    let old = target.oldDirectory(names)
    guard try await target.exists(old) else { return try await liftOutsideFence(target) }
    context.progress("putting the old data directory back")
    await context.closeSessions(.target)
    try await target.stop()
    try await target.check(
      """
      if [ -e "$1" ]; then mv -T -- "$1" "$2"; fi
      if rmdir -- "$3" 2>/dev/null; then :; else mv -T -- "$3" "$1"; fi
      """, [target.dataDirectory, target.copyDirectory, old], label: "putting the old data directory back")
    try await liftOutsideFence(target)
    try await context.setState(.copying)
    if try await context.fact(FactKey.targetWasRunning, as: Bool.self) ?? false { try await target.start() }
  }

  /// A pg_hba.conf outside the data directory is fenced before the directories are swapped, and is the old server's too.
  private func liftOutsideFence(_ target: ServerControl) async throws {
    guard let files = try await ConfigurationFiles.find(target), files.hba.hasPrefix("/") else { return }
    try await HBAFile(server: target, path: files.hba).lift()
  }

  /// Waits until the standby has what the source had when this was called.
  private func catchUp(_ context: MigrationContext) async throws -> UInt64 {
    let source = try await context.session(.source)
    let standby = try await context.session(.target)
    let goal = LSN(try await source.query("SELECT pg_catalog.pg_current_wal_lsn()").first ?? "") ?? .invalid
    let last = LastValue()
    var first: LSN?
    var position = LSN.invalid
    try await waitUntil(
      within: .seconds(24 * 3600),
      orThrow: {
        ConvoyError(
          "standby.not-caught-up", "the standby has not caught up within a day",
          at: context.place("start_standby", .target))
      }
    ) {
      let row = try await standby.query(
        """
        SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0'),
               EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver)
        """
      ).rows[0]
      position = LSN(row.string(0)) ?? .invalid
      first = first ?? position
      if position >= goal { return true }
      if last.replace(with: Int(goal.bytes(since: position) >> 24)) {
        context.progress("standby is \(goal.bytes(since: position)) bytes behind")
      }
      return false
    }
    return position.bytes(since: first ?? position)
  }
}

extension ServerControl {
  /// The target's own `postgresql.auto.conf`, kept in the copy until the cutover.
  static let keptSettings = "pgconvoy.kept.auto.conf"
}

extension MigrationContext {
  nonisolated func upstream(_ target: ServerControl, _ names: HandOffNames) -> Quarantine.Upstream {
    Quarantine.Upstream(
      connectionString: Quarantine.connectionString(
        migration.source.replicationKeywords + [("passfile", target.passfile)]),
      slot: names.physicalSlot)
  }
}
