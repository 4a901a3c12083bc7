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
struct StandbyStep: DeedStep {
  var name: String { "start_standby" }

  /// How long the standby may replay nothing at all.
  private static let patience = Duration.seconds(900)

  private let replayed = Found<UInt64>("start_standby.replayed", placeholder: "")

  func destruction(_ context: MigrationContext) async throws -> String? {
    context.migration.oldData == .replace
      ? "removes the target's old data directory as soon as the copy runs in its place" : nil
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    let state = try await context.copyState()
    guard state.hasCopyInPlace else { return false }
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

  func begin(_ context: MigrationContext) async throws {
    guard try await context.state() != .standby else { return }
    try await ServingServers(context).refuseReplacingTarget(name)
    let target = try await context.server(.target)
    let names = try await context.handOff().names
    if try await target.exists(target.copyDirectory + "/PG_VERSION") { return }
    // Or on its way into the target's place.
    if try await target.exists(target.oldDirectory(names)) { return }
    throw ConvoyError(
      "migration.copy-missing", "the copy at \(target.copyDirectory) is gone",
      at: context.place("start_standby", .target), hint: "run the playbook again with --start-at base_backup")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let target = try await context.server(.target)
    let names = try await context.plannedNames()
    let isInPlace = try await context.state() == .standby
    var deeds = isInPlace ? [] : try await installing(context, target, names)
    let runs = isInPlace ? try await target.isRunning() : false
    deeds +=
      (runs ? [] : [.server(.target, .start)]) + [
        .aside { _ in try await context.setState(.standby) },
        .wait(.target, "until it has replayed what the source has now") { found in
          found[replayed] = try await catchUp(context)
        },
      ]
    if context.migration.oldData == .replace {
      deeds += [
        .say("removing the old data directory"),
        .command(
          .target, OldCluster(context: context, target: target).removal(of: target.oldDirectory(names))),
      ]
    }
    return deeds
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(
      changed: true,
      "the standby has caught up" + (context.migration.oldData == .replace ? ", the old data is removed" : ""),
      figures: [.init("of WAL replayed", found[replayed] ?? 0, .bytes)])
  }

  /// A copy that has run in its place stays there, and stays closed, where there is no old data to come back, or where it
  /// only has not caught up. A play that is interrupted puts it back as well.
  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    do {
      let target = try await context.server(.target)
      let names = try await context.handOff().names
      let oldData = OldCluster(context: context, target: target)
      let isInPlace = try await context.state() == .standby
      if !isInPlace {
        try await DeedPerformer(context, step: name, isUndo: true)
          .perform(DirectorySwap(context, target, names).takingBack())
      } else if try await !target.isRunning(), try await !oldData.isRemoved(names) {
        try await DeedPerformer(context, step: name, isUndo: true)
          .perform(DirectorySwap(context, target, names).takingBack())
      }
      return await oldData.explained(error)
    } catch let second {
      context.progress("the target is not as it was: \(second)")
      return error
    }
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    // From the hand-off on the copy is a server of its own, with slots that wait for it.
    if try await context.state().hasHandedOff { return nil }
    let target = try await context.server(.target)
    let names = try await context.handOff().names
    if try await context.state() == .standby, try await OldCluster(context: context, target: target).isRemoved(names) {
      context.progress("the copy stays: the target's old data is removed")
      return nil
    }
    return Undoing("put the old data directory back", try await DirectorySwap(context, target, names).takingBack())
  }

  // MARK: the swap

  /// Everything that puts the copy in the target's place, in order, as far as it is not done yet.
  private func installing(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames
  ) async throws -> [Deed] {
    var deeds: [Deed] = []
    let old = target.oldDirectory(names)
    let isAside = try await target.exists(old)
    let isCopied = try await target.exists(target.copyDirectory)
    if !isAside {
      deeds += try await preparation(context, target, names)
      // Before there is a copy, the base backup may still have to make room, and stops it for that.
      let isWhole = try await context.hasWholeCopy()
      let makesRoom = isWhole ? false : try await !OldCluster(context: context, target: target).makingRoom().isEmpty
      if try await target.isRunning(), !makesRoom {
        deeds += [.say("stopping the target's old server"), .server(.target, .stop)]
      }
      deeds += [
        .aside { _ in try await context.setFact(.oldDataDirectory, old) },
        // The first rename is the point where the old server no longer starts by itself; both undo each other.
        .command(
          .target,
          target.command(
            "if [ -e \"$1\" ]; then mv -T -- \"$1\" \"$2\"; else mkdir -m 700 -- \"$2\"; fi",
            [target.dataDirectory, old], label: "moving the old data directory aside")),
      ]
    }
    if isCopied || !isAside {
      deeds.append(
        .command(
          .target,
          target.command(
            "mv -T -- \"$1\" \"$2\"", [target.copyDirectory, target.dataDirectory],
            label: "moving the copy into place")))
    }
    return deeds
  }

