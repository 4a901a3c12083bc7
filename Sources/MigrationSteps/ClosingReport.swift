import BlockingIO
import Journal
public import ReplicationModel

/// Reading the report of a migration, for the command line to print.
public enum ClosingReport {
  /// The report as it was written last; where its file is gone, as the journal has it. Nil when none was written.
  ///
  /// - Throws: errors of the journal; `report.unreadable` for a file that is no report.
  public static func latest(_ context: MigrationContext) async throws -> MigrationReport? {
    guard let path = try await path(context) else { return nil }
    let files = ReportFiles(stateDirectory: context.environment.stateDirectory.path)
    if let report = try await onDedicatedThread("report", { try files.read(path) }) { return report }
    return try await context.fact(FactKey.report, as: MigrationReport.self)
  }

  /// Where the report was written last.
  public static func path(_ context: MigrationContext) async throws -> String? {
    try await context.fact(FactKey.writtenReport, as: WrittenReport.self)?.path
  }
}
