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
/// The first step of a cutover that has something to report, so it begins the report anew: what an earlier attempt
/// found is past. Nothing is undone: the next cutover sets the sequences again, and until then nobody uses them.
struct CopySequencesStep: Step {
  var direction = StreamDirection.forward

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    let actions = try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        let changes = try SequenceCopy.changes(
          source: await SequenceCopy.read(source), target: await SequenceCopy.read(target), direction,
          at: context.place(ofDatabase: name))
        return stride(from: 0, to: changes.count, by: SequenceCopy.mostPerStatement).map { start in
          let end = min(start + SequenceCopy.mostPerStatement, changes.count)
          return PlannedAction(
            host: context.host(direction.to).name, .sql(database: name), SequenceCopy.setting(changes[start..<end]))
        }
      }
    }.flatMap { $0 }
    return actions + [
      .init(.note, "the values are those of now; the run sets those of the drained \(direction.fromName)")
    ]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let names = record.databases.map(\.name)
    let done = try await timedConcurrently(names, limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { source, target in
        try await SequenceCopy.run(source: source, target: target, direction, at: context.place(ofDatabase: name))
      }
    }
    let outcomes = done.map(\.value)
    try await context.removeFact(FactKey.report)
    try await context.updateReport { report in
      report.direction = direction
      for (name, outcome) in zip(names, outcomes) {
        guard let index = report.databases.firstIndex(where: { $0.name == name }) else { continue }
        report.databases[index].sequencesSet = UInt64(outcome.compared)
        report.databases[index].sequences = outcome.states.map {
          .init(name: $0.name, lastValue: $0.lastValue, isCalled: $0.isCalled)
        }
      }
    }
    let compared = outcomes.reduce(0) { $0 + $1.compared }
    let changed = outcomes.reduce(0) { $0 + $1.changed }
    return StepResult(
      changed: changed > 0, "all compared",
      figures: [.init("sequences", UInt64(compared)), .init("set", UInt64(changed))], databases: done.map(\.record))
  }
}
