package import DatabaseSync
package import ReplicationModel

extension DatabaseStatus {
  package init(_ snapshot: WorkerSnapshot, _ assignment: WorkerAssignment) {
    self.init(migration: snapshot.migration, database: snapshot.database, phase: snapshot.phase)
    direction = assignment.direction
    handOffLSN = assignment.handOff
    appliedLSN = snapshot.position == .invalid ? nil : snapshot.position
    transactionsApplied = snapshot.transactions
    rowsApplied = snapshot.changes
    rowsPerSecond = snapshot.changesPerSecond
    missedRows = snapshot.missedRows
    goneRows = snapshot.goneRows.isEmpty ? nil : snapshot.goneRows
    lagSeconds = snapshot.secondsBehind
    lastError = snapshot.lastError
    parkedAt = snapshot.phase == .parked ? snapshot.parkedAt : nil
  }
}

extension WorkerSnapshot {
  /// What an earlier worker had counted.
  init(_ status: DatabaseStatus) {
    self.init(migration: status.migration, database: status.database)
    transactions = status.transactionsApplied
    changes = status.rowsApplied
    missedRows = status.missedRows
    goneRows = status.goneRows ?? [:]
  }
}
