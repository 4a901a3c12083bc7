import HostAdmin
import Inventory
import Journal
import LogicalDecoding
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel
import StatementReplication

/// The source's half of the hand-off: a logical slot in every database, then the restore point behind them all.
struct SlotCreation {
  let context: MigrationContext
  let record: HandOffRecord
  /// The step that it is part of, for errors.
  var step = "hand_off"

  private static let restorePoint = "hand_off.restore_point"
  private static let lsn = Found<String>("hand_off.lsn", placeholder: "<hand-off>")

  /// The standby stops, whatever an attempt before has left goes, and every database gets its slot. All at once: each
  /// slot waits for the transactions that are open when it begins, so waiting for one is waiting for all.
  func makingSlots() async throws -> [Deed] {
    let names = record.databases.map(\.name)
    // Left over from an attempt that ended before its restore point: such a slot has no hand-off and is made anew.
    let leftovers = try await SlotDeeds.dropping(context, .source, record.databases.map(\.slotName))
    // Stopped by an attempt before, it stands still already.
    var runs = true
    if try await context.state() == .standby { runs = try await context.server(.target).isRunning() }
    return (runs ? [.say("stopping the standby"), .server(.target, .stop)] : []) + [
      .aside { _ in try await checkDatabases(context.session(.source)) }
    ] + leftovers
      // Before the slots, whose making waits for the end of every transaction that may have run DDL so far.
      + DDLTriggers.setting(context, record.names, names) + [
        .watching([.together(record.databases.map { [.database($0.name, making($0))] }, atMost: 8)]) {
          try await reportBlockers()
        },
        .aside { _ in try await context.setFact(.slotsMade, record.names.nonce) },
      ]
  }

  /// L: the end of a record behind all slots, made durable.
  func settingRestorePoint() -> [Deed] {
    // A name of its own for every attempt: with two restore points of one name recovery stops at the first.
    let name = Found<String>(Self.restorePoint, placeholder: "\(record.names.restorePoint)_NONCE")
    var point = StatementDeed(.source, HandOffSQL.restorePoint, [.found(name)])
    point.finds = Self.lsn
    return [
      .aside { found in
        try await checkDatabases(context.session(.source))
        found[name] = "\(record.names.restorePoint)_\(HandOffNames.random().nonce)"
      },
      .statement(point),
      .sql(.source, HandOffSQL.flush),
      .aside { found in
        guard let restorePoint = found[name], let handOff = found[Self.lsn].flatMap({ LSN($0) }) else {
          throw ConvoyError("handoff.no-restore-point", "the source returned no position for the restore point")
        }
        try await assertSlots(context.session(.source), handOff)
        try await context.updateHandOff { record in
          record.restorePoint = restorePoint
          record.handOffLSN = handOff
          for index in record.databases.indices { record.databases[index].state = .active }
        }
      },
    ]
  }

  /// Whether the slots of the hand-off in hand are there, or have served their purpose.
  static func isMade(_ context: MigrationContext) async throws -> Bool {
    guard let record = try await context.record()?.handOff else { return false }
    if record.handOffLSN != nil { return true }
    guard try await context.fact(.slotsMade) == record.names.nonce else { return false }
    let present = try await context.present(.source, "slot_name", of: "pg_replication_slots")
    return record.databases.allSatisfy { present.contains($0.slotName) }
  }

  /// After a failure: the source must not keep WAL for slots that nobody will read; the standby goes on as before.
  static func takeBack(_ context: MigrationContext, step: String) async {
    guard let record = try? await context.record()?.handOff, record.handOffLSN == nil else { return }
    let slots = SlotCreation(context: context, record: record)
    for deeds in [slots.liftingTriggers, slots.droppingSlots, slots.startingStandby] {
      if let deeds = try? await deeds() {
        try? await DeedPerformer(context, step: step, isUndo: true).perform(deeds)
      }
    }
  }

  func liftingTriggers() async throws -> [Deed] {
    try await DDLTriggers.lifting(context, .source, record.names, record.databases.map(\.name))
  }

  func droppingSlots() async throws -> [Deed] {
    try await [.aside { _ in try await context.removeFact(.slotsMade) }]
      + SlotDeeds.dropping(context, .source, record.databases.map(\.slotName))
      + SlotDeeds.droppingPublications(context, .source, record.databases.map { ($0.name, $0.publicationName) })
  }

  func startingStandby() async throws -> [Deed] { [.server(.target, .start)] }

  /// The databases must be those of the base backup, under the same oids.
  private func checkDatabases(_ source: PostgresSession) async throws {
    let present = try await context.allDatabases(.source)
    for database in record.databases {
      guard present.contains(where: { $0.name == database.name && $0.oid == database.oid }) else {
        throw ConvoyError(
          "handoff.database-gone", "database \(database.name) was dropped or replaced since the base backup",
          at: context.place(step, .source), hint: "take it out of the inventory, or make a new base backup")
      }
    }
    for database in present where context.migration.databases.matches(database.name) {
      guard record.databases.contains(where: { $0.oid == database.oid }) else {
        throw ConvoyError(
          "handoff.new-database", "database \(database.name) is newer than the base backup's list",
          at: context.place(step, .source), hint: "except it in the inventory, or make a new base backup")
      }
    }
  }

  private func making(_ database: HandOffDatabase) -> [Deed] {
    let limits = context.migration.handOff
    return SlotDeeds.making(
      context, .source, database.slotName, in: database.name, within: limits.deadline,
      // The creation waits on the transaction locks of everyone else; statement_timeout would not do for a walsender.
      settings: ["lock_timeout": String(limits.lockTimeout.milliseconds)]
    ) { error in
      guard error.sqlState == .lockNotAvailable || error.reason == .deadline else {
        return error.convoyError(at: .database(migration: context.migrationName, name: database.name))
      }
      let blockers = try await self.blockers()
      return ConvoyError(
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
