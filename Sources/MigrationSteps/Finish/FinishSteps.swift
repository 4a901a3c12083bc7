import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService

/// `stop_sync`: no worker runs any more, in either direction.
struct StopSyncStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    [.init(.note, "stop the sync workers of migration \(context.migrationName)")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isFinished() { return true }
    guard let record = try await context.record(), record.desiredSync == .stopped else { return false }
    guard let handOff = record.handOff else { return true }
    return try await Way(context: context, record: handOff, direction: record.direction).activeSlots().isEmpty
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    try await context.refuseWhileHeldUp("stop_sync")
    guard let record = try await context.record(), let handOff = record.handOff else {
      return StepResult(changed: false, "there were none")
    }
    try await stopWorkers(context, handOff, record.direction, at: context.place("stop_sync"))
    return StepResult(changed: true, "the workers have ended")
  }
}

/// `clean_up`: what the migration has put on one side goes away.
struct CleanUpStep: Step {
  enum OldData: String, Sendable { case keep, remove }

  let side: Side
  let oldData: OldData

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let cleanUp = try await CleanUp(context, side)
    let host = context.host(side).name
    var actions = try await cleanUp.actions()
    for path in try await cleanUp.keptDataAfterwards() {
      actions.append(
        oldData == .remove
          ? .init(host: host, try await cleanUp.removal(of: path, try await context.server(side)))
          : .init(host: host, .note, "keep \(path)"))
    }
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isFinished() { return true }
    let cleanUp = try await CleanUp(context, side)
    guard !cleanUp.isGivenUp, try await left(cleanUp).isEmpty else { return false }
    guard oldData == .remove else { return true }
    return try await cleanUp.keptData().isEmpty
  }

  /// Says what to do where the side that serves nobody is out of reach.
  private func left(_ cleanUp: CleanUp) async throws -> [String] {
    do {
      return try await cleanUp.left()
    } catch var error as ConvoyError where side != cleanUp.serving && saysThatAConnectionBroke(error) {
      error.hint =
        "if that server is gone for good, leave this step out of finish.yml, and end with "
        + "finish: { gone: \(side.rawValue) }"
      throw error
    }
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    try await context.refuseWhileHeldUp("clean_up")
    let cleanUp = try await CleanUp(context, side)
    if try await context.record()?.desiredSync != .stopped {
      throw ConvoyError(
        "finish.sync-wanted", "the workers of migration \(context.migrationName) still run",
        at: context.place("clean_up", side), hint: "run the step stop_sync before this one")
    }
    var summary = try await cleanUp.run()
    let kept = try await cleanUp.keptData()
    if oldData == .remove {
      try await cleanUp.remove(kept)
      if !kept.isEmpty { summary += ", removed \(kept.joined(separator: ", "))" }
    } else if !kept.isEmpty {
      summary += ", kept \(kept.joined(separator: ", "))"
    }
    return StepResult(changed: true, summary)
  }
}

/// `finish`: looks for what is left on both sides, and closes the migration's record when that is nothing.
struct FinishStep: Step {
  /// A side that is not there any more.
  let gone: Side?

  var sides: [Side] { Side.allCases.filter { $0 != gone } }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    sides.map { .init(host: context.host($0).name, .note, "look for slots, origins, fences and files of ours") }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isFinished() }

  func run(_ context: MigrationContext) async throws -> StepResult {
    try await context.refuseWhileHeldUp("finish")
    var kept: [String] = []
    for side in sides {
      let cleanUp = try await CleanUp(context, side)
      let left = try await cleanUp.left()
      guard left.isEmpty else {
        throw ConvoyError(
          "finish.left-over", "left on \(context.host(side).name): \(few(left))", at: context.place("finish", side),
          hint: "run the step clean_up for the \(side.rawValue)")
      }
      kept += try await cleanUp.keptData()
    }
    let name = context.migrationName
    try await context.setState(.finished)
    try await context.journal.perform { file throws(ConvoyError) in try file.endHandOff(migration: name) }
    return StepResult(
      changed: true,
      "nothing of pgconvoy's is left on \(sides.map { context.host($0).name }.joined(separator: " and "))"
        + (kept.isEmpty ? "" : "; kept: \(kept.joined(separator: ", "))"))
  }
}
