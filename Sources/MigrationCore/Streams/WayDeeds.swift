import HostAdmin
import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

extension Way {
  /// How long the creation of a slot may wait. Nobody but autovacuum and pgconvoy is on a closed server.
  private static let slotLimit = Duration.seconds(60)

  /// Where both ends are moved to.
  package var position: Found<String> {
    Found("way.position.\(direction.rawValue)", placeholder: "<the \(direction.fromName)'s position>")
  }

  /// Makes the slots that are not there yet.
  package func makingSlots() async throws -> [Deed] {
    let present = try await context.present(direction.from, "slot_name", of: "pg_replication_slots")
    let missing = record.databases.filter { !present.contains(record.slot($0, direction)) }
    guard !missing.isEmpty else { return [] }
    return [
      .together(
        missing.map { database in
          SlotDeeds.making(
            context, direction.from, record.slot(database, direction), in: database.name, within: Self.slotLimit)
        }, atMost: 8)
    ]
  }

  /// Moves all ends to one position of the closed server: its end, made durable.
  package func laying() async throws -> [Deed] {
    let origins = try await context.present(direction.to, "roname", of: "pg_replication_origin")
    return try await makingSlots() + [
      // Its commit flushes everything before it.
      .sql(direction.from, HandOffSQL.flush),
      .aside { found in
        let flushed = try await context.session(direction.from).query("SELECT pg_catalog.pg_current_wal_flush_lsn()")
        guard let start = flushed.first.flatMap({ LSN($0) }) else {
          throw ConvoyError(
            "way.no-position", "the \(direction.fromName) returned no position",
            at: .host(context.host(direction.from).name))
        }
        found[position] = start.description
      },
      .together(record.databases.map(advancing), atMost: 8),
    ]
      + record.origins(direction).map { origin in
        let isThere = origins.contains(origin)
        var statement = StatementDeed(
          direction.to, isThere ? CutoverSQL.advanceOrigin : HandOffSQL.makeOrigin,
          [.text(origin), .found(position)])
        if isThere { statement.patience = Patience(origin) }
        statement.limit = .seconds(60)
        return .statement(statement)
      }
  }

  private func advancing(_ database: HandOffDatabase) -> [Deed] {
    let name = record.slot(database, direction)
    var statement = StatementDeed(
      direction.from, database: database.name, CutoverSQL.advanceSlot, [.text(name), .found(position)])
    statement.patience = Patience(name)
    statement.limit = .seconds(60)
    return [
      .statement(statement),
      .aside { found in
        let place = ConvoyError.Place.database(migration: context.migrationName, name: database.name)
        let stands = try await context.session(direction.from).query(
          "SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", [name]
        ).first.flatMap { LSN($0) }
        guard let stands, let start = found[position].flatMap({ LSN($0) }), stands <= start else {
          throw ConvoyError(
            "way.slot-beyond",
            "slot \(name) stands at \(stands?.description ?? "nothing"), beyond \(found[position] ?? "?")", at: place,
            hint: "run the playbook again")
        }
      },
    ]
  }

  /// Takes the slots away, and what they read, for they would hold the server's WAL for ever.
  package func droppingSlots() async throws -> [Deed] {
    try await SlotDeeds.dropping(context, direction.from, record.slots(direction))
      + SlotDeeds.droppingPublications(
        context, direction.from, record.databases.map { ($0.name, record.slot($0, direction)) })
  }

  package func droppingOrigins() async throws -> [Deed] {
    try await SlotDeeds.dropping(
      context, direction.to,
      origins: record.origins(direction).flatMap { [$0, HandOffNames.secondOrigin(beside: $0)] })
  }
}
