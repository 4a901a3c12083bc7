import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import Presentation
import RemoteHost
import ReplicationModel
import SyncService

/// `base_backup`: a physical copy of the source, next to the target's data directory.
///
/// The target's server goes on as it was until the copy is whole: a backup that fails has cost nothing. It is otherwise
/// where the inventory says `old_data: replace` and there is no room for both.
struct BaseBackupStep: DeedStep {
  var name: String { "base_backup" }

  /// What it removes may be in use by a step that could not be undone.
  var isUndoneBehindOthersOnly: Bool { true }

  private let began = Found<ContinuousClock.Instant>("base_backup.began", placeholder: "")
  private let took = Found<Duration>("base_backup.took", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard let record = try await context.record(), record.handOff != nil else { return false }
    if record.state.hasCopyInPlace { return true }
    return try await context.hasWholeCopy()
  }

  func begin(_ context: MigrationContext) async throws {
    try await context.refuseFinished()
    let servers = ServingServers(context)
    try await servers.refuseReplacingTarget(name)
    try await servers.refuseFencedSource(name)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let target = try await context.server(.target)
    let oldData = OldCluster(context: context, target: target)
    // Every attempt has a nonce of its own, which stands in the name of its slot.
    return try await removingLeftovers(context, target) + [
      .later(announced: { try await copying(context, target, oldData, HandOffNames(nonce: "NONCE")) }) { _ in
        let names = HandOffNames.random()
        try await context.setFact(
          .targetDirectories,
          ServerDirectories(data: target.dataDirectory, programs: target.binDirectory, configFile: target.configFile))
        try await context.setFact(.targetWasRunning, try await oldData.ranBefore())
        try await beginHandOff(context, names: names)
        try await claimPlaces(context, target)
        return try await copying(context, target, oldData, names)
      }
    ]
  }

  private func copying(
    _ context: MigrationContext, _ target: ServerControl, _ oldData: OldCluster, _ names: HandOffNames
  ) async throws -> [Deed] {
    let source = context.migration.source
    let passfile = FileText(announced: passfileLine(source, password: "********")) {
      // The password of our role travels by a file that only the server's user can read.
      passfileLine(source, password: try await context.session(.source).passwordInUse() ?? "")
    }
    let watcher = BackupProgress(report: context.progress)
    var backup = backupCommand(context, target, slot: names.physicalSlot)
    backup.onOutput = { stream, bytes in if stream == .standardError { watcher.feed(bytes) } }
    return try await oldData.makingRoom() + [
      // One that pg_basebackup finds, it empties when it fails, and leaves.
      .command(.target, directoryForCopy(target)),
      .write(.target, target.passfile, passfile),
      .aside { found in found[began] = .now },
      .command(.target, backup),
      .note(
        .source,
        "pg_basebackup makes the physical slot \(names.physicalSlot); \(target.passfile) is removed after the hand-off"),
      .aside { found in
        found[took] = found[began].map { $0.duration(to: .now) }
        try await context.setFact(.backupComplete, names.nonce)
      },
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let databases = try await context.selectedDatabases().map { DatabaseRecord($0.name, bytes: $0.bytes) }
    return StepResult(
      changed: true, "complete after \((found[took] ?? .zero).milliseconds) ms",
      figures: [.init("of databases", databases.reduce(0) { $0 + ($1.bytes ?? 0) }, .bytes)], databases: databases)
  }

  /// Only what we made goes away again.
  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    // The source first: a host that is gone must not leave it with a slot that keeps its WAL.
    if let slots = try? await droppingSlot(context) {
      try? await DeedPerformer(context, step: name, isUndo: true).perform(slots)
    }
    guard let target = try? await context.server(.target) else { return error }
    let oldData = OldCluster(context: context, target: target)
    if let leftovers = try? await removingLeftovers(context, target) {
      try? await DeedPerformer(context, step: name, isUndo: true).perform(leftovers)
    }
    // Stopped for nothing; a play that is interrupted does not leave it down either.
    if (try? await context.state()) == .copying { try? await oldData.startAgain() }
    return await oldData.explained(error)
  }