  /// What is done to the copy while the old server still runs.
  private func preparation(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames
  ) async throws -> [Deed] {
    let copy = target.copyDirectory
    let files = try await ConfigurationFiles.find(target)
    let kept = try await keptSettings(context, target, hasCluster: files != nil)
    let quarantine = try await Quarantine.assemble(
      context, target, kept: kept, configuredIn: files == nil ? nil : target.dataDirectory)
    let configuration = quarantine.configuration(for: .standby(context.upstream(target, names)))
    var deeds: [Deed] = (files?.inside ?? []).flatMap { file -> [Deed] in
      [
        .say("keeping \(file)"),
        .command(
          .target,
          target.command(
            "rm -rf -- \"$1\" && mkdir -p -- \"$(dirname -- \"$1\")\" && cp -a -- \"$2\" \"$1\"",
            ["\(copy)/\(file)", "\(target.dataDirectory)/\(file)"],
            label: "keeping \(file)")),
      ]
    }
    if let directories = files?.directories, !directories.isEmpty {
      deeds.append(
        .command(
          .target,
          target.command(
            "cd -- \"$1\"; shift; mkdir -p -m 700 -- \"$@\"", [copy] + directories,
            label: "making the directories that the configuration names")))
    }
    deeds += [
      .write(
        .target, "\(copy)/\(ServerControl.keptSettings)",
        FileText(kept.rendered(comment: "The target's own settings, kept by pgconvoy."))),
      // The source's own entries are out of the way before anything reads them.
      .write(
        .target, copy + "/postgresql.auto.conf", FileText(configuration.rendered(comment: Quarantine.comment))),
      .command(
        .target,
        target.command(
          "rm -f -- \"$1\" && : > \"$2\"", [copy + "/recovery.signal", copy + "/standby.signal"],
          label: "writing standby.signal")),
    ]
    let note = Quarantine.note(context)
    let (path, origin) = try await authentication(context, target, files)
    let text = try await origin.read().text
    // The copy has the source's roles.
    let source = try await context.session(.source)
    let role = try await HBARole.ask(context.migration.target.postgres.user, source).facing(origin, source)
    return deeds + [
      .edit(.target, path, known: text) {
        try HostBasedAuthentication($0, path: origin.path).fenced(for: role, note: note).text
      }
    ]
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

  /// The pg_hba.conf that the copy will have: where it lies, and the file that its text comes from.
  private func authentication(
    _ context: MigrationContext, _ target: ServerControl, _ files: ConfigurationFiles?
  ) async throws -> (path: String, origin: HBAFile) {
    if let files {
      if files.hba.hasPrefix("/") { return (files.hba, HBAFile(server: target, path: files.hba)) }
      return (
        "\(target.copyDirectory)/\(files.hba)",
        HBAFile(server: target, path: "\(target.dataDirectory)/\(files.hba)")
      )
    }
    let path = target.copyDirectory + "/pg_hba.conf"
    if try await context.hasWholeCopy(), try await target.exists(path) {
      return (path, HBAFile(server: target, path: path))
    }
    let theirs = try await context.session(.source).query("SHOW hba_file").first ?? "pg_hba.conf"
    return (path, HBAFile(server: try await context.server(.source), path: theirs))
  }

  /// Waits until the standby has what the source had when this was called.
  private func catchUp(_ context: MigrationContext) async throws -> UInt64 {
    let source = try await context.session(.source)
    let standby = try await context.session(.target)
    let goal = LSN(try await source.query("SELECT pg_catalog.pg_current_wal_lsn()").first ?? "") ?? .invalid
    let target = try await context.server(.target)
    var first: LSN?
    var position = LSN.invalid
    try await waitUntil(
      within: Self.patience, gettingOn: { try await context.replay(target, standby, goal) },
      orThrow: {
        ConvoyError(
          "standby.not-caught-up",
          "the standby is at \(position), does not get on, and wants \(goal.bytes(since: position)) bytes more",
          at: context.place("start_standby", .target), hint: "look at the target's log: does it reach the source?")
      }
    ) {
      let row = try await standby.query(
        """
        SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')
        """
      ).rows[0]
      position = LSN(row.string(0)) ?? .invalid
      first = first ?? position
      return position >= goal
    }
    return position.bytes(since: first ?? position)
  }
}
