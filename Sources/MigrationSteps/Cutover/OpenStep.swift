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
/// The side that was left is shown to be closed, right before that point and right behind it, and stays fenced: from
/// here on the opened one is the truth. The slots that were read until now are dropped when nothing has come in there
/// behind the drain; until then they keep what did. The target's first opening also ends its quarantine.
struct OpenStep: DeedStep {
  let direction: StreamDirection

  var name: String { "open_\(direction.toName)" }

  var isPointOfNoReturn: Bool { true }

  func isPassed(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  /// Not before the closed side was shown to be closed.
  func isPassedByItsFailure(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard try await context.isOver(direction), try await context.fact(.opened) != nil else { return false }
    return try await context.fact(.openedWholly) != false
  }

  func begin(_ context: MigrationContext) async throws {
    if try await context.isOver(direction) { return }
    _ = try await context.travelling(direction)
    try await refuseUndrained(context)
  }

  private func refuseUndrained(_ context: MigrationContext) async throws {
    let state = try await context.state()
    guard state != .drained else { return }
    throw ConvoyError(
      "cutover.not-drained", "migration \(context.migrationName) is \(state.rawValue), not drained",
      at: context.place(name, direction.to), hint: "run the whole of \(direction.playbook)")
  }

  /// Held on: now neither side lets anybody in, and a broken connection is no reason to leave it at that.
  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    [.holdingOn(name) { try await passing(context) }]
  }

  private func passing(_ context: MigrationContext) async throws -> [Deed] {
    let record = try await context.handOff()
    let closed = ClosedSide(context: context, direction: direction)
    let isPassed = try await context.isOver(direction)
    let dropping = try await droppingSlots(context, record)
    var deeds: [Deed] = []
    if !isPassed {
      // What the opening changes is loaded by a reload, which a broken configuration turns into nothing.
      deeds.append(.aside { _ in try await Fence(context: context, side: direction.to).refuseUnfit(name) })
      deeds += closed.proving() + [.aside { _ in try await pass(context) }]
    }
    deeds += try await opening(context)
    return deeds + closed.lookingBack() + [
      .later(announced: { dropping }) { found in
        guard found[ClosedSide.wasWrittenTo] == true else { return dropping }
        let host = context.host(direction.from).name
        return [.say("the slots of \(host) are kept: what was committed there is in them")]
      },
      .aside { _ in try await context.setFact(.openedWholly, true) },
    ]
  }

  private func opening(_ context: MigrationContext) async throws -> [Deed] {
    let server = try await context.server(direction.to)
    let side = direction.to
    var deeds: [Deed] = []
    if direction == .forward, let settings = try await context.settingsToOpenTarget() {
      deeds.append(.write(side, server.settingsFile, FileText(settings)))
    }
    if direction == .reverse { deeds += try await Fence(context: context, side: .target).callingQuarantine() }
    // Lifting reloads and waits until the postmaster has read both files.
    deeds += try await Fence(context: context, side: side).lifting()
    deeds.append(
      .aside { _ in
        if try await context.fact(.opened) == nil {
          try await context.setFact(.opened, millisecondsSince1970())
        }
        try await note(context)
      })
    if direction == .forward {
      deeds += [
        .command(
          side, server.command("rm -f -- \"$1\"", [server.keptSettingsFile], label: "removing the kept settings")),
        .aside { _ in await context.forgetSettingsToOpenTarget() },
      ]
    }
    return deeds
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let downtime = try await downtime(context)
    try await context.removeFact(.downtimeBegan)
    return StepResult(
      changed: true,
      "the \(direction.toName) takes connections"
        + (downtime.map { ", \($0) ms after the first writer was held up" } ?? ""))
  }

  /// Where there is no way back, the slots that waited for it go as well.
  private func droppingSlots(_ context: MigrationContext, _ record: HandOffRecord) async throws -> [Deed] {
    var deeds = try await Way(context: context, record: record, direction: direction).droppingSlots()
    let opposite = direction.opposite
    var hasWay = record.start(opposite) != nil
    if try await !context.isOver(direction) {
      // The step that makes it is one of the same play, or an earlier run has got as far.
      hasWay = await context.hasForetold(.way(opposite))
      if !hasWay { hasWay = try await context.record()?.desiredSync == DesiredSync(opposite) }
    }
    if !hasWay { deeds += try await Way(context: context, record: record, direction: opposite).droppingSlots() }
    return deeds
  }

  private func downtime(_ context: MigrationContext) async throws -> UInt64? {
    guard let opened = try await context.fact(.opened),
      let began = try await context.fact(.downtimeBegan)
    else { return nil }
    return opened - min(began, opened)
  }

  /// From here on there is no way back but a cutover the other way.
  private func pass(_ context: MigrationContext) async throws {
    if try await context.isOver(direction) { return }
    let (record, _) = try await context.travelling(direction)
    try await refuseUndrained(context)
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
    try await context.removeFact(.opened)
    try await context.setFact(.openedWholly, false)
    try await context.setState(direction.endState, direction: direction.opposite)
  }

  private func note(_ context: MigrationContext) async throws {
    let downtime = try await downtime(context)
    let hasWay = try await context.handOff().start(direction.opposite) != nil
    let pending = try await context.session(direction.to).query(
      "SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name"
    ).rows.map { $0.string(0) }
    let broken = try await context.server(direction.to).configurationError(
      running: context.session(direction.to).query("SHOW config_file").first)
    if let broken { context.progress("the \(direction.toName) has not loaded the settings of its opening: \(broken)") }
    try await context.updateReport { report in
      report.direction = direction
      if let broken {
        report.note(
          .warning,
          "the \(direction.toName) has not loaded the settings of its opening, since its configuration has an "
            + "error: \(broken); mend it, then SELECT pg_reload_conf()")
      }
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