  func destruction(_ context: MigrationContext) async throws -> String? {
    let target = try await context.server(.target)
    let oldData = OldCluster(context: context, target: target)
    if try await !oldData.makingRoom().isEmpty {
      return "removes the target's old data before its copy is made, since there is no room for both"
    }
    // Room may have gone by the time of the copy.
    guard context.migration.oldData == .replace, try await oldData.isWhole(target.dataDirectory) else { return nil }
    return "removes the target's old data before its copy is made, should there be no room for both by then"
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    // A copy that has taken the target's place still needs its slot; from the hand-off on there is more than a copy.
    if try await context.state().hasCopyInPlace { return nil }
    let target = try await context.server(.target)
    return Undoing(
      "removed the copy, its password file and its slot",
      [.aside { _ in try await context.removeFact(.backupComplete) }]
        + (try await removingLeftovers(context, target)))
  }

  // MARK: pieces

  private func backupCommand(_ context: MigrationContext, _ target: ServerControl, slot: String) -> RemoteCommand {
    let migration = context.migration
    var command = RemoteCommand(
      arguments(target, source: migration.source, settings: migration.baseBackup, slot: slot),
      environment: ["PGPASSFILE": target.passfile], user: target.user)
    command.label = "pg_basebackup"
    return command.connecting
  }

  /// Directories for tablespaces and WAL are remembered while they are still empty: what is in them later is the copy's.
  private func claimPlaces(_ context: MigrationContext, _ target: ServerControl) async throws {
    let places = try await CopyPlaces(context: context, control: .value(target)).beside()
    if let filled = places.first(where: \.isFilled) {
      throw ConvoyError(
        "base-backup.place-not-empty", "\(filled.path) is not empty", at: context.place("base_backup", .target),
        hint: "tablespaces and WAL need directories of their own: see base_backup.tablespace_mapping and wal_directory")
    }
    try await context.setFact(.copyPlaces, places.map(\.path))
  }

  private func directoryForCopy(_ target: ServerControl) -> RemoteCommand {
    target.command("mkdir -m 700 -- \"$1\"", [target.copyDirectory], label: "making the copy's directory")
  }

  private func passfileLine(_ source: Inventory.Host, password: String) -> String {
    Quarantine.passfileLine(
      host: source.postgres.replicationAddress, port: source.postgres.port, database: "*", user: source.postgres.user,
      password: password)
  }

  private func arguments(
    _ target: ServerControl, source: Inventory.Host, settings: BaseBackupSettings, slot: String
  ) -> [String] {
    var list = [
      target.program("pg_basebackup"), "-D", target.copyDirectory, "-X", "stream", "-C", "-S", slot,
      "-d", Quarantine.connectionString(source.replicationKeywords), "--no-password",
      "--checkpoint=\(settings.checkpoint.rawValue)", "--progress", "--verbose", "--label", "pgconvoy",
    ]
    if let rate = settings.maxRate { list.append("--max-rate=\(max(32, rate / 1024))") }
    if let compress = settings.compress { list += ["-F", "plain", "--compress=\(compress)"] }
    if let directory = settings.walDirectory { list.append("--waldir=\(directory)") }
    for (old, new) in settings.tablespaceMapping.sorted(by: { $0.key < $1.key }) {
      list.append("--tablespace-mapping=\(old)=\(new)")
    }
    return list
  }

