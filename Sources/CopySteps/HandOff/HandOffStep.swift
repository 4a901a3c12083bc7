import HostAdmin
import Inventory
import Journal
import LogicalDecoding
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel
import StatementReplication

/// `hand_off`: one LSN for all databases, where the physical copy ends and the streams begin.
///
/// The standby is stopped, a logical slot is made in every database, a restore point is written behind them all, and
/// recovery on the target ends right there. Every transaction that committed before is in the copy, every later one
/// is in its database's stream, none is in both.
///
/// It is the four steps `make_slots`, `set_restore_point`, `promote_target` and `seal_target` in one; a playbook that has
/// something to do in between names them instead.
struct HandOffStep: DeedStep {
  var name: String { "hand_off" }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.copyState().hasHandedOff }

  func begin(_ context: MigrationContext) async throws { _ = try await context.handOff() }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let slots = SlotCreation(context: context, record: try await context.plannedRecord())
    let isFixed = try await context.record()?.handOff?.handOffLSN != nil
    // Slots of an attempt that ended before its restore point are made anew with it.
    let making = isFixed ? [] : try await slots.makingSlots() + slots.settingRestorePoint()
    return making + [
      .later(announced: { try await promotingAndSealing(context) }) { _ in try await promotingAndSealing(context) }
    ]
  }

  private func promotingAndSealing(_ context: MigrationContext) async throws -> [Deed] {
    let promotion = Promotion(context: context, record: try await context.plannedRecord())
    return try await promotion.deeds() + [
      .later(announced: { try await Sealing(context, step: name).deeds() }) { _ in
        try await Sealing(context, step: name).deeds()
      }
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let record = try await context.handOff()
    return StepResult(
      changed: true, "handed off at \(record.handOffLSN?.description ?? "?")",
      figures: [.init("databases", UInt64(record.databases.count))], databases: found.databases)
  }

  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await SlotCreation.takeBack(context, step: name)
    return error
  }
}

/// `make_slots`: the standby stops, and every database of the source gets its logical slot.
struct MakeSlotsStep: DeedStep {
  var name: String { "make_slots" }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await SlotCreation.isMade(context) }

  func begin(_ context: MigrationContext) async throws { _ = try await context.handOff() }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    try await SlotCreation(context: context, record: try await context.plannedRecord(), step: name).makingSlots()
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let count = try await context.handOff().databases.count
    return StepResult(
      changed: true, "every database has its slot", figures: [.init("slots", UInt64(count))],
      databases: found.databases)
  }

  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await SlotCreation.takeBack(context, step: name)
    return error
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    guard let record = try await context.record()?.handOff, record.handOffLSN == nil else { return nil }
    let slots = SlotCreation(context: context, record: record)
    let deeds = try await slots.liftingTriggers() + slots.droppingSlots()
    return Undoing(deeds.isEmpty ? nil : "dropped the slots", try await deeds + slots.startingStandby())
  }
}

/// `set_restore_point`: L, behind the slots of all databases.
struct SetRestorePointStep: DeedStep {
  var name: String { "set_restore_point" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.record()?.handOff?.handOffLSN != nil
  }

  func begin(_ context: MigrationContext) async throws {
    guard try await !SlotCreation.isMade(context) else { return }
    throw ConvoyError(
      "handoff.no-slots", "not every database has its slot yet", at: context.place(name, .source),
      hint: "run the step make_slots before this one")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let point = SlotCreation(context: context, record: try await context.plannedRecord(), step: name)
    // Started again since the slots were made, by a reboot or a repeated play, the standby would go beyond L.
    let stopping = Deed.later(announced: { [] }) { _ in
      try await context.server(.target).isRunning() ? [.say("stopping the standby"), .server(.target, .stop)] : []
    }
    return [stopping] + point.settingRestorePoint()
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let record = try await context.handOff()
    return StepResult(
      changed: true, "restore point \(record.restorePoint) at \(record.handOffLSN?.description ?? "?")")
  }
}

/// `promote_target`: the copy's recovery ends at L, and it is a server of its own.
struct PromoteTargetStep: DeedStep {
  var name: String { "promote_target" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.copyState().hasHandedOff { return true }
    return try await context.record()?.handOff?.targetTimeline != nil
  }

  func begin(_ context: MigrationContext) async throws {
    guard try await context.handOff().handOffLSN == nil else { return }
    throw ConvoyError(
      "handoff.no-restore-point", "there is no restore point to recover to", at: context.place(name, .target),
      hint: "run the steps make_slots and set_restore_point before this one")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    try await Promotion(context: context, record: try await context.plannedRecord(), step: name).deeds()
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let lsn = try await context.handOff().handOffLSN
    return StepResult(changed: true, "promoted at \(lsn?.description ?? "?")")
  }
}

/// `seal_target`: origins at L, nothing inherited, the slots for the way back. Only then may a worker start.
struct SealTargetStep: DeedStep {
  var name: String { "seal_target" }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.copyState().hasHandedOff }

  func begin(_ context: MigrationContext) async throws {
    guard try await context.handOff().targetTimeline == nil else { return }
    throw ConvoyError(
      "handoff.not-promoted", "the target has not been promoted at the hand-off yet",
      at: context.place(name, .target), hint: "run the step promote_target before this one")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    try await Sealing(context, step: name).deeds()
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let record = try await context.handOff()
    return StepResult(
      changed: true, "the target follows from \(record.handOffLSN?.description ?? "?") on",
      figures: [.init("databases", UInt64(record.databases.count))])
  }
}

extension MigrationContext {
  /// The hand-off in hand; before there is one, what it will be, with names that say where the nonce will stand.
  func plannedRecord() async throws -> HandOffRecord {
    if let record = try await record()?.handOff { return record }
    let names = HandOffNames(nonce: "NONCE")
    return HandOffRecord(
      names: names, sourceSystemIdentifier: 0, sourceTimeline: 0,
      databases: try await selectedDatabases().map { HandOffDatabase(name: $0.name, oid: $0.oid, names: names) })
  }
}
