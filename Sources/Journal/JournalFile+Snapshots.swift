import FoundationEssentials
import GRDB
public import ReplicationModel

/// What a verifier and the sync process tell each other: which database a snapshot is wanted of, up to where, and what
/// became of it. An order is gone when the verifier has what it wanted, or is gone itself.
extension JournalFile {
  /// Orders a snapshot of the target for a database that is to be compared while it is kept up to date.
  ///
  /// - Throws: `verify.in-progress` when another process is verifying that database.
  public func orderSnapshot(migration: String, database name: String) throws(ConvoyError) -> SnapshotRecord.ID {
    let me = ProcessIdentity.current()
    return try write { database in
      _ = try self.known(migration, database)
      let earlier = try ProcessIdentity.fetchOne(
        database, sql: "SELECT * FROM snapshot_orders WHERE migration = ? AND database = ?",
        arguments: [migration, name])
      if let earlier, earlier.life() != .dead {
        throw ConvoyError(
          "verify.in-progress", "process \(earlier.pid) on \(earlier.host) is verifying it",
          at: .database(migration: migration, name: name), hint: "wait until it has ended, or end it")
      }
      try database.execute(
        sql: "DELETE FROM snapshot_orders WHERE migration = ? AND database = ?", arguments: [migration, name])
      try database.execute(
        sql: """
          INSERT INTO snapshot_orders (migration, database, host, pid, boot, start_ticks) VALUES (?, ?, ?, ?, ?, ?)
          """, arguments: [migration, name, me.host, me.pid, me.boot, me.startTicks])
      let id = database.lastInsertedRowID
      try Self.raiseGeneration(migration, database)
      return id
    }
  }

  /// Names the LSN up to which the source's snapshot reaches.
  public func setSnapshotPosition(_ position: LSN, of order: SnapshotRecord.ID) throws(ConvoyError) {
    try change(
      order, sql: "UPDATE snapshot_orders SET until = ? WHERE id = ?", arguments: [position.description, order])
  }

  /// The order is over, whatever came of it; the worker lets its snapshot go.
  public func endSnapshot(_ order: SnapshotRecord.ID) throws(ConvoyError) {
    try change(order, sql: "DELETE FROM snapshot_orders WHERE id = ?", arguments: [order])
  }

  private func change(
    _ order: SnapshotRecord.ID, sql: String, arguments: StatementArguments
  ) throws(ConvoyError) {
    try write { database in
      let migration = try String.fetchOne(
        database, sql: "SELECT migration FROM snapshot_orders WHERE id = ?", arguments: [order])
      guard let migration else { return }
      try database.execute(sql: sql, arguments: arguments)
      try Self.raiseGeneration(migration, database)
    }
  }

  /// The worker's word on an order; it is the sync process that says so, hence the generation stays.
  public func answerSnapshot(
    _ order: SnapshotRecord.ID, isHeld: Bool, snapshot: String?, failure: String?
  ) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: "UPDATE snapshot_orders SET held = ?, snapshot = ?, failure = ? WHERE id = ?",
        arguments: [isHeld, snapshot, failure.map(redacted), order])
    }
  }

  /// An order as it stands; nil when it is gone.
  public func snapshotOrder(_ order: SnapshotRecord.ID) throws(ConvoyError) -> SnapshotRecord? {
    try read { database in
      try SnapshotRecord.fetchOne(database, sql: "SELECT * FROM snapshot_orders WHERE id = ?", arguments: [order])
    }
  }

  /// A migration's orders. Those of processes that are gone are ended first.
  public func snapshotOrders(migration: String) throws(ConvoyError) -> [SnapshotRecord] {
    try write { database in
      let rows = try Row.fetchAll(
        database, sql: "SELECT * FROM snapshot_orders WHERE migration = ? ORDER BY id", arguments: [migration])
      var orders: [SnapshotRecord] = []
      for row in rows {
        let order: SnapshotRecord = try row.decoded()
        if Self.isAbandoned(try row.decoded()) {
          try database.execute(sql: "DELETE FROM snapshot_orders WHERE id = ?", arguments: [order.id])
        } else {
          orders.append(order)
        }
      }
      if orders.count < rows.count { try Self.raiseGeneration(migration, database) }
      return orders
    }
  }
}

/// A verifier's order for a snapshot of the target.
public struct SnapshotRecord: Sendable, Codable, Equatable, Identifiable {
  public var id: Int64
  public var database: String
  /// Up to where the source's snapshot reaches; nil until the verifier has it.
  public var until: LSN?
  /// Whether the worker waits, or has waited, for that.
  public var isHeld: Bool
  /// What `SET TRANSACTION SNAPSHOT` takes on the target.
  public var snapshot: String?
  /// Why there will be none.
  public var failure: String?

  enum CodingKeys: String, CodingKey {
    case id, database, until, snapshot, failure
    case isHeld = "held"
  }
}
