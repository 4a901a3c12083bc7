import BlockingIO
package import Journal
package import MigrationCore
package import ReplicationModel

/// Ordering a parked database to step over the transaction that it is parked at.
package enum SkipOrder {
  /// Writes the order down, if the database is parked at just that record.
  ///
  /// - Returns: the order, which the sync process carries out.
  /// - Throws: `skip.unknown-database`, `skip.not-parked`, `skip.other-lsn`; nothing is ordered then.
  package static func place(
    _ context: MigrationContext, database: String, lsn: LSN
  ) async throws -> SkipRecord {
    let statuses = try await context.recordedStatuses().map(\.status)
    guard let status = statuses.first(where: { $0.database == database }) else {
      let known = statuses.map(\.database).sorted().joined(separator: ", ")
      throw ConvoyError(
        "skip.unknown-database", "no worker has reported on database \(database)", at: place(context, database),
        hint: known.isEmpty ? "is the hand-off done?" : "databases with workers: \(known)")
    }
    guard status.phase == .parked, let parkedAt = status.parkedAt else {
      throw ConvoyError(
        "skip.not-parked", "database \(database) is not parked at a transaction: it is \(status.phase.rawValue)",
        at: place(context, database), hint: "only the transaction that a database is parked at can be stepped over",
        cause: status.lastError)
    }
    guard parkedAt == lsn else {
      throw ConvoyError(
        "skip.other-lsn", "database \(database) is parked at \(parkedAt), not at \(lsn)", at: place(context, database),
        hint: "read the error, and name the LSN in it if that change may be lost", cause: status.lastError)
    }
    let migration = context.migrationName
    let order = try await context.journal.perform { file throws(ConvoyError) in
      try file.requestSkip(migration: migration, database: database, lsn: lsn)
      let orders = try file.skips(migration: migration, database: database, pendingOnly: true)
      guard let order = orders.first(where: { $0.lsn == lsn }) else {
        throw ConvoyError("skip.gone", "the order was carried out by another process at the same moment")
      }
      return order
    }
    try await context.exchange(.order)
    return order
  }

  /// Whether a worker has reported on the database.
  package static func hasWorker(_ context: MigrationContext, database: String) async throws -> Bool {
    try await context.recordedStatuses().contains { $0.status.database == database }
  }

  /// Waits until the order is carried out; nil when it was not within the time.
  package static func outcome(
    of order: SkipRecord, _ context: MigrationContext, within limit: Duration
  ) async throws -> SkipRecord? {
    let deadline = Deadline.after(limit)
    while true {
      try await context.exchange(.order)
      let orders = try await context.journal.perform { file throws(ConvoyError) in
        try file.skips(migration: order.migration, database: order.database)
      }
      if let done = orders.first(where: { $0.id == order.id && $0.done != nil }) { return done }
      if deadline.hasPassed { return nil }
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  /// What the report says of every order.
  package static func findings(_ context: MigrationContext) async throws -> [MigrationReport.Remark] {
    let migration = context.migrationName
    guard let handOff = try await context.record()?.handOff else { return [] }
    let orders = try await context.journal.perform { file throws(ConvoyError) in try file.skips(migration: migration) }
    return orders.filter { $0.requested >= handOff.began }.map { order in
      let what =
        order.done == nil
        ? "ordered to be stepped over, which has not happened" : "stepped over: \(order.outcome ?? "not recorded")"
      return .init(
        .warning, "the transaction with the record at \(order.lsn) was \(what) (ordered by \(order.requestedBy))",
        database: order.database)
    }
  }

  private static func place(_ context: MigrationContext, _ database: String) -> ConvoyError.Place {
    .database(migration: context.migrationName, name: database)
  }
}
