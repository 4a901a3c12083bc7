import Presentation
public import ReplicationModel

/// The closing report as JSON; `MigrationReport` decodes it. The schema is documented in docs/reference/status-json.md.
public enum MigrationReportJSON {
  /// One document, every key always there, in the documented order, what was not measured null.
  public static func render(_ report: MigrationReport) -> String { value(report).document }

  /// Several of them, as `pgconvoy verify` prints them.
  public static func render(verifications: [MigrationReport]) -> String {
    JSONText.object([
      ("version", .integer(MigrationReport.currentVersion)), ("verifications", .array(verifications.map(value))),
    ]).document
  }

  private static func value(_ report: MigrationReport) -> JSONText {
    .object([
      ("version", .integer(report.version)),
      ("generated_at", .string(HumanFormat.moment(report.generatedAt))),
      ("by", .string(report.by)),
      ("migration", .string(report.migration)),
      ("source", .string(report.source)),
      ("target", .string(report.target)),
      ("outcome", .string(report.outcome.rawValue)),
      (
        "versions",
        .object([
          ("pgconvoy", .string(report.versions.pgconvoy)),
          ("source", .string(report.versions.source)),
          ("target", .string(report.versions.target)),
          ("application", .string(report.versions.application)),
        ])
      ),
      ("direction", .string(report.direction.rawValue)),
      ("hand_off_lsn", .lsn(report.handOffLSN)),
      ("way_lsn", .lsn(report.wayLSN)),
      ("downtime_ms", .integer(report.downtimeMilliseconds)),
      (
        "phases",
        .array(report.phases.map { .object([("name", .string($0.name)), ("ms", .integer($0.milliseconds))]) })
      ),
      ("databases", .array(report.databases.map(database))),
      (
        "markers",
        .array(
          report.markers.map { marker in
            .object([
              ("database", .string(marker.database)), ("name", .string(marker.name)), ("lsn", .lsn(marker.lsn)),
              ("changes_before", .integer(marker.changesBefore)),
            ])
          })
      ),
      (
        "findings",
        .array(
          report.findings.map { finding in
            .object([
              ("severity", .string(finding.severity.rawValue)), ("database", .string(finding.database)),
              ("text", .string(finding.text)),
            ])
          })
      ),
    ])
  }

  private static func database(_ database: MigrationReport.Database) -> JSONText {
    .object([
      ("name", .string(database.name)),
      ("hand_off_lsn", .lsn(database.handOffLSN)),
      ("transactions_applied", .integer(database.transactionsApplied)),
      ("rows_applied", .integer(database.rowsApplied)),
      ("sequences_set", .integer(database.sequencesSet)),
      ("tables_verified", .integer(database.tablesVerified)),
      ("source", side(database.source)),
      ("target", side(database.target)),
      ("equal", database.isEqual.map { .bool($0) } ?? .null),
      ("tables", database.tables.map { .array($0.map(table)) } ?? .null),
      ("sequences", database.sequences.map { .array($0.map(sequence)) } ?? .null),
    ])
  }

  private static func name(_ name: RelationName) -> JSONText {
    .object([("schema", .string(name.schema)), ("name", .string(name.name))])
  }

  private static func table(_ table: MigrationReport.Table) -> JSONText {
    .object([
      ("name", name(table.name)), ("source", side(table.source)), ("target", side(table.target)),
      ("equal", .bool(table.isEqual)), ("sampled", table.isSample.map { .bool($0) } ?? .null),
      ("differences", table.differences.map(rows) ?? .null),
    ])
  }

  private static func rows(_ rows: RowDifferences) -> JSONText {
    func keys(_ keys: [String]) -> JSONText { .array(keys.map { .string($0) }) }
    return .object([
      ("missing", keys(rows.missing)), ("extra", keys(rows.extra)), ("different", keys(rows.different)),
      ("complete", .bool(rows.isComplete)),
    ])
  }

  private static func sequence(_ sequence: MigrationReport.Sequence) -> JSONText {
    .object([
      ("name", name(sequence.name)), ("last_value", .integer(sequence.lastValue)),
      ("is_called", .bool(sequence.isCalled)),
    ])
  }

  private static func side(_ side: MigrationReport.Side?) -> JSONText {
    guard let side else { return .null }
    return .object([("rows", .integer(side.rows)), ("checksum", .string(side.checksum))])
  }
}
