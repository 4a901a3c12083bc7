import ClosingReports
import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService

/// `close_forward`, `close_reverse`: the workers of a direction end. From here on nothing moves that way.
struct CloseStep: Step {
  let direction: StreamDirection

  private var name: String { "close_\(direction.rawValue)" }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    [.init(.note, "stop the sync workers of migration \(context.migrationName)")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    try await noteAppliedCounts(context)
    try await stopWorkers(context, record, direction, at: context.place(name))
    return StepResult(changed: true, "the workers have ended")
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    guard try await !context.isOver(direction) else { return .nothingToUndo }
    try await runWorkers(context, direction)
    return .undone("let the workers run again")
  }

  private func noteAppliedCounts(_ context: MigrationContext) async throws {
    let statuses = try await context.recordedStatuses()
    try await context.updateReport { report in
      for index in report.databases.indices {
        guard let status = statuses.first(where: { $0.status.database == report.databases[index].name }) else {
          continue
        }
        report.databases[index].transactionsApplied = status.status.transactionsApplied
        report.databases[index].rowsApplied = status.status.rowsApplied
      }
    }
  }
}

/// `open_way_back`, `open_way_forward`: streams from the side that is about to open to the one that was left, from the
/// position where both stand still.
///
/// In a cutover it comes before the target opens, so that every row of every writer finds its way to the old source.
/// Everything that can fail does so here, before the point of no return.
struct OpenWayStep: Step {
  /// Of the cutover that this step is part of; the way leads against it.
  let direction: StreamDirection

  private static let deadline = Duration.seconds(60)

  private var name: String { direction == .forward ? "open_way_back" : "open_way_forward" }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let way = direction.opposite
    let actions = try await Way(context: context, record: try await context.handOff(), direction: way).laying()
    let (from, to) = (context.host(way.from).name, context.host(way.to).name)
    return actions + [.init(.wait, "until every database's worker streams from \(from) to \(to)")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let state = try await context.state()
    let isClosed = try await Way(context: context, record: record, direction: direction).activeSlots().isEmpty
    guard state == .drained, isClosed else {
      throw ConvoyError(
        "cutover.not-drained",
        state == .drained
          ? "the workers toward the \(direction.toName) still run"
          : "migration \(context.migrationName) is \(state.rawValue), not drained",
        at: context.place(name), hint: "run the whole of \(direction.playbook)")
    }
    let opposite = direction.opposite
    // Those of an earlier try hold the slots that are about to be moved.
    try await stopWorkers(context, record, opposite, at: context.place(name))
    let start = try await Way(context: context, record: record, direction: opposite).lay()
    let laid = try await context.updateHandOff { record in
      if opposite == .reverse { record.reverseLSN = start } else { record.forwardLSN = start }
    }
    let began = Date()
    try await runWorkers(context, opposite)
    try await awaitWorkers(
      context, laid, opposite, since: began, within: min(Self.deadline, context.migration.cutover.drainDeadline),
      at: context.place(name))
    try await context.updateReport { $0.wayLSN = start }
    return StepResult(
      changed: true, "\(record.databases.count) workers stream to \(context.host(opposite.to).name) from \(start) on")
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    guard try await !context.isOver(direction), let record = try await context.record()?.handOff else {
      return .nothingToUndo
    }
    let way = Way(context: context, record: record, direction: direction.opposite)
    // The side that was to be opened may be what broke. Its slots are not read then, and that nobody holds the origins on
    // the side that goes on serving says that nothing more will be applied there.
    try await stopWorkers(context, record, way.direction, at: context.place(name), mayBeDown: true)
    try await context.holdingOn("taking the way away") { try await way.dropOrigins() }
    // The slots for the way back were there before, and are kept advanced; those for the way forward were not.
    if way.direction == .forward { try await dropSlots(way) }
    try await context.updateHandOff { record in if way.direction == .reverse { record.reverseLSN = nil } }
    return .undone("took the way \(way.direction == .reverse ? "back" : "forward") away again")
  }

  /// Before the first writer comes in again: what a run that was killed has left of the way, and the workers that it had
  /// turned round already.
  func takeAway(_ context: MigrationContext) async throws {
    guard let record = try await context.record(), let handOff = record.handOff else { return }
    if record.desiredSync != DesiredSync(direction) {
      _ = try await undo(context)
      try await runWorkers(context, direction)
    } else if direction == .reverse {
      try await dropSlots(Way(context: context, record: handOff, direction: .forward))
    }
  }

  /// Unless their server is out of reach: the next rollback uses them again, and `finish` would remove them.
  private func dropSlots(_ way: Way) async throws {
    do {
      try await way.dropSlots()
    } catch  where saysThatAConnectionBroke(error) {
      let host = way.context.host(way.direction.from).name
      way.context.progress("\(host) cannot be reached: the slots for the way forward stay there")
    }
  }
}
