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
struct CloseStep: DeedStep {
  let direction: StreamDirection

  var name: String { "close_\(direction.rawValue)" }

  /// While a way the other way could not be taken down, nothing may move this way again: each change would come back. The
  /// fence tries to take it down once more before it is lifted.
  var isUndoneBehindOthersOnly: Bool { true }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    return [
      .aside { _ in try await noteAppliedCounts(context) },
      .act(nil, "stop the sync workers of migration \(context.migrationName)") { _ in
        try await stopWorkers(context, record, direction, at: context.place(name))
      },
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "the workers have ended")
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    guard try await !context.isOver(direction) else { return nil }
    return Undoing(
      "let the workers run again",
      [
        .act(nil, "let the sync workers of migration \(context.migrationName) run") { _ in
          try await runWorkers(context, direction)
        }
      ])
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
struct OpenWayStep: DeedStep {
  /// Of the cutover that this step is part of; the way leads against it.
  let direction: StreamDirection

  private static let deadline = Duration.seconds(60)

  var name: String { direction == .forward ? "open_way_back" : "open_way_forward" }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func begin(_ context: MigrationContext) async throws {
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
    // Those of an earlier try hold the slots that are about to be moved.
    try await stopWorkers(context, record, direction.opposite, at: context.place(name))
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let opposite = direction.opposite
    let record = try await context.handOff()
    let way = Way(context: context, record: record, direction: opposite)
    await context.foretell(.way(opposite))
    let (from, to) = (context.host(opposite.from).name, context.host(opposite.to).name)
    return try await way.laying() + [
      .aside { found in
        guard let start = found[way.position].flatMap({ LSN($0) }) else { return }
        try await context.updateHandOff { record in
          if opposite == .reverse { record.reverseLSN = start } else { record.forwardLSN = start }
        }
        try await context.updateReport { $0.wayLSN = start }
      },
      .wait(nil, "until every database's worker streams from \(from) to \(to)") { _ in
        let began = Date()
        try await runWorkers(context, opposite)
        try await awaitWorkers(
          context, context.handOff(), opposite, since: began,
          within: min(Self.deadline, context.migration.cutover.drainDeadline), at: context.place(name))
      },
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let opposite = direction.opposite
    let record = try await context.handOff()
    let start = record.start(opposite)?.description ?? "?"
    return StepResult(
      changed: true, "\(record.databases.count) workers stream to \(context.host(opposite.to).name) from \(start) on")
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    try await LaidWay(context, of: direction).undoing(at: context.place(name))
  }
}
