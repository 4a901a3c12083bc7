import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// `start_standby`: the copy takes the place of the target's data directory, quarantined, and follows the source.
///
/// The target's own configuration and certificates are kept, wherever they are; its old data directory is moved
/// aside. When the copy does not start, everything is put back and the old server is started again where it ran. With
/// `old_data: replace` the old data directory is removed once the copy has caught up.
struct StandbyStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let target = try await context.server(.target)
    let names = try await context.plannedNames()
    var actions: [PlannedAction] = []
    let state = try await context.state()
    let deeds = state == .standby ? [] : try await deeds(context, target, names, isPlanned: true)
    for deed in deeds + [.start] {
      actions.append(try await deed.announcement(on: target))
    }
    actions.append(.init(host: target.host.name, .wait, "until it has replayed what the source has now"))
    if context.migration.oldData == .replace {
      let removal = OldCluster(context: context, target: target).removal(of: target.oldDirectory(names))
      actions.append(.init(host: target.host.name, removal))
    }
    return actions
  }

  func destruction(_ context: MigrationContext) async throws -> String? {
    context.migration.oldData == .replace
      ? "removes the target's old data directory as soon as the copy runs in its place" : nil
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    let state = try await context.state()
    guard ![.none, .prepared, .copying].contains(state) else { return false }
    if state != .standby { return true }
    // Once L is fixed the copy must not follow the source without an end: it would go beyond. hand_off starts it.
    let handOff = try await context.record()?.handOff
    if handOff?.handOffLSN != nil { return true }
    let target = try await context.server(.target)
    if context.migration.oldData == .replace, let names = handOff?.names,
      try await target.exists(target.oldDirectory(names))
    {
      return false
    }
    return try await target.isRunning()
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let target = try await context.server(.target)
    let names = try await context.handOff().names
    let wasInPlace = try await context.state() == .standby
    if !wasInPlace {
      let hasCopy = try await target.exists(target.copyDirectory + "/PG_VERSION")
      let isSwapping = try await target.exists(target.oldDirectory(names))
      guard hasCopy || isSwapping else {
        throw ConvoyError(
          "migration.copy-missing", "the copy at \(target.copyDirectory) is gone",
          at: context.place("start_standby", .target), hint: "run the playbook again with --start-at base_backup")
      }
    }
    let oldData = OldCluster(context: context, target: target)
    do {
      if !wasInPlace { try await install(context, target, names) }
      await context.closeSessions(.target)
      try await target.start()
    } catch {
      // A copy that has run in its place stays there, and stays closed, where there is no old data to come back. A play
      // that is interrupted puts it back as well.
      let takingBack = Task {
        let stays = wasInPlace ? try await oldData.isRemoved(names) : false
        if !stays { try await putBack(context, target, names) }
      }
      do {
        try await takingBack.value
      } catch {
        context.progress("the target is not as it was: \(error)")
      }
      throw await oldData.explained(error)
    }
    try await context.setState(.standby)
    let bytes = try await catchUp(context)
    var summary = "the standby has caught up"
    if context.migration.oldData == .replace {
      context.progress("removing the old data directory")
      try await target.remote.runChecked(oldData.removal(of: target.oldDirectory(names)))
      summary += ", the old data is removed"
    }
    return StepResult(changed: true, summary, figures: [.init("of WAL replayed", bytes, .bytes)])
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    // From the hand-off on the copy is a server of its own, with slots that wait for it.
    guard [.none, .prepared, .copying, .standby].contains(try await context.state()) else { return .nothingToUndo }
    let target = try await context.server(.target)
    let names = try await context.handOff().names
    if try await context.state() == .standby, try await OldCluster(context: context, target: target).isRemoved(names) {
      context.progress("the copy stays: the target's old data is removed")
      return .nothingToUndo
    }
    try await putBack(context, target, names)
    return .undone("put the old data directory back")
  }

  // MARK: the swap

  /// Everything that puts the copy in the target's place, in order, as far as it is not done yet.
  ///
  /// - Parameter isPlanned: the copy need not be there yet.
  private func deeds(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames, isPlanned: Bool
  ) async throws -> [HostDeed] {
    var deeds: [HostDeed] = []
    let old = target.oldDirectory(names)
    if try await !target.exists(old) {
      deeds += try await preparation(context, target, names)
      // In a plan the base backup may still have to make room, and stops it for that.
      let makesRoom = isPlanned ? try await !OldCluster(context: context, target: target).makingRoom().isEmpty : false
      let isRunning = try await target.isRunning()
      if isRunning, !makesRoom { deeds.append(.stop) }
      // The first rename is the point where the old server no longer starts by itself; both undo each other.
      deeds.append(
        .run(
          target.command(
            "if [ -e \"$1\" ]; then mv -T -- \"$1\" \"$2\"; else mkdir -m 700 -- \"$2\"; fi",
            [target.dataDirectory, old],
            label: "moving the old data directory aside")))
    }
    let isCopied = try await target.exists(target.copyDirectory)
    if isPlanned || isCopied {
      deeds.append(
        .run(
          target.command(
            "mv -T -- \"$1\" \"$2\"", [target.copyDirectory, target.dataDirectory],
            label: "moving the copy into place")))
    }
    return deeds
  }

  /// What is done to the copy while the old server still runs.
  private func preparation(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames
  ) async throws -> [HostDeed] {
    let copy = target.copyDirectory
    let files = try await ConfigurationFiles.find(target)
    let kept = try await keptSettings(context, target, hasCluster: files != nil)
    let quarantine = try await Quarantine.assemble(
      context, target, kept: kept, configuredIn: files == nil ? nil : target.dataDirectory)
    let configuration = quarantine.configuration(for: .standby(context.upstream(target, names)))
    var deeds: [HostDeed] = (files?.inside ?? []).map { file in
      .run(
        target.command(
          "rm -rf -- \"$1\" && mkdir -p -- \"$(dirname -- \"$1\")\" && cp -a -- \"$2\" \"$1\"",
          ["\(copy)/\(file)", "\(target.dataDirectory)/\(file)"],
          label: "keeping \(file)"))
    }
    deeds += [
      .write(
        path: "\(copy)/\(ServerControl.keptSettings)",
        text: kept.rendered(comment: "The target's own settings, kept by pgconvoy.")),
      // The source's own entries are out of the way before anything reads them.
      .write(path: copy + "/postgresql.auto.conf", text: configuration.rendered(comment: Quarantine.comment)),
      .run(
        target.command(
          "rm -f -- \"$1\" && : > \"$2\"", [copy + "/recovery.signal", copy + "/standby.signal"],
          label: "writing standby.signal")),
    ]
    let role = context.migration.target.postgres.user
    let note = Quarantine.note(context)
    let (path, text) = try await authentication(context, target, files)
    let fenced = try HostBasedAuthentication(text).fenced(for: role, note: note)
    return deeds + [.replace(path: path, old: text, new: fenced.text)]
  }

  /// The target's own `postgresql.auto.conf`, with what the quarantine must know of the rest.
  private func keptSettings(
    _ context: MigrationContext, _ target: ServerControl, hasCluster: Bool
  ) async throws -> ConfigurationText {
    let libraries = "shared_preload_libraries"
    guard hasCluster else {
      // No cluster of its own: the source's configuration came along, and must not claim the source's address.
      let settings = context.migration.target.postgres
      var own = ConfigurationText()
      own.set("port", String(settings.port))
      own.set("listen_addresses", settings.address.hasPrefix("/") ? "" : settings.address)
      own.set("external_pid_file", "")
      let session = try await context.session(.source)
      own.set(Quarantine.keptPreload, try await session.query("SHOW shared_preload_libraries").first ?? "")
      return own
    }
    // A copy of an earlier attempt holds the settings that it had kept; its postgresql.auto.conf is the quarantine's.
    for name in [ServerControl.keptSettings, "postgresql.auto.conf"] {
      let path = "\(target.dataDirectory)/\(name)"
      guard try await target.exists(path) else { continue }
      var kept = ConfigurationText(parsing: try await target.download(path))
      if kept[Quarantine.keptPreload] == nil {
        let configured = try await target.configuredValues([libraries])
        kept.set(Quarantine.keptPreload, kept[libraries] ?? configured[libraries] ?? "")
      }
      return kept
    }
    let configured = try await target.configuredValues([libraries])
    return ConfigurationText(settings: [.init(name: Quarantine.keptPreload, value: configured[libraries] ?? "")])
  }

  /// The pg_hba.conf that the copy will have: where it lies, and its text.
  private func authentication(
    _ context: MigrationContext, _ target: ServerControl, _ files: ConfigurationFiles?
  ) async throws -> (path: String, text: String) {
    if let files {
      if files.hba.hasPrefix("/") { return (files.hba, try await target.download(files.hba)) }
      return (
        "\(target.copyDirectory)/\(files.hba)", try await target.download("\(target.dataDirectory)/\(files.hba)")
      )
    }
    let path = target.copyDirectory + "/pg_hba.conf"
    if try await target.exists(path) { return (path, try await target.download(path)) }
    let theirs = try await context.session(.source).query("SHOW hba_file").first ?? "pg_hba.conf"
    return (path, try await context.server(.source).download(theirs))
  }

  private func install(_ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames) async throws {
    for deed in try await deeds(context, target, names, isPlanned: false) {
      switch deed {
      case .stop:
        context.progress("stopping the target's old server")
        await context.closeSessions(.target)
        try await context.setFact(FactKey.oldDataDirectory, target.oldDirectory(names))
      case .run(let command):
        if let label = command.label { context.progress(label) }
      case .write, .replace, .start: break
      }
      try await deed.perform(on: target)
    }
  }

  private static func swapBack(_ target: ServerControl, _ old: String) -> RemoteCommand {
    target.command(
      """
      if [ -e "$1" ]; then mv -T -- "$1" "$2"; fi
      if rmdir -- "$3" 2>/dev/null; then :; else mv -T -- "$3" "$1"; fi
      """, [target.dataDirectory, target.copyDirectory, old], label: "putting the old data directory back")
  }

  /// What `putBack` would do where there is an old data directory.
  func puttingBack(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames
  ) async throws -> [PlannedAction] {
    let host = target.host.name
    let old = target.oldDirectory(names)
    var actions: [PlannedAction] = []
    if try await target.isRunning() { actions.append(.init(host: host, target.stopCommand())) }
    actions.append(.init(host: host, Self.swapBack(target, old)))
    actions += try await liftingOutsideFence(target)
    if try await context.fact(FactKey.targetWasRunning, as: Bool.self) ?? false,
      try await OldCluster(context: context, target: target).isWhole(old)
    {
      actions.append(.init(host: host, target.startCommand()))
    }
    return actions
  }

  /// Safe to repeat: killed anywhere in it, the next call goes on.
  func putBack(_ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames) async throws {
    let old = target.oldDirectory(names)
    if try await target.exists(old) {
      context.progress("putting the old data directory back")
      await context.closeSessions(.target)
      try await target.stop()
      try await context.setState(.copying)
      try await target.remote.runChecked(Self.swapBack(target, old))
    }
    try await liftOutsideFence(target)
    try await OldCluster(context: context, target: target).startAgain()
  }

  /// A pg_hba.conf outside the data directory is fenced before the directories are swapped, and is the old server's too.
  func liftOutsideFence(_ target: ServerControl) async throws {
    guard let files = try await ConfigurationFiles.find(target), files.hba.hasPrefix("/") else { return }
    try await HBAFile(server: target, path: files.hba).lift()
  }

  /// What `liftOutsideFence` would do.
  func liftingOutsideFence(_ target: ServerControl) async throws -> [PlannedAction] {
    guard let files = try await ConfigurationFiles.find(target), files.hba.hasPrefix("/") else { return [] }
    let text = try await HBAFile(server: target, path: files.hba).read()
    guard text.isFenced else { return [] }
    return [.init(host: target.host.name, .file(old: text.text, new: text.unfenced.text), files.hba)]
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
