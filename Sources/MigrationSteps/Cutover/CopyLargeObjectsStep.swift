import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import Verification

/// `copy_large_objects`: the large objects of the side to be opened are the other one's.
///
/// Nothing is undone: the next cutover compares them again, and until then nobody uses them.
struct CopyLargeObjectsStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "copy_large_objects" }

  private static let plans = Found<[LargeObjectCopy.Plan]>("copy_large_objects.plans", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    let names = record.databases.map(\.name)
    let plans = try await mapConcurrently(names, limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { try await LargeObjectCopy.plan(source: $0, target: $1) }
    }
    return [
      .together(zip(names, plans).map { copying($1, in: $0, context) }, atMost: databasesAtATime),
      .note(nil, "the run compares the large objects of the drained \(direction.fromName)"),
      .aside { found in
        found[Self.plans] = plans
        try await context.updateReport { report in
          for (name, plan) in zip(names, plans) where !plan.isEmpty {
            report.note(
              .note, "\(plan.copy.count) large objects were copied, \(plan.remove.count) removed", database: name)
          }
        }
      },
    ]
  }

  private func copying(_ plan: LargeObjectCopy.Plan, in name: String, _ context: MigrationContext) -> [Deed] {
    guard !plan.isEmpty else { return [] }
    return [
      .act(
        direction.to,
        "database \(name): make \(plan.copy.count) large objects anew, remove \(plan.remove.count)"
      ) { _ in
        try await context.withPair(of: name, direction) { source, target in
          try await LargeObjectCopy.run(plan, source: source, target: target) {
            context.progress("database \(name): \($0)")
          }
        }
      }
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let plans = found[Self.plans] ?? []
    let copied = plans.reduce(0) { $0 + $1.copy.count }
    let removed = plans.reduce(0) { $0 + $1.remove.count }
    return StepResult(
      changed: copied + removed > 0, copied + removed == 0 ? "the same on both sides" : "carried over",
      figures: [.init("copied", UInt64(copied)), .init("removed", UInt64(removed))])
  }
}
