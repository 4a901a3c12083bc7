import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService

/// `wait_for_lag`: nothing starts before every database is close enough, healthy, and the same as at the hand-off.
struct WaitForLagStep: DeedStep {
  var direction = StreamDirection.forward
  let deadline: Duration

  var name: String { "wait_for_lag" }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isHeldUp(direction) { return true }
    return try await context.isOver(direction)
  }

  func begin(_ context: MigrationContext) async throws {
    _ = try await context.travelling(direction)
    try await ServingServers(context).refuseOpen(direction.to, name)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let limits = context.migration.cutover
    let (record, _) = try await context.travelling(direction)
    return [
      .look(nil, "refuse when the configuration of a server is broken, or its pg_hba.conf cannot be changed") { _ in
        for side in Side.allCases { try await Fence(context: context, side: side).refuseUnfit(name) }
      },
      .look(
        direction.from,
        "refuse when a database was added, dropped or replaced since the hand-off, or when schemas differ"
      ) { _ in
        try await checkDrift(context, record)
        try await context.refuseDrift(record, direction)
        let servers = try await ServerDrift.between(context)
        if !servers.isEmpty { context.progress("not the same on both servers: \(few(servers, separator: "; "))") }
      },
      .wait(
        nil, "until every database lags by at most \(limits.maxLagBytes) bytes and \(limits.maxLag.milliseconds) ms"
      ) { _ in try await closeEnough(context, record) },
    ]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: false, "every database is close enough")
  }

  private func closeEnough(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    var worst = ""
    try await waitUntil(
      within: deadline,
      orThrow: {
        ConvoyError(
          "cutover.lag", "the lag is still too large: \(worst)", at: context.place("wait_for_lag"),
          hint: "wait for less load, or raise cutover.max_lag_bytes and max_lag_seconds")
      }
    ) {
      let statuses = try await LiveStatus.read(context)
      for status in statuses {
        if status.phase == .parked {
          throw ConvoyError(
            "cutover.parked", status.lastError ?? "parked",
            at: .database(migration: context.migrationName, name: status.database),
            hint: "mend the \(direction.toName) so that the worker can go on, or give its transaction up with "
              + "'pgconvoy skip'; then run the \(direction.noun) again")
        }
        if status.missedRows > 0 {
          throw ConvoyError(
            "cutover.missed-rows",
            "\(status.missedRows) updates or deletes found no row on the \(direction.toName)",
            at: .database(migration: context.migrationName, name: status.database),
            hint: "something else wrote to the \(direction.toName): this database needs a new hand-off")
        }
      }
      // No worker can come closer.
      if statuses.allSatisfy({ $0.phase == .stopped }), try await !isSyncRunning(context) {
        throw ConvoyError(
          "cutover.no-sync", "no sync process runs for migration \(context.migrationName): nothing comes closer",
          at: context.place("wait_for_lag"), hint: "start it with the playbook that made the copy, or 'pgconvoy sync'")
      }
      let late = statuses.filter { isLate($0, context.migration.cutover) }
      worst = late.map { "\($0.database) \($0.lagBytes.map(String.init) ?? "unknown") bytes, \($0.phase.rawValue)" }
        .joined(separator: "; ")
      return late.isEmpty && statuses.count == record.databases.count
    }
  }

  private func isLate(_ status: DatabaseStatus, _ limits: CutoverSettings) -> Bool {
    guard status.phase == .streaming || status.phase == .catchingUp, let bytes = status.lagBytes else { return true }
    if bytes > limits.maxLagBytes { return true }
    return status.lagSeconds.map { Duration.seconds($0) > limits.maxLag } ?? (status.phase != .streaming)
  }

  private func checkDrift(_ context: MigrationContext, _ record: HandOffRecord) async throws {
    let (from, to) = (direction.from, direction.toName)
    let present = try await context.allDatabases(from)
    for database in record.databases
    where !present.contains(where: { $0.oid == database.oid && $0.name == database.name }) {
      throw ConvoyError(
        "cutover.database-gone", "database \(database.name) was dropped, renamed or replaced since the hand-off",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "except it in the inventory and migrate anew, or restore it")
    }
    for database in present
    where context.migration.databases.matches(database.name)
      && !record.databases.contains(where: { $0.oid == database.oid })
    {
      throw ConvoyError(
        "cutover.new-database", "database \(database.name) was created after the hand-off and is not on the \(to)",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "copy it by hand and except it in the inventory" + (from == .source ? ", or migrate anew" : ""))
    }
  }
}
