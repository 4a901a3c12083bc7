import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import Verification

/// `copy_sequences`: every sequence of the side to be opened stands where the other one's does.
///
/// Nothing is undone: the next cutover sets the sequences again, and until then nobody uses them.
struct CopySequencesStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "copy_sequences" }

  private static let outcomes = Found<[SequenceCopy.Plan]>("copy_sequences.outcomes", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    let names = record.databases.map(\.name)
    let plans = try await mapConcurrently(names, limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        try await SequenceCopy.plan(source: source, target: target, direction, at: context.place(ofDatabase: name))
      }
    }
    return [
      .together(zip(names, plans).map { [.database($0, setting($1, in: $0, context))] }, atMost: databasesAtATime),
      .note(nil, "the values are those of now; the run sets those of the drained \(direction.fromName)"),
      .aside { found in
        found[Self.outcomes] = plans
        try await note(context, names, plans)
      },
    ]
  }

  private func setting(_ plan: SequenceCopy.Plan, in name: String, _ context: MigrationContext) -> [Deed] {
    guard !plan.changes.isEmpty else { return [] }
    return plan.statements.map { .sql(direction.to, database: name, $0) } + [
      .aside { _ in
        try await context.withSession(direction.to, database: name) { target in
          try await SequenceCopy.confirm(plan, target, direction, at: context.place(ofDatabase: name))
        }
      }
    ]
  }

  private func note(_ context: MigrationContext, _ names: [String], _ plans: [SequenceCopy.Plan]) async throws {
    try await context.updateReport { report in
      report.direction = direction
      for (name, plan) in zip(names, plans) {
        guard let index = report.databases.firstIndex(where: { $0.name == name }) else { continue }
        report.databases[index].sequencesSet = UInt64(plan.wanted.count)
        report.databases[index].sequences = plan.wanted.map {
          .init(name: $0.name, lastValue: $0.lastValue, isCalled: $0.isCalled)
        }
      }
    }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let plans = found[Self.outcomes] ?? []
    let compared = plans.reduce(0) { $0 + $1.wanted.count }
    let changed = plans.reduce(0) { $0 + $1.changes.count }
    return StepResult(
      changed: changed > 0, "all compared",
      figures: [.init("sequences", UInt64(compared)), .init("set", UInt64(changed))], databases: found.databases)
  }
}
