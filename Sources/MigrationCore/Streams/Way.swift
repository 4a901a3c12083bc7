import HostAdmin
import Inventory
package import Journal
package import Playbook
package import PostgresClient
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

  /// How long the creation of a slot may wait. Nobody but autovacuum and pgconvoy is on a closed server.
  private static let slotDeadline = Duration.seconds(60)

  /// Makes the slots that are not there yet.
  package func makeSlots() async throws {
    let present = Set(try await names(direction.from, "slot_name", of: "pg_replication_slots"))
    let missing = record.databases.filter { !present.contains(record.slot($0, direction)) }
    _ = try await mapConcurrently(missing, limit: databasesAtATime) { database in
      let name = record.slot(database, direction)
      do {
        try await context.withNewSession(direction.from, database: database.name) { session in
          // Before the slot, as at the hand-off.
          let plugin = context.migration.plugin
          if plugin == .pgoutput { try await makePublication(session, name) }
          try await session.query(HandOffSQL.createSlot, [name, plugin.rawValue], within: Self.slotDeadline)
        }
      } catch {
        throw placed(error, database)
      }
    }
  }

  /// Moves all ends to one position of the closed server: its end, made durable.
  ///
  /// - Returns: that position.
  package func lay() async throws -> LSN {
    try await makeSlots()
    let from = try await context.session(direction.from)
    // Its commit flushes everything before it.
    try await from.query(HandOffSQL.flush)
    guard
      let start = try await from.query("SELECT pg_catalog.pg_current_wal_flush_lsn()").first.flatMap({ LSN($0) })
    else {
      throw ConvoyError(
        "way.no-position", "the \(direction.fromName) returned no position",
        at: .host(context.host(direction.from).name))
    }
    _ = try await mapConcurrently(record.databases, limit: databasesAtATime) { database in
      try await advance(database, to: start)
    }
    let to = try await context.session(direction.to)
    let present = Set(
      try await to.query("SELECT roname FROM pg_catalog.pg_replication_origin").rows.map { $0.string(0) })
    let origins = record.origins(direction)
    try await createOrigins(to, origins.filter { !present.contains($0) }, at: start)
    for origin in origins where present.contains(origin) {
      try await whenFree(
        to, origin, CutoverSQL.advanceOrigin, [origin, start.description])
    }
    return start
  }

  /// What `lay` would do; the position is known only then.
  package func laying() async throws -> [PlannedAction] {
    let (from, to) = (context.host(direction.from), context.host(direction.to))
    let slots = Set(try await names(direction.from, "slot_name", of: "pg_replication_slots"))
    let origins = Set(try await names(direction.to, "roname", of: "pg_replication_origin"))
    let position = "<the \(direction.fromName)'s position>"
    var actions: [PlannedAction] = []
    let plugin = context.migration.plugin
    for database in record.databases where !slots.contains(record.slot(database, direction)) {
      let slot = record.slot(database, direction)
      let publication = plugin == .pgoutput ? HandOffSQL.makePublication(slot) : []
      actions += publication.map { .init(host: from.name, database: database.name, $0) }
      actions.append(.init(host: from.name, database: database.name, HandOffSQL.createSlot, [slot, plugin.rawValue]))
    }
    actions.append(.init(host: from.name, database: from.postgres.maintenanceDatabase, HandOffSQL.flush))
    for database in record.databases {
      actions.append(
        .init(
          host: from.name, database: database.name, CutoverSQL.advanceSlot,
          [record.slot(database, direction), position]))
    }
    for origin in record.origins(direction) {
      let statement = origins.contains(origin) ? CutoverSQL.advanceOrigin : HandOffSQL.makeOrigin
      actions.append(.init(host: to.name, database: to.postgres.maintenanceDatabase, statement, [origin, position]))
    }
    return actions
  }

  private func names(_ side: Side, _ column: String, of table: String) async throws -> [String] {
    try await context.session(side).query("SELECT \(column) FROM pg_catalog.\(table)").rows.map { $0.string(0) }
  }

  /// What `dropSlots` would do.
  package func droppingSlots() async throws -> [PlannedAction] {
    let host = context.host(direction.from)
    let present = Set(try await names(direction.from, "slot_name", of: "pg_replication_slots"))
    var actions = record.slots(direction).filter(present.contains).map {
      PlannedAction(host: host.name, database: host.postgres.maintenanceDatabase, dropSlotSQL, [$0])
    }
    guard context.migration.plugin == .pgoutput else { return actions }
    for database in record.databases {
      let statement = HandOffSQL.dropPublication(record.slot(database, direction))
      actions.append(.init(host: host.name, database: database.name, statement))
    }
    return actions
  }

  /// Takes the slots away, and what they read, for they would hold the server's WAL for ever.
  package func dropSlots() async throws {
    try await MigrationCore.dropSlots(context, direction.from, names: record.slots(direction))
    guard context.migration.plugin == .pgoutput else { return }
    for database in record.databases {
      try await dropPublication(context, direction.from, record.slot(database, direction), in: database.name)
    }
  }

  package func dropOrigins() async throws {
    let session = try await context.session(direction.to)
    try await MigrationCore.dropOrigins(
      session, record.origins(direction).flatMap { [$0, HandOffNames.secondOrigin(beside: $0)] })
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

  private func advance(_ database: HandOffDatabase, to start: LSN) async throws {
    let name = record.slot(database, direction)
    do {
      try await context.withSession(direction.from, database: database.name) { session in
        try await whenFree(session, name, CutoverSQL.advanceSlot, [name, start.description])
        let row = try await session.query(
          "SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", [name]
        ).first.flatMap { LSN($0) }
        guard let row, row <= start else {
          throw ConvoyError(
            "way.slot-beyond", "slot \(name) stands at \(row?.description ?? "nothing"), beyond \(start)",
            hint: "run the playbook again")
        }
      }
    } catch {
      throw placed(error, database)
    }
  }

  private func placed(_ error: any Error, _ database: HandOffDatabase) -> any Error {
    let place = ConvoyError.Place.database(migration: context.migrationName, name: database.name)
    if let error = error as? ConvoyError { return error.placed(at: place) }
    return (error as? PostgresError)?.convoyError(at: place) ?? error
  }
}

/// Creates replication origins at a position, each in one transaction: an origin without its position would look like
/// one that has applied nothing since 0/0.
package func createOrigins(_ session: PostgresSession, _ names: [String], at position: LSN) async throws {
  for name in names {
    try await session.query(HandOffSQL.makeOrigin, [name, position.description])
  }
}

/// Drops those that exist, one after the other: the progress of one that is dropped is gone even if its transaction is
/// rolled back. A first one goes before the second one beside it, for without the first no worker begins.
package func dropOrigins(_ session: PostgresSession, _ names: [String]) async throws {
  for name in names { try await whenFree(session, name, CutoverSQL.dropOrigin, [name]) }
}

/// Runs a statement on a slot or an origin as soon as nobody holds it: the session of a worker that has just been
/// stopped, or a statement that a killed process has left behind, ends a moment later.
private func whenFree(
  _ session: PostgresSession, _ name: String, _ statement: String, _ values: [String?]
) async throws {
  try await waitUntil(
    within: .seconds(30), interval: .milliseconds(50),
    orThrow: {
      ConvoyError(
        "way.in-use", "\(name) is still in use", hint: "is a sync process of another state directory still running?")
    }
  ) {
    do {
      try await session.query(statement, values, within: .seconds(60))
      return true
    } catch let error as PostgresError where error.sqlState == .objectInUse {
      return false
    }
  }
}
