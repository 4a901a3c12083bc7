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
struct RefreshMaterializedViewsStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "refresh_materialized_views" }

  private func outcome(_ name: String) -> Found<MaterializedViewRefresh.Outcome> {
    Found("refresh_materialized_views.\(name)", placeholder: "")
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    let lists = try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      let views = try await context.withPair(of: name, direction) { source, _ in
        try await MaterializedViewRefresh.list(source)
      }
      return views.isEmpty ? [] : [Deed.database(name, [refreshing(views.filter(\.isPopulated), in: name, context)])]
    }
    return [.together(lists, atMost: databasesAtATime)]
  }

  private func refreshing(_ views: [MaterializedView], in name: String, _ context: MigrationContext) -> Deed {
    let statements = views.map { MaterializedViewRefresh.refreshing($0.name) }
    return .act(
      direction.to,
      "where its content differs from the \(direction.fromName)'s, in database \(name): "
        + statements.joined(separator: "; ")
    ) { found in
      let outcome = try await context.withPair(of: name, direction) { source, target in
        try await MaterializedViewRefresh.run(
          database: name, source: source, target: target, direction,
          writing: { try await context.writingSettings(direction.from, database: name) },
          at: context.place(ofDatabase: name),
          progress: context.progress)
      }
      found[self.outcome(name)] = outcome
    }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let outcomes = record.databases.compactMap { found[outcome($0.name)] }
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
      figures: [.init("views", UInt64(compared)), .init("refreshed", UInt64(refreshed))], databases: found.databases)
  }
}
