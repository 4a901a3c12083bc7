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
    goneRows = snapshot.goneRows.sorted { $0.key < $1.key }.map { GoneRows(table: $0.key, rows: $0.value) }
    if snapshot.goneRows.isEmpty { goneRows = nil }
    lagSeconds = snapshot.secondsBehind
    lastError = snapshot.lastError
    interruptedAt = snapshot.interruptedAt
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
    goneRows = Dictionary((status.goneRows ?? []).map { ($0.table, $0.rows) }) { $0 + $1 }
  }
}
