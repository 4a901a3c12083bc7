import FoundationEssentials
import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// `open_target`: the last point of return, then the quarantine goes and applications come in.
///
/// The forward slots are dropped before the first writer can get in, and the source stays fenced: from here on the
/// target is the truth.
struct OpenTargetStep: Step {
  var isPointOfNoReturn: Bool { true }

  func isPassed(_ context: MigrationContext) async throws -> Bool {
    try await context.state() == .cutOver
  }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let target = try await context.server(.target)
    let session = try await context.session(.target)
    let hba = HBAFile(server: target, path: try await session.query("SHOW hba_file").first ?? "")
    let text = try await hba.read()
    let path = target.dataDirectory + "/postgresql.auto.conf"
    let record = try await context.handOff()
    var actions: [PlannedAction] = record.databases.map { database in
      .init(
        host: context.migration.source.name, .sql(database: database.name),
        "SELECT pg_drop_replication_slot('\(database.slotName)')")
    }
    actions += record.databases.map { database in
      .init(
        host: context.migration.target.name, .sql(database: database.name),
        "SELECT pg_drop_replication_slot('\(record.names.reverseSlot(databaseOID: database.oid))')")
    }
    let host = context.migration.target.name
    if try await target.exists("\(target.dataDirectory)/\(ServerControl.keptSettings)") {
      let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
      actions.append(
        .init(
          host: host,
          .file(
            old: try await target.download(path),
            new: quarantine.configuration(for: .open).rendered(comment: Quarantine.openComment)), path))
    }
    actions.append(.init(host: host, .file(old: text.text, new: text.unfenced.text), hba.path))
    actions.append(.init(host: host, .sql(database: session.parameters.database), "SELECT pg_reload_conf()"))
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard try await context.state() == .cutOver else { return false }
    return try await context.fact(FactKey.targetOpened, as: UInt64.self) != nil
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let state = try await context.state()
    guard state == .drained || state == .cutOver else {
      throw ConvoyError(
        "cutover.not-drained", "migration \(context.migrationName) is \(state.rawValue), not drained",
        at: context.place("open_target", .target), hint: "run the whole of playbooks/cutover.yml")
    }
    let record = try await context.handOff()
    let target = try await context.server(.target)
    let session = try await context.session(.target)
    try await context.setState(.cutOver)
    try await dropSlots(context, .source, names: record.databases.map(\.slotName))
    // Nothing of this version reads or advances the slots for the way back once the target is open: they would hold
    // its WAL until its disk is full.
    let reverse = record.databases.map { record.names.reverseSlot(databaseOID: $0.oid) }
    try await dropSlots(context, .target, names: reverse)
    let kept = "\(target.dataDirectory)/\(ServerControl.keptSettings)"
    if try await target.exists(kept) {
      let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
      try await target.upload(
        quarantine.configuration(for: .open).rendered(comment: Quarantine.openComment),
        to: target.dataDirectory + "/postgresql.auto.conf")
    }
    // Fence.lift reloads and waits until the postmaster has read both files.
    try await Fence(context: context, side: .target).lift()
    let opened = millisecondsSince1970()
    try await context.setFact(FactKey.targetOpened, opened)
    let pending = try await session.query(
      "SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name"
    ).rows.map { $0.string(0) }
    let began = try await context.fact(FactKey.downtimeBegan, as: UInt64.self)
    try await context.updateReport { report in
      report.outcome = .cutOver
      report.generatedAt = Date()
      report.downtimeMilliseconds = began.map { opened - min($0, opened) }
      if !pending.isEmpty {
        report.findings.append(
          .init(.note, "restart the target at leisure to load these settings: \(pending.joined(separator: ", "))"))
      }
      report.findings.append(
        .init(
          .note, "archiving is off on the target until an archive of its own is named (archive_mode, archive_command)"))
    }
    try await dropPublications(context, .source, of: record.databases)
    try await target.check("rm -f -- \"$1\"", [kept], label: "removing the kept settings")
    let downtime = began.map { ", \(opened - min($0, opened)) ms after the first writer was held up" } ?? ""
    return StepResult(changed: true, "the target takes connections" + downtime)
  }
}

extension Quarantine {
  static let openComment = """
    Written by pgconvoy when the server was opened: the settings that its admin had made, and archiving off until an
    archive of its own is named.
    """
}
