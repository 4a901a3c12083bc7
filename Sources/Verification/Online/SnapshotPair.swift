import HostAdmin
import Inventory
import Journal
import LogicalDecoding
import MigrationCore
import PostgresClient
import ReplicationModel

/// One database of both servers at the same place of the stream, while it goes on: two transactions whose snapshots
/// hold just what the side that is read from had committed up to an LSN.
///
/// A logical slot's snapshot is exactly the transactions whose COMMIT ends at or before its consistent point. The worker
/// waits while the slot is made, then applies just those, has a snapshot opened on the side that it writes to, and goes
/// on at once (`SnapshotExport`). From then on nobody waits for anybody: the two transactions here hold both snapshots.
struct SnapshotPair: Sendable {
  /// The slot's consistent point.
  let position: LSN
  /// Sides' snapshots, as `SET TRANSACTION SNAPSHOT` takes them.
  let names: [Side: String]
  private let holders: [PostgresSession]
  let began = ContinuousClock.now

  /// Ends both transactions; sessions that have taken their snapshots keep them.
  func close() async {
    for holder in holders { await holder.close() }
  }

  /// How long the creation of the slot may wait for transactions that are open. The worker waits as well.
  static let slotPatience = Duration.seconds(5)
  /// How long a worker may take to see the order.
  static let workerPatience = Duration.seconds(20)
  /// How long it may take to apply what the source's snapshot holds.
  static let applyPatience = Duration.seconds(120)

  /// - Throws: `verify.in-progress`, `verify.no-worker`, `verify.slot-blocked`, `verify.worker-failed`.
  static func open(
    _ context: MigrationContext, database: String, _ direction: StreamDirection
  ) async throws -> SnapshotPair {
    let (journal, migration) = (context.journal, context.migrationName)
    let order = try await journal.perform { file throws(ConvoyError) in
      try file.orderSnapshot(migration: migration, database: database)
    }
    do {
      let pair = try await SnapshotOpening(context: context, database: database, direction: direction, order: order)
        .run()
      try await journal.perform { file throws(ConvoyError) in try file.endSnapshot(order) }
      return pair
    } catch {
      // Also when this task is cancelled: the worker must not wait.
      try? await journal.perform { file throws(ConvoyError) in try file.endSnapshot(order) }
      let place = ConvoyError.Place.database(migration: migration, name: database)
      throw (error as? PostgresError)?.convoyError(at: place) ?? (error as? ConvoyError)?.placed(at: place) ?? error
    }
  }

  fileprivate init(position: LSN, from: (Side, String, PostgresSession), to: (Side, String, PostgresSession)) {
    self.position = position
    names = [from.0: from.1, to.0: to.1]
    holders = [from.2, to.2]
  }
}

/// The way to a pair of snapshots, once the worker is told.
private struct SnapshotOpening {
  let context: MigrationContext
  let database: String
  let direction: StreamDirection
  let order: SnapshotRecord.ID

  func run() async throws -> SnapshotPair {
    _ = try await answer(
      within: SnapshotPair.workerPatience,
      orElse: ConvoyError(
        "verify.no-worker", "the database's worker does not answer",
        hint: "look at 'pgconvoy status': is it streaming, parked, or in the middle of a large transaction?")
    ) { $0.isHeld ? true : nil }
    let slot = try await makeSlot()
    let (journal, order) = (context.journal, order)
    do {
      try await journal.perform { file throws(ConvoyError) in
        try file.setSnapshotPosition(slot.position, of: order)
      }
      // Where nothing else is committed, this is beyond the position.
      let writer = try await context.session(direction.from, database: database)
      try await writer.query(CutoverSQL.marker, [HandOffNames.random().nonce])
      let from = try await hold(direction.from, slot.snapshot)
      await slot.session.close()
      do {
        let snapshot = try await answer(
          within: SnapshotPair.applyPatience,
          orElse: ConvoyError(
            "verify.worker-late", "the worker has not come as far as \(slot.position) in time",
            hint: "verify when the lag is small")
        ) { $0.snapshot }
        let to = try await hold(direction.to, snapshot)
        return SnapshotPair(
          position: slot.position, from: (direction.from, from.name, from.session),
          to: (direction.to, to.name, to.session))
      } catch {
        await from.session.close()
        throw error
      }
    } catch {
      await slot.session.close()
      throw error
    }
  }

  /// Waits for the worker's word on the order.
  private func answer<Value: Sendable>(
    within limit: Duration, orElse late: ConvoyError, _ read: (SnapshotRecord) -> Value?
  ) async throws -> Value {
    let (journal, id) = (context.journal, order)
    var value: Value?
    try await waitUntil(within: limit, interval: .milliseconds(30), orThrow: { late }) {
      guard let order = try await journal.perform({ file throws(ConvoyError) in try file.snapshotOrder(id) }) else {
        throw ConvoyError("verify.order-gone", "the order was removed by another process", hint: "verify again")
      }
      if let failure = order.failure {
        throw ConvoyError("verify.worker-failed", failure, hint: "verify again; nothing has changed")
      }
      value = read(order)
      return value != nil
    }
    guard let value else { throw late }
    return value
  }

  private struct Slot {
    var session: PostgresSession
    var position: LSN
    var snapshot: String
  }

  /// A temporary slot, which ends with its session, and its snapshot, which ends with the session's next command.
  private func makeSlot() async throws -> Slot {
    var parameters = try await context.parameters(direction.from, database: database)
    parameters.isReplication = true
    parameters.settings["lock_timeout"] = String(SnapshotPair.slotPatience.milliseconds)
    let session = try await PostgresSession.connect(parameters)
    do {
      let row = try await session.script(
        """
        CREATE_REPLICATION_SLOT "pgconvoy_verify_\(HandOffNames.random().nonce)" TEMPORARY LOGICAL \
        \(context.migration.plugin.name) EXPORT_SNAPSHOT
        """, within: SnapshotPair.slotPatience * 4
      ).rows.first
      guard let position = row?[1].flatMap({ LSN($0) }), let snapshot = row?[2] else {
        throw PostgresError(
          .unexpectedReply, message: "a slot without a snapshot", server: session.parameters.displayName)
      }
      return Slot(session: session, position: position, snapshot: snapshot)
    } catch let error as PostgresError where error.sqlState == .lockNotAvailable || error.reason == .deadline {
      await session.close()
      let open = try await openTransactions(try await context.session(direction.from), olderThan: 1)
      throw ConvoyError(
        "verify.slot-blocked",
        "a slot cannot be made while transactions are open" + (open.isEmpty ? "" : ": " + few(open, separator: "; ")),
        hint: "verify again when they have ended; the worker goes on")
    } catch {
      await session.close()
      throw error
    }
  }

  /// A transaction with the snapshot, which hands it on under a name of its own.
  private func hold(_ side: Side, _ snapshot: String) async throws -> (name: String, session: PostgresSession) {
    let session = try await context.newSession(side, database: database)
    do {
      try await session.script(takingSnapshot(snapshot))
      let name = try await session.query("SELECT pg_catalog.pg_export_snapshot()").first
      guard let name else {
        throw PostgresError(
          .unexpectedReply, message: "a snapshot without a name", server: session.parameters.displayName)
      }
      return (name, session)
    } catch {
      await session.close()
      throw error
    }
  }
}

/// Begins a transaction that sees what another one sees.
func takingSnapshot(_ name: String) -> String {
  "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT \(quotedLiteral(name))"
}
