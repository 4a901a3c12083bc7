import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `fence`: every writer is kept out of one side until the fence is lifted.
struct FenceStep: DeedStep {
  let side: Side
  let deadline: Duration

  var name: String { "fence" }
  private var direction: StreamDirection { StreamDirection(closing: side) }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Someone may have lifted it since, from another machine.
    if try await context.isHeldUp(direction) { return try await Fence(context: context, side: side).isUp() }
    return try await context.isOver(direction)
  }

  func begin(_ context: MigrationContext) async throws { _ = try await context.travelling(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    HeadStart(context: context, direction: direction).deeds() + [
      .aside { _ in
        if try await context.fact(FactKey.downtimeBegan, as: UInt64.self) == nil {
          try await context.setFact(FactKey.downtimeBegan, millisecondsSince1970())
        }
      }
    ] + (try await Fence(context: context, side: side).raising(deadline: deadline))
      + [.aside { _ in try await context.setState(.fenced) }]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "only role \(context.migration.host(side).postgres.user) gets in")
  }

  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await context.takeBack(.headStart(direction))
    try? await DeedPerformer(context, step: name, isUndo: true).perform([lifting(context)])
    return error
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    // Both sides would take writes.
    guard try await !context.isOver(direction) else { return nil }
    let isHeldUp = try await context.isHeldUp(direction)
    var deeds: [Deed] = []
    if isHeldUp { deeds += OpenWayStep(direction: direction).takingAway(context) }
    deeds.append(lifting(context))
    deeds.append(
      .aside { _ in
        if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
        try await context.removeFact(FactKey.downtimeBegan)
      })
    return Undoing("lifted the fence", deeds)
  }

  private func lifting(_ context: MigrationContext) -> Deed {
    .holdingOn("lifting the fence") { try await Fence(context: context, side: side).lifting() }
  }
}

/// `unfence`: lifts a fence that was left standing, from any machine with the inventory.
struct UnfenceStep: DeedStep {
  let side: ServingSide

  var name: String { "unfence" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await !Fence(context: context, side: side.resolved(context)).isUp()
  }

  func begin(_ context: MigrationContext) async throws {
    let side = try await side.resolved(context)
    let direction = StreamDirection(closing: side)
    guard try await hasMovedOn(context, direction) else { return }
    let other = direction.opposite.from
    throw ConvoyError(
      other == .target ? "fence.target-is-open" : "fence.source-is-open",
      "the \(other.rawValue) is open: with the \(side.rawValue) unfenced both would take writes",
      at: context.place("unfence", side),
      hint: "\(direction == .forward ? "roll back" : "cut over") first, or finish the migration")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let side = try await side.resolved(context)
    let direction = StreamDirection(closing: side)
    let isHeldUp = try await context.isHeldUp(direction)
    return (isHeldUp ? OpenWayStep(direction: direction).takingAway(context) : [])
      + (try await Fence(context: context, side: side).lifting()) + [
        .aside { _ in
          if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
          try await context.removeFact(FactKey.downtimeBegan)
        }
      ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "lifted the fence of \(context.host(try await side.resolved(context)).name)")
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