  /// From here on the migration is copying. A new hand-off beside the state of an earlier one would be taken for a copy
  /// that is in its place already.
  private func beginHandOff(_ context: MigrationContext, names: HandOffNames) async throws {
    let source = try await context.session(.source)
    let row = try await source.query(
      """
      SELECT system_identifier, pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
        FROM pg_catalog.pg_control_system()
      """
    ).rows[0]
    let databases = try await context.selectedDatabases()
    guard !databases.isEmpty else {
      throw ConvoyError(
        "migration.no-databases", "the inventory selects no database of the source",
        at: context.place("base_backup", .source), hint: "compare 'databases' and 'except' with \\l on the source")
    }
    let record = HandOffRecord(
      names: names, began: .now, sourceSystemIdentifier: UInt64(row.string(0)) ?? 0,
      sourceTimeline: UInt32(row.string(1), radix: 16) ?? 0,
      databases: databases.map { HandOffDatabase(name: $0.name, oid: $0.oid, names: names) })
    let migration = context.migration
    try await context.journal.perform { file throws(ConvoyError) in
      try file.registerMigration(migration.name, source: migration.source.name, target: migration.target.name)
      try file.beginHandOff(record, migration: migration.name, state: .copying)
    }
    // Workers of an earlier one end, also those on a host.
    try await context.exchange(.order)
  }

  /// Removes what an earlier attempt of this migration may have left behind: its slot, its copy, its password file.
  ///
  /// A pg_basebackup that was killed, or whose connection broke, leaves its second process behind. That one streams WAL
  /// by our slot, does not notice that it is alone, and would go on for ever: so it is cut off, and before the copy goes.
  private func removingLeftovers(_ context: MigrationContext, _ target: ServerControl) async throws -> [Deed] {
    try await droppingSlot(context) + [.command(.target, target.copyRemoval(places: try await context.copyPlaces()))]
  }

  private func droppingSlot(_ context: MigrationContext) async throws -> [Deed] {
    guard let record = try await context.record()?.handOff else { return [] }
    return try await SlotDeeds.dropping(context, .source, [record.names.physicalSlot], cuttingOff: true)
  }
}

/// Reads pg_basebackup's progress from its standard error and passes it on every twentieth part: how much of how much,
/// how fast, and how long it will still take.
final class BackupProgress: Sendable {
  private let report: @Sendable (String) -> Void
  private let elapsed: @Sendable () -> Duration
  private let last = LastValue()

  init(
    report: @escaping @Sendable (String) -> Void,
    elapsed: @escaping @Sendable () -> Duration = { [began = ContinuousClock.now] in began.duration(to: .now) }
  ) {
    self.report = report
    self.elapsed = elapsed
  }

  /// `12345/67890 kB (18%), 0/1 tablespace`, rewritten in place with carriage returns.
  func feed(_ bytes: [UInt8]) {
    let lines = String(decoding: bytes, as: UTF8.self).split { $0 == "\r" || $0 == "\n" || $0 == "\r\n" }
    for line in lines {
      guard let kilobytes = line.firstRange(of: " kB ("),
        let percent = Int(line[kilobytes.upperBound...].prefix { $0.isNumber })
      else { continue }
      let counts = line[..<kilobytes.lowerBound].split(separator: "/").compactMap { UInt64($0.drop { $0 == " " }) }
      guard counts.count == 2, last.replace(with: percent / 5) else { continue }
      report(Self.text(percent: percent, done: counts[0] << 10, of: counts[1] << 10, after: elapsed()))
    }
  }

  static func text(percent: Int, done: UInt64, of total: UInt64, after elapsed: Duration) -> String {
    let bytes = "\(HumanFormat.bytes(done, .sentence)) of \(HumanFormat.bytes(total, .sentence))"
    let text = "base backup \(percent) %, \(bytes)"
    let seconds = Double(elapsed.milliseconds) / 1000
    guard seconds >= 1, done > 0 else { return text }
    let rate = Double(done) / seconds
    let left = total > done ? Int64(Double(total - done) / rate) : 0
    return text + ", \(HumanFormat.rate(bytes: done, over: elapsed, .sentence)), "
      + "about \(HumanFormat.elapsed(.seconds(left))) left"
  }
}
