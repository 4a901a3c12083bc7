import ClosingReports
import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel
import SyncService

/// `open_target`, `open_source`: the last point of return, then the closed side takes connections.
///
/// The slots that were read until now are dropped before the first writer can get in, and the side that was left stays
/// fenced: from here on the opened one is the truth. The target's first opening also ends its quarantine.
struct OpenStep: Step {
  let direction: StreamDirection

  private var name: String { "open_\(direction.toName)" }

  var isPointOfNoReturn: Bool { true }

  func isPassed(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let server = try await context.server(direction.to)
    let host = context.host(direction.to).name
    let way = Way(context: context, record: try await context.handOff(), direction: direction)
    var actions = try await way.droppingSlots()
    if direction == .forward, let new = try await context.settingsToOpenTarget() {
      let path = server.settingsFile
      actions.append(.init(host: host, .file(old: try await server.download(path), new: new), path))
    }
    if direction == .reverse { actions += try await Fence(context: context, side: .target).callingQuarantine() }
    actions += try await Fence(context: context, side: direction.to).lifting()
    if direction == .forward { actions.append(.init(host: host, removal(server))) }
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard try await context.isOver(direction) else { return false }
    return try await context.fact(FactKey.opened, as: UInt64.self) != nil
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    try await pass(context)
    // Now neither side lets anybody in: a broken connection is no reason to leave it at that.
    return try await context.holdingOn(name) { try await open(context) }
  }

  private func open(_ context: MigrationContext) async throws -> StepResult {
    let record = try await context.handOff()
    let server = try await context.server(direction.to)
    let hasWay = record.start(direction.opposite) != nil
    async let slots: Void = dropSlots(context, record, hasWay: hasWay)
    if direction == .forward, let settings = try await context.settingsToOpenTarget() {
      try await server.upload(settings, to: server.settingsFile)
    }
    try await slots
    if direction == .reverse { try await Fence(context: context, side: .target).callQuarantine() }
    // Fence.lift reloads and waits until the postmaster has read both files.
    try await Fence(context: context, side: direction.to).lift()
    let opened = millisecondsSince1970()
    try await context.setFact(FactKey.opened, opened)
    let downtime = try await context.fact(FactKey.downtimeBegan, as: UInt64.self).map { opened - min($0, opened) }
    try await note(context, downtime: downtime, hasWay: hasWay)
    if direction == .forward {
      try await server.remote.runChecked(removal(server))
      await context.forgetSettingsToOpenTarget()
    }
    try await context.removeFact(FactKey.downtimeBegan)
    return StepResult(
      changed: true,
      "the \(direction.toName) takes connections"
        + (downtime.map { ", \($0) ms after the first writer was held up" } ?? ""))
  }

  /// From here on there is no way back but a cutover the other way.
  private func pass(_ context: MigrationContext) async throws {
    if try await context.isOver(direction) { return }
    let (record, _) = try await context.travelling(direction)
    let state = try await context.state()
    guard state == .drained else {
      throw ConvoyError(
        "cutover.not-drained", "migration \(context.migrationName) is \(state.rawValue), not drained",
        at: context.place(name, direction.to), hint: "run the whole of \(direction.playbook)")
    }
    if try await context.record()?.desiredSync != DesiredSync(direction.opposite) {
      guard direction == .forward else {
        throw ConvoyError(
          "cutover.no-way", "there is no way forward yet", at: context.place(name),
          hint: "run the step open_way_forward before this one")
      }
      context.progress("opening without a way back: there was no step open_way_back")
      try await context.updateHandOff { $0.reverseLSN = nil }
    } else {
      try await awaitWorkers(
        context, record, direction.opposite, since: Date(), within: .seconds(15), at: context.place(name))
    }
    try await context.removeFact(FactKey.opened)
    try await context.setState(direction.endState, direction: direction.opposite)
  }

  private func removal(_ server: ServerControl) -> RemoteCommand {
    server.command("rm -f -- \"$1\"", [server.keptSettingsFile], label: "removing the kept settings")
  }

  /// Before the first writer of the opened side can get in.
  private func dropSlots(_ context: MigrationContext, _ record: HandOffRecord, hasWay: Bool) async throws {
    try await Way(context: context, record: record, direction: direction).dropSlots()
    if !hasWay { try await Way(context: context, record: record, direction: direction.opposite).dropSlots() }
  }

  private func note(_ context: MigrationContext, downtime: UInt64?, hasWay: Bool) async throws {
    let pending = try await context.session(direction.to).query(
      "SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name"
    ).rows.map { $0.string(0) }
    try await context.updateReport { report in
      report.direction = direction
      report.outcome = direction == .forward ? .cutOver : .rolledBack
      report.generatedAt = Date()
      report.downtimeMilliseconds = downtime ?? report.downtimeMilliseconds
      let side = direction.toName
      if !pending.isEmpty {
        report.note(.note, "restart the \(side) at leisure to load these settings: \(pending.joined(separator: ", "))")
      }
      guard direction == .forward else { return }
      report.note(
        .note, "archiving is off on the target until an archive of its own is named (archive_mode, archive_command)")
      if !hasWay { report.note(.warning, "the target was opened without a way back") }
    }
  }
}
