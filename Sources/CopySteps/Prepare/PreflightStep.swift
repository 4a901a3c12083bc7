import MigrationCore
import Playbook
import Preflight
import Presentation
import ReplicationModel
import Verification

/// `preflight`: nothing is changed before it passes, and it changes nothing itself.
struct PreflightStep: DeedStep {
  var name: String { "preflight" }

  private static let report = Found<PreflightReport>("preflight.report", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool { try await !Preflight.isDue(context) }

  func begin(_ context: MigrationContext) async throws { try await context.refuseFinished() }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let count = Preflight.catalogue.count
    return [
      .look(nil, "makes \(count) checks, on both hosts, and changes nothing:") { found in
        found[Self.report] = try await look(context)
      }
    ] + Preflight.catalogue.map { .note(nil, "\($0.name): \($0.summary)") }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    StepResult(changed: false, found[Self.report].map(PreflightText.summary) ?? "")
  }

  private func look(_ context: MigrationContext) async throws -> PreflightReport {
    let report = try await Preflight.run(context)
    let grave = report.findings.filter { $0.severity != .note }
    for finding in grave {
      var line = PreflightText.line(finding) + "; " + DisplayText.visible(finding.consequence)
      if let remedy = finding.remedy { line += "; remedy: " + DisplayText.visible(remedy) }
      context.progress(line)
    }
    for check in report.checks {
      if let reason = check.notMade { context.progress("not made: \(check.name) (\(DisplayText.visible(reason)))") }
    }
    guard report.passed else { throw Self.failure(report, at: context.place("preflight")) }
    return report
  }

  /// One error that names the first finding; all of them stand in its cause.
  static func failure(_ report: PreflightReport, at place: ConvoyError.Place) -> ConvoyError {
    let errors = report.findings.filter { $0.severity == .error }.map(PreflightText.line)
    var message = HumanFormat.counted(errors.count, "error")
    if let finding = report.findings.first { message += ": " + DisplayText.visible(finding.problem) }
    if errors.count > 1 { message += ", and \(errors.count - 1) more" }
    let first = report.findings.first { $0.severity == .error }
    // A host that nobody could look at is a matter of its own, for the recap and for scripts.
    if let first, first.code.hasPrefix("ssh."), let host = first.host, case .step(let migration, _, let step) = place {
      return ConvoyError(
        ConvoyError.Code(rawValue: first.code), message, at: .step(migration: migration, host: host, step: step),
        hint: first.remedy, cause: errors.joined(separator: "\n"))
    }
    return ConvoyError(
      "preflight.failed", message, at: place,
      hint: "nothing has been changed; 'pgconvoy check' shows every finding with its remedy",
      cause: errors.joined(separator: "\n"))
  }
}
