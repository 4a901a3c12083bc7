import Inventory
import Journal
import PostgresClient
import ReplicationModel

/// What a cutover finds done before the first writer is held up. None of it changes what it does then: whatever is missing
/// is done on the spot, and nothing that is found here is trusted to be the last word.
struct HeadStart {
  let context: MigrationContext
  let direction: StreamDirection

  func run() async throws {
    guard let record = try await context.record()?.handOff else { return }
    if direction == .forward { _ = try await context.settingsToOpenTarget() }
    _ = try await mapConcurrently(record.databases.map(\.name), limit: CopySequencesStep.limit) { name in
      _ = try await context.session(direction.from, database: name)
    }
    guard direction == .forward else { return }
    // A slot reads again all that was written since it stood still, of all databases. Where one is moved by the sync
    // process just now, that will do.
    _ = try await mapConcurrently(record.databases, limit: CopySequencesStep.limit) { database in
      try await context.withNewSession(.target, database: database.name) { session in
        do {
          try await session.query(
            CutoverSQL.advanceSlotToEnd, [record.slot(database, .reverse)], within: .seconds(60))
        } catch let error as PostgresError where error.sqlState == .objectInUse {}
      }
    }
  }
}
