package import Inventory
package import Journal
package import ReplicationModel

extension StreamDirection {
  /// The side that serves applications while changes travel this way, and that a cutover closes.
  package var from: Side { self == .forward ? .source : .target }
  /// The side that is kept up to date, and that a cutover opens.
  package var to: Side { self == .forward ? .target : .source }
  /// Their names in a message.
  package var fromName: String { from.rawValue }
  package var toName: String { to.rawValue }
  /// Where the migration stands when a cutover this way is over.
  package var endState: MigrationState { self == .forward ? .cutOver : .rolledBack }
  /// What a person calls such a cutover.
  package var noun: String { self == .forward ? "cutover" : "rollback" }
  package var playbook: String { "playbooks/\(noun).yml" }

  /// The cutover that closes a side.
  package init(closing side: Side) { self = side == .source ? .forward : .reverse }
}

extension HandOffRecord {
  /// The slot that this database's changes are read from.
  package func slot(_ database: HandOffDatabase, _ direction: StreamDirection) -> String {
    direction == .forward ? database.slotName : names.reverseSlot(databaseOID: database.oid)
  }

  /// The replication origin that says how many of them have been applied.
  package func origin(_ database: HandOffDatabase, _ direction: StreamDirection) -> String {
    direction == .forward ? database.originName : names.reverseOrigin(databaseOID: database.oid)
  }

  package func slots(_ direction: StreamDirection) -> [String] { databases.map { slot($0, direction) } }
  package func origins(_ direction: StreamDirection) -> [String] { databases.map { origin($0, direction) } }

  /// Where the streams of a direction begin; nil when there are none.
  package func start(_ direction: StreamDirection) -> LSN? {
    direction == .forward ? forwardLSN ?? handOffLSN : reverseLSN
  }

  /// Where the migration stands while changes travel this way and nobody is held up.
  package func restState(_ direction: StreamDirection) -> MigrationState {
    direction == .reverse ? .cutOver : forwardLSN == nil ? .handedOff : .rolledBack
  }
}

extension MigrationContext {
  package nonisolated func host(_ side: Side) -> Inventory.Host { migration.host(side) }

  /// Whether the cutover of a direction is over: then none of its steps has anything left to do.
  package func isOver(_ direction: StreamDirection) async throws -> Bool { try await state() == direction.endState }

  /// Whether the fence of a cutover of this direction has gone up.
  package func isHeldUp(_ direction: StreamDirection) async throws -> Bool {
    guard let record = try await record() else { return false }
    return record.state.isHeldUp && record.direction == direction
  }

  /// The hand-off of a migration whose changes travel this way now, and where its streams began.
  ///
  /// - Throws: `migration.not-handed-off`, `migration.finished`; `migration.not-cut-over`, `migration.cut-over` when
  ///   changes travel the other way; `migration.no-way-back` when the target was opened without one.
  package func travelling(_ direction: StreamDirection) async throws -> (record: HandOffRecord, start: LSN) {
    let (handOff, _) = try await completedHandOff()
    let record = try await record()
    let state = record?.state ?? .none
    guard record?.direction == direction else {
      throw direction == .reverse
        ? ConvoyError(
          "migration.not-cut-over", "migration \(migrationName) is \(state.rawValue): there is nothing to roll back",
          hint: "a rollback is for a migration whose target is open")
        : ConvoyError(
          "migration.cut-over",
          state == .cutOver
            ? "migration \(migrationName) is cut over"
            : "migration \(migrationName) is \(state.rawValue), in the middle of a rollback",
          hint: state == .cutOver
            ? "to go back, run \(StreamDirection.reverse.playbook)"
            : "run \(StreamDirection.reverse.playbook) again, or unfence.yml to leave the target open")
    }
    guard let start = handOff.start(direction) else {
      throw ConvoyError(
        "migration.no-way-back", "the target of migration \(migrationName) was opened without a way back",
        hint: "what was written on it since can only be carried over by hand, or by a migration the other way")
    }
    return (handOff, start)
  }
}
