import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import ReplicationModel

/// What a cutover finds done before the first writer is held up: connections to hosts and databases, the settings of a
/// target whose quarantine is lifted, and most of what the slots for the way back have to be moved.
///
/// None of it changes what the cutover does then: whatever is missing is done on the spot, and nothing that is found here
/// is trusted to be the last word.
struct HeadStart {
  let context: MigrationContext
  let direction: StreamDirection

  /// Once in a play, by the first step that holds anybody up. Where there is nothing yet to cut over, nothing is done.
  func deeds() -> [Deed] {
    [
      .later(announced: { try await deeds(once: .headStartAnnounced(direction)) }) { _ in
        try await deeds(once: .headStart(direction))
      }
    ]
  }

  private func deeds(once mark: Foretold) async throws -> [Deed] {
    guard let record = try await context.record(), record.direction == direction,
      record.state.isReplicating, let handOff = record.handOff, await !context.hasForetold(mark)
    else { return [] }
    await context.foretell(mark)
    return [.aside { _ in try await connect(handOff) }] + (direction == .forward ? [advancing(handOff)] : [])
  }

  private func connect(_ record: HandOffRecord) async throws {
    async let closing = context.server(direction.from)
    async let opening = context.server(direction.to)
    _ = try await (closing, opening)
    if direction == .forward { _ = try await context.settingsToOpenTarget() }
    let names = record.databases.map(\.name)
    for side in try await sides(names.count) {
      _ = try await mapConcurrently(names, limit: databasesAtATime) { name in
        _ = try await context.session(side, database: name)
      }
    }
  }

  /// A slot reads again all that was written since it stood still, of all databases. Where one is moved by the sync
  /// process just now, that will do.
  private func advancing(_ record: HandOffRecord) -> Deed {
    .together(
      record.databases.map { database in
        var statement = StatementDeed(
          .target, database: database.name, CutoverSQL.advanceSlotToEnd, [.text(record.slot(database, .reverse))])
        // It gets no further at all when it is cut off.
        statement.limit = .seconds(3600)
        statement.fine = [.objectInUse]
        return [.statement(statement)]
      }, atMost: databasesAtATime)
  }

  /// The sides whose databases each get a session that is kept. The one to be opened, where workers and the verification
  /// connect as well, only where that leaves half of its connections free.
  private func sides(_ count: Int) async throws -> [Side] {
    let free = try await context.session(direction.to).query(
      """
      SELECT pg_catalog.current_setting('max_connections')::integer - pg_catalog.count(*)
        FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'
      """
    ).rows.first?.int(0)
    return free.map { $0 >= 2 * count + 10 } == true ? [direction.from, direction.to] : [direction.from]
  }
}
