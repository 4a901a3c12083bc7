import FoundationEssentials
import HostAdmin
import Inventory
import Journal
package import MigrationCore
import PostgresClient
package import ReplicationModel

/// Compares the databases of a migration while applications write and workers apply: exactly, at one place of each
/// database's stream, with nobody held up for longer than the source takes to make a slot.
package enum OnlineVerification {
  /// How many sessions read at a time, on each side: others work there.
  private static let lanes = 2
  private static let narrowingTime = Duration.seconds(300)
  /// When a snapshot counts as held for long: what is deleted or updated meanwhile stays in the tables.
  private static let longSnapshot = Duration.seconds(60)

  /// - Parameters:
  ///   - database: only this one; nil for all.
  ///   - isSyncRunning: whether a sync process runs, whose workers apply what the comparison is to see.
  ///   - statuses: where the workers of the migration's databases are.
  /// - Returns: a report with the outcome `verified` whatever was found. A database that could not be compared has no
  ///   sides, and a finding that says why.
  /// - Throws: `verify.unknown-database`, `verify.no-sync`, and what says that the migration has no stream.
  package static func run(
    _ context: MigrationContext, database: String? = nil, isSyncRunning: @Sendable () async throws -> Bool,
    statuses: @Sendable () async throws -> [DatabaseStatus]
  ) async throws -> MigrationReport {
    let direction = try await context.record()?.direction ?? .forward
    let (record, start) = try await context.travelling(direction)
    let names = record.databases.map(\.name).filter { database == nil || $0 == database }
    if let database, names.isEmpty { throw unknown(database, record, context) }
    guard try await isSyncRunning() else {
      throw ConvoyError(
        "verify.no-sync", "no sync process runs for migration \(context.migrationName)",
        hint: "the workers have to apply what the comparison is to see: run 'pgconvoy sync' or playbooks/migrate.yml")
    }
    var report = try await empty(context, record, direction)
    report.handOffLSN = start
    let begin = ContinuousClock.now
    for name in names { try await compare(name, direction, context, statuses, &report) }
    if database == nil, report.isVerified {
      try await context.setFact(.verificationTook, wholeMilliseconds(since: begin))
    }
    return report
  }

  private static func unknown(
    _ database: String, _ record: HandOffRecord, _ context: MigrationContext
  ) -> ConvoyError {
    ConvoyError(
      "verify.unknown-database", "migration \(context.migrationName) has no database \(database)",
      hint: "its databases: \(record.databases.map(\.name).joined(separator: ", "))")
  }

  private static func empty(
    _ context: MigrationContext, _ record: HandOffRecord, _ direction: StreamDirection
  ) async throws -> MigrationReport {
    func version(_ side: Side) async throws -> String {
      try await context.session(side).query("SHOW server_version").first ?? "unknown"
    }
    var report = MigrationReport(
      generatedAt: Date(), migration: context.migrationName, source: context.migration.source.name,
      target: context.migration.target.name, outcome: .verified,
      versions: .init(
        pgconvoy: context.environment.version, source: try await version(.source), target: try await version(.target)))
    report.by = operatorName()
    report.direction = direction
    return report
  }

  private static func compare(
    _ name: String, _ direction: StreamDirection, _ context: MigrationContext,
    _ statuses: @Sendable () async throws -> [DatabaseStatus], _ report: inout MigrationReport
  ) async throws {
    report.databases.append(.init(name: name))
    do {
      let status = try await statuses().first { $0.database == name }
      if let reason = obstacle(status) {
        report.note(.failure, "not compared: \(reason)", database: name)
        return
      }
      let pair = try await SnapshotPair.open(context, database: name, direction)
      do {
        try await compare(name, pair, direction, context, &report)
        await pair.close()
      } catch {
        await pair.close()
        throw error
      }
    } catch let error as ConvoyError where error.kind == .failure {
      let hint = error.hint.map { " (\($0))" } ?? ""
      report.note(.failure, "not compared: \(error.message) [\(error.code)]\(hint)", database: name)
    } catch let error as PostgresError where error.reason != .cancelled {
      report.note(.failure, "not compared: \(error)", database: name)
    }
  }

  private static func obstacle(_ status: DatabaseStatus?) -> String? {
    switch status?.phase {
    case .parked?: "it is parked: \(status?.lastError ?? "")"
    case .streaming?, .catchingUp?, .draining?, .drained?: nil
    case let phase: "its worker does not stream: it is \(phase?.rawValue ?? "unknown")"
    }
  }

  private static func compare(
    _ name: String, _ pair: SnapshotPair, _ direction: StreamDirection, _ context: MigrationContext,
    _ report: inout MigrationReport
  ) async throws {
    context.progress("comparing database \(name) as of \(pair.position)")
    let watcher = Task {
      try await Task.sleep(for: longSnapshot)
      context.progress(
        "the snapshots of database \(name) have been held for \(longSnapshot.components.seconds) s: what is deleted or "
          + "updated meanwhile stays in the tables, and the worker is slowed down; it is safe to end this command")
    }
    defer { watcher.cancel() }
    var verification = Verification(mode: .full, progress: context.progress) { side, database in
      let session = try await context.newSession(side, database: database)
      do {
        try await session.script(SumQueries.settings)
        try await session.script(takingSnapshot(pair.names[side] ?? ""))
        try await session.script(SumQueries.savepoint)
        return session
      } catch {
        await session.close()
        throw error
      }
    }
    verification.lanes = lanes
    verification.isInSnapshot = true
    let comparisons = await verification.narrowDown(
      try await verification.run([name]), direction, within: narrowingTime)
    report.note(comparisons, direction, mode: .full)
    for comparison in comparisons {
      for difference in comparison.differences {
        let rewritten = try await verification.isRewritten(difference, in: name)
        let why = rewritten ? "was truncated or rewritten while it was compared; verify again: " : "differs: "
        report.note(.failure, "table \(difference.name) \(why)\(difference)", database: name)
      }
      if comparison.largeObjectsDiffer {
        report.note(
          .warning, "large objects differ, which no stream carries: the \(direction.noun) copies them", database: name)
      }
    }
    report.markers.append(.init(database: name, name: "snapshots", lsn: pair.position))
    let elapsed = (ContinuousClock.now - pair.began).milliseconds
    report.phases.append(.init(name: "snapshots of \(name)", milliseconds: elapsed))
  }
}

extension Verification {
  /// Whether a table's content is no longer what the snapshot could see: TRUNCATE and what rewrites a table do not
  /// leave the old rows to those who would still see them.
  func isRewritten(_ difference: TableDifference, in database: String) async throws -> Bool {
    for side in Inventory.Side.allCases {
      guard (side == .source ? difference.source : difference.target) != nil else { continue }
      let rewritten = try await with(side, database) { session in
        try await session.query(
          """
          SELECT c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = $1 AND c.relname = $2
          """, [difference.name.schema, difference.name.name]
        ).rows.first?.bool(0) ?? true
      }
      if rewritten { return true }
    }
    return false
  }
}
