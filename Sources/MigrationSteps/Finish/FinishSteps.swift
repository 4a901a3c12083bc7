import HostAdmin
import Inventory
import Journal
import MigrationCore
import MigrationRecord
import Playbook
import ReplicationModel
import SyncService

/// Refuses an end that the servers contradict. One that is gone for good, and can be asked nothing, is no reason to leave
/// the other one as it is.
///
/// - Parameter opensSource: whether the source is closed until then, where the target serves.
/// - Throws: `finish.in-progress`; `truth.target-has-writers` where the journal says that the source serves, and the target
///   takes writes; `truth.newer-elsewhere` where it is the other way round.
private func refuseFinishing(_ context: MigrationContext, _ step: String, opensSource: Bool = false) async throws {
  try await context.refuseWhileHeldUp(step)
  guard let record = try await context.record(), record.handOff != nil else { return }
  do {
    let servers = ServingServers(context)
    if record.direction == .forward { try await servers.refuseReplacingTarget(step) }
    if record.direction == .reverse, opensSource { try await servers.refuseOpen(.source, step) }
  } catch  where saysThatAConnectionBroke(error) {}
}

/// - Throws: `finish.sync-wanted`, also where a process that was put on a host is still there.
private func refuseWantedSync(_ context: MigrationContext, at place: ConvoyError.Place) async throws {
  let hosts = try await context.syncPlaces().all.map(\.host)
  guard try await context.record()?.desiredSync != .stopped || !hosts.isEmpty else { return }
  throw ConvoyError(
    "finish.sync-wanted",
    hosts.isEmpty
      ? "the workers of migration \(context.migrationName) still run"
      : "the sync process of migration \(context.migrationName) is still on \(few(hosts))",
    at: place, hint: "run the step stop_sync before this one")
}

/// `stop_sync`: no worker runs any more, in either direction, and a sync process that was put on a host is removed there.
struct StopSyncStep: DeedStep {
  /// A host with the process that will not come back.
  var gone: String?

  var name: String { "stop_sync" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isFinished() { return true }
    guard let record = try await context.record(), record.desiredSync == .stopped else { return false }
    guard try await context.syncPlaces().all.isEmpty else { return false }
    guard let handOff = record.handOff else { return true }
    return try await Way(context: context, record: handOff, direction: record.direction).activeSlots().isEmpty
  }

  func begin(_ context: MigrationContext) async throws {
    try await refuseFinishing(context, name, opensSource: true)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let removing = try await SyncMove.removingAll(context, gone: gone)
    return [
      .act(nil, "stop the sync workers of migration \(context.migrationName)") { _ in
        guard let record = try await context.record(), let handOff = record.handOff else { return }
        try await stopWorkers(context, handOff, record.direction, at: context.place(name), goneHost: gone)
      }
    ] + removing
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let hadAny = try await context.record()?.handOff != nil
    return StepResult(changed: hadAny, hadAny ? "the workers have ended" : "there were none")
  }
}

/// `clean_up`: what the migration has put on one side goes away.
struct CleanUpStep: DeedStep {
  enum KeptData: String, Sendable { case keep, remove }

  let side: Side
  let oldData: KeptData

  var name: String { "clean_up" }

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

  func begin(_ context: MigrationContext) async throws {
    try await refuseFinishing(context, name)
    try await refuseWantedSync(context, at: context.place(name, side))
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let cleanUp = try await CleanUp(context, side)
    let deeds = try await cleanUp.deeds()
    // What lies there afterwards can be told beforehand.
    var keeping: [Deed] = []
    for path in try await cleanUp.keptDataAfterwards() { keeping += try await self.keeping(path, cleanUp) }
    return deeds + keeping
  }

  private func keeping(_ path: String, _ cleanUp: CleanUp) async throws -> [Deed] {
    guard oldData == .remove else { return [.note(side, "keep \(path)")] }
    let removal = try await cleanUp.removal(of: path, try await cleanUp.context.server(side))
    return [.say("removing \(path)"), .command(side, removal)]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let kept = try await CleanUp(context, side).keptData()
    return StepResult(
      changed: true,
      (found[CleanUp.done] ?? "") + (kept.isEmpty ? "" : ", kept \(kept.joined(separator: ", "))"))
  }
}

/// `finish`: looks for what is left on both sides, and closes the migration's record when that is nothing.
struct FinishStep: DeedStep {
  /// A side that is not there any more.
  let gone: Side?

  var sides: [Side] { Side.allCases.filter { $0 != gone } }

  var name: String { "finish" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard try await context.isFinished() else { return false }
    // Cut off between the end and the removal of its record.
    for side in sides where await context.truth().hasRecord(side) { return false }
    return true
  }

  func begin(_ context: MigrationContext) async throws {
    if try await context.isFinished() { return }
    try await refuseFinishing(context, name)
    guard try await !context.syncPlaces().all.isEmpty else { return }
    try await refuseWantedSync(context, at: context.place(name))
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    if try await context.isFinished() { return try await removingRecord(context) }
    return try await ending(context) + removingRecord(context)
  }

  /// Last of all, since until then it says what is to be done.
  private func removingRecord(_ context: MigrationContext) async throws -> [Deed] {
    var deeds: [Deed] = []
    // Where the old data has come back, the record has gone with the copy.
    for side in sides where try await !CleanUp(context, side).isGivenUp {
      deeds.append(.later { try await context.truth().removal(side) })
    }
    return deeds + [.aside { _ in await context.truth().retire() }]
  }

  private func ending(_ context: MigrationContext) async throws -> [Deed] {
    let name = context.migrationName
    return sides.map { side in
      .look(side, "look for slots, origins, fences and files of ours") { _ in
        let left = try await CleanUp(context, side).left()
        guard !left.isEmpty else { return }
        throw ConvoyError(
          "finish.left-over", "left on \(context.host(side).name): \(few(left))", at: context.place("finish", side),
          hint: "run the step clean_up for the \(side.rawValue)")
      }
    } + [
      .aside { found in
        var kept: [String] = []
        for side in sides { kept += try await CleanUp(context, side).keptData() }
        found[Self.kept] = kept
        try await context.setState(.finished)
        try await context.journal.perform { file throws(ConvoyError) in try file.endHandOff(migration: name) }
        // Before the record goes: nothing of it may come again behind that.
        try await context.publishRecord()
      }
    ]
  }

  /// Directories of data that nobody serves any more.
  private static let kept = Found<[String]>("finish.kept", placeholder: "")

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let kept = found[Self.kept] ?? []
    return StepResult(
      changed: true,
      "nothing of pgconvoy's is left on \(sides.map { context.host($0).name }.joined(separator: " and "))"
        + (kept.isEmpty ? "" : "; kept: \(kept.joined(separator: ", "))"))
  }
}
