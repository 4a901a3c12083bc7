import Presentation
public import ReplicationModel

/// The status as JSON; the schema is documented in docs/reference/status-json.md.
public enum StatusJSON {
  /// One document, every key always there, in the documented order, unknown values null; ended by a newline.
  public static func render(_ status: ConvoyStatus) -> String {
    JSONText.object([
      ("version", .integer(status.version)),
      ("generated_at", .string(HumanFormat.moment(status.generatedAt))),
      (
        "sync",
        .object([
          ("running", .bool(status.sync.running)), ("pid", .integer(status.sync.pid.map { UInt64(max(0, $0)) })),
        ])
      ),
      ("migrations", .array(status.migrations.map(migration))),
    ]).document
  }

  private static func migration(_ migration: ConvoyStatus.Migration) -> JSONText {
    .object([
      ("name", .string(migration.name)),
      ("source", .string(migration.source)),
      ("target", .string(migration.target)),
      ("state", .string(migration.state.rawValue)),
      ("direction", .string(migration.direction?.rawValue)),
      ("source_fenced", migration.sourceFenced.map { .bool($0) } ?? .null),
      ("target_fenced", migration.targetFenced.map { .bool($0) } ?? .null),
      ("should_be_closed", .string(migration.sideToBeClosed?.rawValue)),
      ("should_be_closed_and_is_open", migration.shouldBeClosedAndIsOpen.map { .bool($0) } ?? .null),
      ("both_open", migration.areBothOpen.map { .bool($0) } ?? .null),
      ("fence_breaches", .integer(migration.fenceBreaches)),
      ("latest_breach", migration.latestBreach.map(breach) ?? .null),
      ("closed_side_commits", .integer(migration.closedSideCommits)),
      ("hand_off_lsn", .lsn(migration.handOffLSN)),
      ("sync", migration.sync.map(sync) ?? .null),
      ("databases", .array(migration.databases.map(database))),
    ])
  }

  private static func breach(_ breach: ConvoyStatus.Migration.Breach) -> JSONText {
    .object([("at", .string(breach.at)), ("what", .string(breach.what))])
  }

  private static func sync(_ sync: ConvoyStatus.HostedSync) -> JSONText {
    .object([
      ("host", .string(sync.host)), ("manager", .string(sync.manager)),
      ("running", sync.running.map { .bool($0) } ?? .null), ("pid", .integer(sync.pid.map { UInt64(max(0, $0)) })),
    ])
  }

  private static func database(_ database: DatabaseStatus) -> JSONText {
    .object([
      ("migration", .string(database.migration)),
      ("database", .string(database.database)),
      ("phase", .string(database.phase.rawValue)),
      ("direction", .string(database.direction?.rawValue)),
      ("lag_bytes", .integer(database.lagBytes)),
      ("lag_seconds", .decimal(database.lagSeconds)),
      ("transactions_applied", .integer(database.transactionsApplied)),
      ("rows_applied", .integer(database.rowsApplied)),
      // Not optional in the schema, unlike a lag: a worker that does nothing does 0.
      ("rows_per_second", .decimal(database.rowsPerSecond.isFinite ? database.rowsPerSecond : 0)),
      ("missed_rows", .integer(database.missedRows)),
      (
        "gone_rows",
        database.goneRows.map { gone in
          .array(gone.map { .object([("table", .string($0.table)), ("rows", .integer($0.rows))]) })
        } ?? .null
      ),
      ("hand_off_lsn", .lsn(database.handOffLSN)),
      ("applied_lsn", .lsn(database.appliedLSN)),
      ("confirmed_flush_lsn", .lsn(database.confirmedFlushLSN)),
      ("source_lsn", .lsn(database.sourceLSN)),
      ("last_error", .string(database.lastError)),
      ("interrupted_seconds", .decimal(database.interruptedSeconds)),
      ("drift", database.drift.map { .array($0.map { .string($0) }) } ?? .null),
    ])
  }
}

extension JSONText {
  static func lsn(_ value: LSN?) -> JSONText { string(value?.description) }
}
