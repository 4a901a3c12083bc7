import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService

/// `start_sync`: the workers run in a process of their own, which outlives this one: on this machine, or on the host that
/// the inventory names.
struct StartSyncStep: DeedStep {
  let deadline: Duration
  /// A host with the process that will not come back.
  var gone: String?

  var name: String { "start_sync" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard let record = try await context.record(), let handOff = record.handOff else { return false }
    if record.state == .finished { return record.direction == .reverse }
    guard record.state.isReplicating else { return false }
    if let gone, try await context.syncPlaces().current?.host == gone { return false }
    // Without a way back there is nothing to stream.
    if record.state == .cutOver, handOff.start(.reverse) == nil { return true }
    guard record.desiredSync == DesiredSync(record.direction), try await isThere(context) else { return false }
    guard try await Way(context: context, record: handOff, direction: record.direction).idle().isEmpty else {
      return false
    }
    return try await SyncMove(context, gone: gone).isMade
  }

  /// Whether a process runs; one whose files are gone is put there again.
  private func isThere(_ context: MigrationContext) async throws -> Bool {
    do {
      return try await isSyncRunning(context)
    } catch let error as ConvoyError where ["sync.not-there", "sync.no-answer"].contains(error.code) {
      return false
    }
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let move = try await SyncMove(context, gone: gone)
    let began = Found<Date>("start_sync.began", placeholder: "")
    return [
      .aside { found in
        let direction = try await direction(context)
        _ = try await context.travelling(direction)
        found[began] = Date()
      }
    ] + move.deeds() + [
      .aside { _ in try await wantWorkers(context, direction(context), takingOver: true) },
      // Where one runs already, it takes the workers up.
      .later {
        guard try await !isSyncRunning(context, at: move.to) else { return [] }
        return [.say(startingWords(context, move.to)), startingSync(context, move.to)]
      },
      .wait(nil, "until every database's worker streams") { found in
        let direction = try await direction(context)
        let (record, start) = try await context.travelling(direction)
        try await awaitWorkers(
          context, record, direction, since: found[began] ?? Date(), within: deadline, at: context.place(name)
        ) {
          // The workers have said so too, so that 'status' shows what this step promises.
          let streaming = try await context.recordedStatuses().filter {
            [.streaming, .catchingUp].contains($0.status.phase) && $0.status.handOffLSN == start
          }
          return record.databases.allSatisfy { database in streaming.contains { $0.status.database == database.name } }
        }
      },
    ] + move.afterwards()
  }

  private func direction(_ context: MigrationContext) async throws -> StreamDirection {
    try await context.record()?.direction ?? .forward
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: true, "\(try await context.handOff().databases.count) workers stream")
  }
}
