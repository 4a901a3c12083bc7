import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `fence`: every writer is kept out of one side until the fence is lifted.
struct FenceStep: Step {
  let side: Side
  let deadline: Duration

  private var direction: StreamDirection { StreamDirection(closing: side) }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    try await Fence(context: context, side: side).raising()
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Someone may have lifted it since, from another machine.
    if try await context.isHeldUp(direction) { return try await Fence(context: context, side: side).isUp() }
    return try await context.isOver(direction)
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    _ = try await context.travelling(direction)
    try await context.makeReady(direction)
    if try await context.fact(FactKey.downtimeBegan, as: UInt64.self) == nil {
      try await context.setFact(FactKey.downtimeBegan, millisecondsSince1970())
    }
    try await Fence(context: context, side: side).raise(deadline: deadline)
    try await context.setState(.fenced)
    return StepResult(changed: true, "only role \(context.migration.host(side).postgres.user) gets in")
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    // Both sides would take writes.
    guard try await !context.isOver(direction) else { return .nothingToUndo }
    let isHeldUp = try await context.isHeldUp(direction)
    if isHeldUp { try await OpenWayStep(direction: direction).takeAway(context) }
    try await context.holdingOn("lifting the fence") { try await Fence(context: context, side: side).lift() }
    if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
    try await context.removeFact(FactKey.downtimeBegan)
    return .undone("lifted the fence")
  }
}

/// `unfence`: lifts a fence that was left standing, from any machine with the inventory.
struct UnfenceStep: Step {
  let side: ServingSide

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let side = try await side.resolved(context)
    return try await Fence(context: context, side: side).lifting()
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await !Fence(context: context, side: side.resolved(context)).isUp()
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let side = try await side.resolved(context)
    let direction = StreamDirection(closing: side)
    if try await hasMovedOn(context, direction) {
      let other = direction.opposite.from
      throw ConvoyError(
        other == .target ? "fence.target-is-open" : "fence.source-is-open",
        "the \(other.rawValue) is open: with the \(side.rawValue) unfenced both would take writes",
        at: context.place("unfence", side),
        hint: "\(direction == .forward ? "roll back" : "cut over") first, or finish the migration")
    }
    let isHeldUp = try await context.isHeldUp(direction)
    if isHeldUp { try await OpenWayStep(direction: direction).takeAway(context) }
    try await Fence(context: context, side: side).lift()
    if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
    try await context.removeFact(FactKey.downtimeBegan)
    return StepResult(changed: true, "lifted the fence of \(context.host(side).name)")
  }
}

extension UnfenceStep {
  /// Whether the other side serves applications, or is about to stop doing so. Where no journal says so, a target is
  /// asked that is a copy of the source: what is no quarantine is the truth.
  private func hasMovedOn(_ context: MigrationContext, _ direction: StreamDirection) async throws -> Bool {
    if let record = try await context.record(), record.handOff != nil { return record.direction != direction }
    guard direction == .forward, let target = try? await context.session(.target) else { return false }
    let identifier = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
    guard
      try await target.query(identifier, within: .seconds(10)).first
        == context.session(.source).query(identifier, within: .seconds(10)).first
    else { return false }
    return try await !Fence(context: context, side: .target).isQuarantine()
  }
}

/// A side by name, or the one that serves applications as far as the journal knows.
enum ServingSide: String, Sendable {
  case source, target, serving

  func resolved(_ context: MigrationContext) async throws -> Side {
    switch self {
    case .source: .source
    case .target: .target
    case .serving: try await context.record()?.direction.from ?? .source
    }
  }
}
