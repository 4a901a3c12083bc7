import Inventory
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

extension FactKey<[ReplicaIdentities.Change]> {
  /// Tables of the source that were given an identity.
  static var replicaIdentities: Self { Self("replica_identities") }
}

/// `set_replica_identity`: gives tables whose updates and deletes would name no row the whole row as their identity.
///
/// Nothing of it happens unless a playbook names the step. What each table had before is recorded first, so that it can
/// be taken back.
struct ReplicaIdentityStep: DeedStep {
  var name: String { "set_replica_identity" }
  var sides: [Side] { [.source] }

  private let set = Found<Int>("set_replica_identity.set", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Behind the hand-off a change of identity is DDL in the stream.
    if try await context.copyState().hasHandedOff { return true }
    return try await ReplicaIdentities.missing(context).isEmpty
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    try await setting(context) + [
      // Tables that were made meanwhile, or have got another name.
      .later(announced: { [] }) { _ in try await setting(context) }
    ]
  }

  private func setting(_ context: MigrationContext) async throws -> [Deed] {
    let changes = try await ReplicaIdentities.missing(context)
    guard !changes.isEmpty else { return [] }
    return [
      .aside { found in
        found[set] = (found[set] ?? 0) + changes.count
        let known = try await context.fact(.replicaIdentities) ?? []
        try await context.setFact(
          .replicaIdentities,
          known + changes.filter { new in !known.contains { $0.database == new.database && $0.table == new.table } })
      }
    ]
      + changes.flatMap { change -> [Deed] in
        [
          .say("\(change.database): \(change.statement)"),
          ReplicaIdentities.altering(change.statement, context, change),
        ]
      }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let count = found[set] ?? 0
    return StepResult(changed: count > 0, "set on \(count) tables")
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    let deeds = try await ReplicaIdentities.takingBack(context)
    let count = deeds.count { if case .statement = $0 { true } else { false } }
    return Undoing(count == 0 ? nil : "gave \(count) tables their identities back", deeds)
  }
}
