import Inventory
import Journal
package import ReplicationModel

extension MigrationContext {
  /// - Throws: `finish.in-progress` in the middle of a cutover or rollback: who serves is not settled then.
  package func refuseWhileHeldUp(_ step: String) async throws {
    guard let record = try await record(), record.state.isHeldUp else { return }
    let noun = record.direction.noun
    throw ConvoyError(
      "finish.in-progress", "a \(noun) of migration \(migrationName) is in progress", at: place(step),
      hint: "run \(record.direction.playbook) again, or unfence.yml to call it off")
  }

  package func isFinished() async throws -> Bool { try await state().hasNothingStanding }

  /// How far the copy in hand is: `none` where the last one was given up, for another may begin.
  package func copyState() async throws -> MigrationState {
    guard let record = try await record() else { return .none }
    return record.state == .finished && record.direction == .forward ? .none : record.state
  }

  /// - Throws: `migration.finished` when the target of a finished migration serves: a new copy would replace it.
  package func refuseFinished() async throws {
    guard let record = try await record(), record.state == .finished, record.direction == .reverse else { return }
    throw ConvoyError(
      "migration.finished", "migration \(migrationName) is finished: \(migration.target.name) serves its data",
      hint: "give a new migration a name of its own")
  }
}
