import HostAdmin
import Inventory
package import Journal
import LogicalDecoding
import Playbook
import PostgresClient
package import ReplicationModel

/// The streams of one direction, on both servers: slots where they begin, replication origins where they end.
///
/// They are laid while both ends are closed: every row that the streams of the other direction brought lies before
/// their beginning, so nothing goes round in a circle, and no row of an application that comes later is left out. That
/// is why no stream asks for `only-local`: it would leave out what the opened server's own subscriptions bring.
package struct Way {
  package let context: MigrationContext
  package let record: HandOffRecord
  package let direction: StreamDirection

  package init(context: MigrationContext, record: HandOffRecord, direction: StreamDirection) {
    self.context = context
    self.record = record
    self.direction = direction
  }

  /// The databases whose slots no worker reads: asked of the server, the truth about it.
  package func idle() async throws -> [String] {
    let active = try await activeSlots()
    return record.databases.filter { !active.contains(record.slot($0, direction)) }.map(\.name)
  }

  package func activeSlots() async throws -> Set<String> {
    let names = Set(record.slots(direction))
    return Set(
      try await context.session(direction.from).query(
        "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE active"
      ).rows.map { $0.string(0) }
    ).intersection(names)
  }
}
