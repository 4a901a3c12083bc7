import BlockingIO
package import MigrationCore
package import ReplicationModel
import StatusReport

/// Reading the report of a migration, for the command line to print.
package enum ClosingReport {
  /// A report as it stands in its document.
  package struct Document: Sendable {
    package var report: MigrationReport
    /// The sealed JSON document, to the letter; from the journal, where its file is gone.
    package var json: String
    /// The SHA-256 that it bears.
    package var seal: String? { SealedReport.hashes(json)?.borne }
  }

  /// The report as it was written last; where its file is gone, as the journal has it. Nil when none was written.
  ///
  /// - Throws: errors of the journal; `report.changed` for a file that was changed after it was written,
  ///   `report.unreadable` for one that is no report.
  package static func latest(_ context: MigrationContext) async throws -> Document? {
    guard let written = try await context.fact(.writtenReport) else { return nil }
    if let document = try await read(written.path, seal: written.seal) { return document }
    guard let report = try await context.fact(.report) else { return nil }
    return Document(report: report, json: SealedReport.seal(MigrationReportJSON.render(report)).text)
  }

  /// A document from anywhere; nil when there is no such file.
  ///
  /// - Throws: `report.changed`, `report.unreadable`.
  package static func read(path: String) async throws -> Document? { try await read(path, seal: nil) }

  private static func read(_ path: String, seal: String?) async throws -> Document? {
    try await onDedicatedThread("report") { try ReportFiles.read(path, seal: seal) }
      .map { Document(report: $0.report, json: $0.text) }
  }

  /// Where the report was written last.
  package static func path(_ context: MigrationContext) async throws -> String? {
    try await context.fact(.writtenReport)?.path
  }
}
