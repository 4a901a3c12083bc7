import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// The source's half of the hand-off: a logical slot in every database, then the restore point behind them all.
struct SlotCreation {
  let context: MigrationContext
  let record: HandOffRecord

  /// - Returns: the record with L in it, and how long each database's slot took, most of it waiting.
  func run() async throws -> (record: HandOffRecord, times: [DatabaseRecord]) {
    let source = try await context.session(.source)
    try await checkDatabases(source)
    // Left over from an attempt that ended before its restore point: such a slot has no hand-off and is made anew.
    try await dropSlots(context, .source, names: record.databases.map(\.slotName))
    // Before the slots, whose making waits for the end of every transaction that may have run DDL so far.
    try await DDLTriggers.set(context, record)
    let times = try await createSlots()
    // A name of its own for every attempt: with two restore points of one name recovery stops at the first.
    let restorePoint = "\(record.names.restorePoint)_\(HandOffNames.random().nonce)"
    guard
      let handOff = try await source.query(HandOffSQL.restorePoint, [restorePoint]).first
        .flatMap({ LSN($0) })
    else {
      throw ConvoyError("handoff.no-restore-point", "the source returned no position for the restore point")
    }
    try await source.query(HandOffSQL.flush)
    try await assertSlots(source, handOff)
    let handedOff = try await context.updateHandOff { record in
      record.restorePoint = restorePoint
      record.handOffLSN = handOff
      for index in record.databases.indices { record.databases[index].state = .active }
    }
    return (handedOff, times)
  }

  /// The databases must be those of the base backup, under the same oids.
  private func checkDatabases(_ source: PostgresSession) async throws {
    let present = try await context.allDatabases(.source)
    for database in record.databases {
      guard present.contains(where: { $0.name == database.name && $0.oid == database.oid }) else {
        throw ConvoyError(
          "handoff.database-gone", "database \(database.name) was dropped or replaced since the base backup",
          at: context.place("hand_off", .source), hint: "take it out of the inventory, or make a new base backup")
      }
    }
    for database in present where context.migration.databases.matches(database.name) {
      guard record.databases.contains(where: { $0.oid == database.oid }) else {
        throw ConvoyError(
          "handoff.new-database", "database \(database.name) is newer than the base backup's list",
          at: context.place("hand_off", .source), hint: "except it in the inventory, or make a new base backup")
      }
    }
  }

  /// All databases at once: each slot waits for the transactions that are open when it begins, so waiting for one is
  /// waiting for all.
  private func createSlots() async throws -> [DatabaseRecord] {
    let watcher = Task { try await reportBlockers() }
    defer { watcher.cancel() }
    let databases = Dictionary(uniqueKeysWithValues: record.databases.map { ($0.name, $0) })
    return try await timedConcurrently(record.databases.map(\.name), limit: 8) { name in
      if let database = databases[name] { try await createSlot(database) }
    }.map(\.record)
  }

  private func createSlot(_ database: HandOffDatabase) async throws {
    let limits = context.migration.handOff
    do {
      try await context.withNewSession(.source, database: database.name) { session in
        // The creation waits on the transaction locks of everyone else; statement_timeout would not do for a walsender.
        try await session.query(
          "SELECT pg_catalog.set_config('lock_timeout', $1, false)", [String(limits.lockTimeout.milliseconds)])
        if context.migration.plugin == .pgoutput {
          // Before the slot, whose decoding looks the publication up as of each change.
          try await makePublication(session, database.publicationName)
        }
        try await session.query(
          HandOffSQL.createSlot, [database.slotName, context.migration.plugin.rawValue], within: limits.deadline)
      }
    } catch let error as PostgresError {
      guard error.sqlState == .lockNotAvailable || error.reason == .deadline else {
        throw error.convoyError(at: .database(migration: context.migrationName, name: database.name))
      }
      let blockers = try await self.blockers()
      throw ConvoyError(
        "handoff.slot-blocked",
        "slot creation waited longer than \(limits.lockTimeout.components.seconds) s for open transactions"
          + (blockers.isEmpty ? "" : ": " + blockers.joined(separator: "; ")),
        at: .database(migration: context.migrationName, name: database.name),
        hint: "end those transactions, or raise hand_off.lock_timeout; nothing has changed and the standby goes on")
    }
  }

  /// Says what the creation waits for, as long as it waits.
  private func reportBlockers() async throws {
    var said: [String] = []
    while !Task.isCancelled {
      try await Task.sleep(for: .seconds(2))
      let blockers = try await self.blockers()
      if blockers != said, !blockers.isEmpty {
        context.progress("slot creation waits for: " + blockers.joined(separator: "; "))
      }
      said = blockers
    }
  }

  /// Open transactions that write, the oldest first, and prepared ones, which have no process.
  private func blockers() async throws -> [String] {
    try await openTransactions(try await context.session(.source), olderThan: 1)
  }

  /// A slot that began behind L would have skipped what lies between.
  private func assertSlots(_ source: PostgresSession, _ handOff: LSN) async throws {
    for database in record.databases {
      let row = try await source.query(
        "SELECT confirmed_flush_lsn, datoid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
        [database.slotName]
      ).rows.first
      guard let confirmed = row?[0].flatMap({ LSN($0) }), confirmed <= handOff,
        row?[1].flatMap({ UInt32($0) }) == database.oid
      else {
        throw ConvoyError(
          "handoff.slot-beyond", "slot \(database.slotName) does not begin before the hand-off at \(handOff)",
          at: .database(migration: context.migrationName, name: database.name), hint: "run the playbook again")
      }
    }
  }
}
