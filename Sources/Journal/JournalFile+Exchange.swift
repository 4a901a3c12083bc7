import FoundationEssentials
import GRDB
public import ReplicationModel

/// A sync process on another machine has a journal of its own. Orders go there, and its words come back: each side
/// writes what is its own and reads the rest.
extension JournalFile {
  // MARK: where plays run

  /// What the migration's sync process is to know now.
  ///
  /// - Throws: `journal.unknown-migration`.
  public func syncOrders(migration name: String) throws(ConvoyError) -> SyncOrders {
    let journal = try ownName(for: name)
    let statuses = try recordedStatuses(migration: name).map(\.status)
    let snapshots = try snapshotOrders(migration: name)
    let skips = try skips(migration: name, pendingOnly: true)
    // Last, so that what is told is at least as new as its generation says.
    let record = try read { try self.known(name, $0) }
    return SyncOrders(
      journal: journal, by: operatorName(), generation: record.generation, migration: name, source: record.source,
      target: record.target, state: record.state, direction: record.direction, desiredSync: record.desiredSync,
      handOff: record.handOff, skips: skips, snapshots: snapshots, counted: statuses)
  }

  /// Writes down what the process has answered. What is older than what is known is passed over: several may ask.
  public func takeReport(_ report: SyncReport, migration name: String) throws(ConvoyError) {
    try write { database in
      for word in report.statuses where word.status.migration == name {
        try Self.record(word.status, Date(timeIntervalSinceNow: -max(0, word.age)), database)
      }
    }
    for skip in report.skipped { try skipDone(skip.id, outcome: skip.outcome) }
    for order in report.snapshots where order.isHeld || order.failure != nil {
      try answerSnapshot(order.id, isHeld: order.isHeld, snapshot: order.snapshot, failure: order.failure)
    }
  }

  private static func record(_ status: DatabaseStatus, _ moment: Date, _ database: Database) throws {
    let text = String(decoding: try JSONEncoder().encode(status), as: UTF8.self)
    try database.execute(
      sql: """
        INSERT INTO database_statuses (migration, database, status, recorded) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET status = excluded.status, recorded = excluded.recorded
          WHERE excluded.recorded >= recorded
        """,
      arguments: [status.migration, status.database, text, Moment(moment)])
  }

  static let ownNameKey = "sync_orders_from"

  /// By which a process knows whose orders it follows; drawn at the first use.
  private func ownName(for migration: String) throws(ConvoyError) -> String {
    if let known: String = try fact(forKey: Self.ownNameKey, migration: migration) { return known }
    try setFact(HandOffNames.random().nonce, forKey: Self.ownNameKey, migration: migration)
    return try fact(forKey: Self.ownNameKey, migration: migration) ?? ""
  }

  // MARK: where the process runs

  /// Whose orders are followed, in the process's own journal.
  private struct Followed: Codable {
    var journal: String
    var by: String
    var generation: Int64
  }

  static let followedKey = "sync_orders_followed"

  /// Whether this is the journal of a process on a host, which follows the orders of another one.
  public func followsOrders(migration name: String) throws(ConvoyError) -> Bool {
    try fact(Followed.self, forKey: Self.followedKey, migration: name) != nil
  }

  /// Follows the orders, unless they only ask, are older than the latest, or come from somebody else.
  public func take(_ message: SyncMessage) throws(ConvoyError) -> SyncReport {
    let orders = message.orders
    if message.exchange != .look {
      try registerMigration(orders.migration, source: orders.source, target: orders.target)
    }
    let answer = message.exchange == .look ? .looked : try follow(orders, takesOver: message.exchange == .takeOver)
    let process = try SyncProcessLock.status(stateDirectory: directory)
    let due = Set(orders.skips.map(\.id))
    let now = Date()
    return SyncReport(
      answer: answer,
      follows: try fact(Followed.self, forKey: Self.followedKey, migration: orders.migration)?.by,
      running: process.running, pid: process.pid,
      statuses: try recordedStatuses(migration: orders.migration).map {
        SyncReport.Status(status: $0.status, age: max(0, now.timeIntervalSince($0.recorded)))
      },
      skipped: try skips(migration: orders.migration).filter { due.contains($0.id) && $0.done != nil },
      snapshots: try read { database in
        try SnapshotRecord.fetchAll(
          database, sql: "SELECT * FROM snapshot_orders WHERE migration = ?", arguments: [orders.migration])
      })
  }

