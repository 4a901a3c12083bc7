import BlockingIO
import ClosingReports
import FoundationEssentials
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService

/// `report`: finishes the report and writes it beside the journal.
struct ReportStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { StepName.report }

  private static let written = Found<WrittenReport>("report.written", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool {
    guard let nonce = try await context.record()?.handOff?.names.nonce,
      let written = try await context.fact(.writtenReport)
    else { return false }
    guard try await context.isOver(direction) else { return false }
    let opened = try await context.fact(.opened)
    return written.nonce == nonce && written.opened == opened
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let nonce = try await context.record()?.handOff?.names.nonce ?? "<nonce>"
    let directory = ReportFiles(stateDirectory: context.environment.stateDirectory.path)
    let path = directory.path(migration: context.migrationName, nonce: nonce, number: nil)
    return [.act(nil, "write \(path)") { found in found[Self.written] = try await write(context) }]
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    guard let written = found[Self.written] else { return StepResult(changed: false, "") }
    if try await context.isOver(direction) { try await context.refuseWrittenBehind(direction) }
    return StepResult(changed: true, "wrote \(written.path), SHA-256 \(written.seal ?? "")")
  }

  private func write(_ context: MigrationContext) async throws -> WrittenReport {
    let (record, _) = try await context.completedHandOff()
    let isOver = try await context.isOver(direction)
    let opened = try await context.fact(.opened)
    let migration = context.migrationName
    let steps = try await context.journal.perform { file throws(ConvoyError) in try file.steps(migration: migration) }
    let phases = ReportFiles.phases(steps)
    let skips = try await SkipOrder.findings(context)
    try await context.updateReport { report in
      report.findings.removeAll { finding in skips.contains(finding) }
      report.findings += skips
      report.generatedAt = Date()
      report.outcome = !isOver ? .verified : direction == .forward ? .cutOver : .rolledBack
      if !phases.isEmpty { report.phases = phases }
    }
    let report = try await context.report()
    let files = ReportFiles(stateDirectory: context.environment.stateDirectory.path)
    let nonce = record.names.nonce
    let (path, seal) = try await onDedicatedThread("report") {
      try files.write(report, migration: migration, nonce: nonce)
    }
    let written = WrittenReport(
      path: path, nonce: nonce, outcome: report.outcome, seal: seal, opened: isOver ? opened : nil)
    try await context.setFact(.writtenReport, written)
    return written
  }
}
