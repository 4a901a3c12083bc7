import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel
import SyncService

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

  func begin(_ context: MigrationContext) async throws {
    _ = try await context.travelling(direction)
    try await ServingServers(context).refuseOpen(direction.to, name)
    await context.foretell(.foundClosed(direction))
    try await context.removeFact(.fenceBreaches)
    try await context.removeFact(.closedSince)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    HeadStart(context: context, direction: direction).deeds() + [
      .aside { _ in
        if try await context.fact(.downtimeBegan) == nil {
          try await context.setFact(.downtimeBegan, millisecondsSince1970())
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
    if await isOtherSideOpen(context) { return error }
    try? await DeedPerformer(context, step: name, isUndo: true).perform([lifting(context)])
    return error
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    // Both sides would take writes.
    guard try await !context.isOver(direction), await !isOtherSideOpen(context) else { return nil }
    let isHeldUp = try await context.isHeldUp(direction)
    // Who could not ask the other side has raised nothing.
    if !isHeldUp, await !context.hasForetold(.foundClosed(direction)) { return nil }
    var deeds: [Deed] = []
    if isHeldUp { deeds.append(LaidWay(context, of: direction).takingAway(at: context.place(name, side))) }
    deeds.append(lifting(context))
    deeds.append(
      .aside { _ in
        if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
        try await context.removeFact(.downtimeBegan)
        try await context.removeFact(.closedSince)
      })
    return Undoing("lifted the fence", deeds)
  }

  /// Whatever the journal says. A side that cannot be asked is what broke, and was closed when this began.
  private func isOtherSideOpen(_ context: MigrationContext) async -> Bool {
    guard (try? await ServingServers(context).isOpen(direction.to)) == true else { return false }
    context.progress("\(context.host(direction.to).name) takes writes: the fence of \(context.host(side).name) stays")
    return true
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
    try await !Fence(context: context, side: side.resolved(context)).hasTraces()
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
    return (isHeldUp ? [LaidWay(context, of: direction).takingAway(at: context.place(name, side))] : [])
      + (try await Fence(context: context, side: side).lifting()) + [
        .aside { _ in
          if isHeldUp { try await context.setState(context.handOff().restState(direction)) }
          try await context.removeFact(.downtimeBegan)
          try await context.removeFact(.closedSince)
        }
      ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "lifted the fence of \(context.host(try await side.resolved(context)).name)")
  }
}

extension UnfenceStep {
  /// Whether the other side serves applications, or is about to stop doing so: by the journal, and, since that may be lost
  /// or old, by what the other server itself says.
  private func hasMovedOn(_ context: MigrationContext, _ direction: StreamDirection) async throws -> Bool {
    let record = try await context.record()
    if let record, record.handOff != nil, record.direction != direction { return true }
    // One that is out of reach can be asked nothing: then the journal's word stands, if there is any.
    do {
      return try await ServingServers(context).isOpen(direction.to)
    } catch  where record?.handOff != nil && saysThatAConnectionBroke(error) {
      return false
    }
  }
}