  /// In one transaction: what the process reads then is all of it.
  private func follow(_ orders: SyncOrders, takesOver: Bool) throws(ConvoyError) -> SyncReport.Answer {
    try write { database in
      if let followed = try Self.followed(orders.migration, database), !takesOver {
        guard followed.journal == orders.journal else { return .followsAnother }
        guard followed.generation <= orders.generation else { return .stale }
      }
      let before = try self.known(orders.migration, database)
      if let handOff = orders.handOff, before.handOff != handOff {
        let isKnown =
          try Int.fetchOne(
            database, sql: "SELECT count(*) FROM hand_offs WHERE nonce = ?", arguments: [handOff.names.nonce]) != 0
        if isKnown { try handOff.update(database) } else { try handOff.insert(database, migration: orders.migration) }
      }
      try database.execute(
        sql: "UPDATE migrations SET state = ?, direction = ?, desired_sync = ?, nonce = ? WHERE name = ?",
        arguments: [
          orders.state.rawValue, orders.direction.rawValue, orders.desiredSync.rawValue,
          orders.handOff?.names.nonce, orders.migration,
        ])
      let isOther =
        before.handOff != orders.handOff || before.desiredSync != orders.desiredSync
        || before.state != orders.state || before.direction != orders.direction
      let hasSkips = try Self.take(orders.skips, database)
      let hasSnapshots = try Self.take(orders.snapshots, migration: orders.migration, database)
      for status in orders.counted {
        try database.execute(
          sql: "INSERT OR IGNORE INTO database_statuses (migration, database, status, recorded) VALUES (?, ?, ?, ?)",
          arguments: [
            status.migration, status.database, String(decoding: try JSONEncoder().encode(status), as: UTF8.self),
            Moment(Date(timeIntervalSince1970: 0)),
          ])
      }
      if isOther || hasSkips || hasSnapshots { try Self.raiseGeneration(orders.migration, database) }
      let followed = Followed(journal: orders.journal, by: orders.by, generation: orders.generation)
      try database.execute(
        sql: "INSERT OR REPLACE INTO facts (migration, key, value) VALUES (?, ?, ?)",
        arguments: [
          orders.migration, Self.followedKey, String(decoding: try JSONEncoder().encode(followed), as: UTF8.self),
        ])
      return .followed
    }
  }

  private static func followed(_ migration: String, _ database: Database) throws -> Followed? {
    let text = try String.fetchOne(
      database, sql: "SELECT value FROM facts WHERE migration = ? AND key = ?", arguments: [migration, followedKey])
    return try text.map { try JSONDecoder().decode(Followed.self, from: Data($0.utf8)) }
  }

  /// - Returns: whether there is a new one.
  private static func take(_ skips: [SkipRecord], _ database: Database) throws -> Bool {
    var isNew = false
    for skip in skips {
      try database.execute(
        sql: """
          INSERT OR IGNORE INTO skips (id, migration, database, lsn, requested_by, requested) VALUES (?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          skip.id, skip.migration, skip.database, skip.lsn.description, skip.requestedBy, Moment(skip.requested),
        ])
      isNew = isNew || database.changesCount > 0
    }
    return isNew
  }

  /// - Returns: whether one is new, gone, or has its position now.
  private static func take(_ orders: [SnapshotRecord], migration: String, _ database: Database) throws -> Bool {
    let known = try SnapshotRecord.fetchAll(
      database, sql: "SELECT * FROM snapshot_orders WHERE migration = ?", arguments: [migration])
    var isOther = false
    for gone in known where !orders.contains(where: { $0.id == gone.id }) {
      try database.execute(sql: "DELETE FROM snapshot_orders WHERE id = ?", arguments: [gone.id])
      isOther = true
    }
    for order in orders {
      let before = known.first { $0.id == order.id }
      isOther = isOther || before == nil || before?.until != order.until
      try database.execute(
        sql: """
          INSERT INTO snapshot_orders (id, migration, database, host, pid, boot, start_ticks, until)
          VALUES (?, ?, ?, ?, 0, '', ?, ?)
          ON CONFLICT (id) DO UPDATE SET until = excluded.until, start_ticks = excluded.start_ticks
          """,
        arguments: [
          order.id, migration, order.database, ordererElsewhere, String(milliseconds(.now)), order.until?.description,
        ])
    }
    return isOther
  }

  // MARK: verifiers on another machine

  /// In the place of a verifier's host: it is on another machine, and is gone when it has said nothing for a while.
  private static let ordererElsewhere = "(elsewhere)"
  private static let patience: Int64 = 30_000

  private static func milliseconds(_ moment: Moment) -> Int64 {
    Int64.fromDatabaseValue(moment.databaseValue) ?? 0
  }

  /// Whether the verifier is gone whose order this is.
  static func isAbandoned(_ orderer: ProcessIdentity) -> Bool {
    guard orderer.host == ordererElsewhere else { return orderer.life() == .dead }
    return milliseconds(.now) - (Int64(orderer.startTicks) ?? 0) > patience
  }
}
