import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import Verification

/// `refresh_materialized_views`: those that differ from the fenced side's are rebuilt on the other one.
///
/// What still differs then is told in the report and holds nothing up: the fenced side's own view was older than its
/// tables, and its content can be had from there only. Nothing is undone: a view that was rebuilt is no less
/// right than before.
struct RefreshMaterializedViewsStep: Step {
  var direction = StreamDirection.forward

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    return try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, _ in
        try await MaterializedViewRefresh.list(source).filter(\.isPopulated).map { view in
          PlannedAction(
            host: context.host(direction.to).name, .note,
            "where its content differs from the \(direction.fromName)'s, in database \(name): "
              + MaterializedViewRefresh.refreshing(view.name))
        }
      }
    }.flatMap { $0 }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let done = try await timedConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        try await MaterializedViewRefresh.run(
          database: name, source: source, target: target, direction, at: context.place(ofDatabase: name),
          progress: context.progress)
      }
    }
    let outcomes = done.map(\.value)
    let findings = outcomes.flatMap(\.findings)
    if !findings.isEmpty {
      try await context.updateReport { report in
        for finding in findings { report.note(finding.severity, finding.text, database: finding.database) }
      }
    }
    let compared = outcomes.reduce(0) { $0 + $1.compared }
    let refreshed = outcomes.flatMap(\.refreshed).count
    let different = findings.filter { $0.severity != .note }.count
    return StepResult(
      changed: refreshed > 0,
      "all compared"
        + (different > 0 ? ", \(different) still differ: see the report" : ""),
      figures: [.init("views", UInt64(compared)), .init("refreshed", UInt64(refreshed))], databases: done.map(\.record))
  }
}
