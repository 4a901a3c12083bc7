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
struct CopyLargeObjectsStep: Step {
  var direction = StreamDirection.forward

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    let actions = try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        let (copy, remove) = LargeObjectCopy.changes(
          source: try await LargeObjectCopy.list(source), target: try await LargeObjectCopy.list(target))
        guard !copy.isEmpty || !remove.isEmpty else { return [PlannedAction]() }
        return [
          PlannedAction(
            host: context.host(direction.to).name, .note,
            "database \(name): make \(copy.count) large objects anew, remove \(remove.count)")
        ]
      }
    }.flatMap { $0 }
    return actions + [.init(.note, "the run compares the large objects of the drained \(direction.fromName)")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let names = record.databases.map(\.name)
    let outcomes = try await mapConcurrently(names, limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        try await LargeObjectCopy.run(source: source, target: target) { context.progress("database \(name): \($0)") }
      }
    }
    try await context.updateReport { report in
      for (name, outcome) in zip(names, outcomes) where outcome.copied + outcome.removed > 0 {
        report.note(
          .note, "\(outcome.copied) large objects were copied, \(outcome.removed) removed", database: name)
      }
    }
    let copied = outcomes.reduce(0) { $0 + $1.copied }
    let removed = outcomes.reduce(0) { $0 + $1.removed }
    return StepResult(
      changed: copied + removed > 0, copied + removed == 0 ? "the same on both sides" : "carried over",
      figures: [.init("copied", UInt64(copied)), .init("removed", UInt64(removed))])
  }
}
