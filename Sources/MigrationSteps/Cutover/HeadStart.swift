import HostAdmin
import Inventory
import Journal
import MigrationCore
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
    let names = record.databases.map(\.name)
    for side in try await sides(names.count) {
      _ = try await mapConcurrently(names, limit: databasesAtATime) { name in
        _ = try await context.session(side, database: name)
      }
    }
    guard direction == .forward else { return }
    // A slot reads again all that was written since it stood still, of all databases. Where one is moved by the sync
    // process just now, that will do.
    _ = try await mapConcurrently(record.databases, limit: databasesAtATime) { database in
      try await context.withSession(.target, database: database.name) { session in
        do {
          try await session.query(
            CutoverSQL.advanceSlotToEnd, [record.slot(database, .reverse)], within: .seconds(60))
        } catch let error as PostgresError where error.sqlState == .objectInUse {}
      }
    }
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

extension MigrationContext {
  /// Does beforehand what a cutover would have to do while applications are held up: connections to hosts and
  /// databases, the settings of a target whose quarantine is lifted, and most of what the slots for the way back have to
  /// be moved. Once in a play. Where there is nothing yet to cut over, nothing is done.
  func makeReady(_ direction: StreamDirection) async throws {
    guard let record = try await record(), record.direction == direction,
      [.handedOff, .fenced, .drained, .cutOver, .rolledBack].contains(record.state)
    else { return }
    guard markReady(direction) else { return }
    do {
      async let closing = server(direction.from)
      async let opening = server(direction.to)
      _ = try await (closing, opening)
      try await HeadStart(context: self, direction: direction).run()
    } catch {
      unmarkReady(direction)
      throw error
    }
  }
}
