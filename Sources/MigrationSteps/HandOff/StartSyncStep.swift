import FoundationEssentials
import Journal
import MigrationCore
import Playbook
import RemoteHost
import ReplicationModel
import SyncService

/// `start_sync`: the workers run in a process of their own, which outlives this one.
struct StartSyncStep: Step {
  let deadline: Duration

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let environment = context.environment
    return [
      .init(
        .command,
        shellQuoted([environment.program] + environment.syncArguments)),
      .init(.wait, "until every database's worker streams"),
    ]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard let record = try await context.record(), let handOff = record.handOff else { return false }
    switch record.state {
    case .finished: return true
    case .handedOff, .fenced, .drained, .rolledBack: break
    // Without a way back there is nothing to stream.
    case .cutOver: if handOff.start(.reverse) == nil { return true }
    default: return false
    }
    guard record.desiredSync == DesiredSync(record.direction), try await isSyncRunning(context) else { return false }
    return try await Way(context: context, record: handOff, direction: record.direction).idle().isEmpty
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let direction = try await context.record()?.direction ?? .forward
    let (record, start) = try await context.travelling(direction)
    let began = Date()
    try await runWorkers(context, direction)
    try await awaitWorkers(
      context, record, direction, since: began, within: deadline, at: context.place("start_sync")
    ) {
      // The workers have said so too, so that 'status' shows what this step promises.
      let streaming = try await context.recordedStatuses().filter {
        [.streaming, .catchingUp].contains($0.status.phase) && $0.status.handOffLSN == start
      }
      return record.databases.allSatisfy { database in streaming.contains { $0.status.database == database.name } }
    }
    return StepResult(changed: true, "\(record.databases.count) workers stream")
  }
}
