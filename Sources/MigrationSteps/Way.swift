import Inventory
import Journal
import LogicalDecoding
import Playbook
import PostgresClient
import ReplicationModel

/// The streams of one direction, on both servers: slots where they begin, replication origins where they end.
///
/// They are laid while both ends are closed: every row that the streams of the other direction brought lies before
/// their beginning, so nothing goes round in a circle, and no row of an application that comes later is left out. That
/// is why no stream asks for `only-local`: it would leave out what the opened server's own subscriptions bring.
struct Way {
  let context: MigrationContext
  let record: HandOffRecord
  let direction: StreamDirection

  /// The databases whose slots no worker reads: asked of the server, the truth about it.
  func idle() async throws -> [String] {
    let active = try await activeSlots()
    return record.databases.filter { !active.contains(record.slot($0, direction)) }.map(\.name)
  }

  func activeSlots() async throws -> Set<String> {
    let names = Set(record.slots(direction))
    return Set(
      try await context.session(direction.from).query(
        "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE active"
      ).rows.map { $0.string(0) }
    ).intersection(names)
  }
}
