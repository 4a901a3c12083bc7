import MigrationCore
import Playbook
import Preflight
import ReplicationModel
import Verification

/// `preflight`: nothing is changed before it passes, and it changes nothing itself.
struct PreflightStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    [PlannedAction(.note, "makes \(Preflight.catalogue.count) checks, on both hosts, and changes nothing:")]
      + Preflight.catalogue.map { PlannedAction(.note, "\($0.name): \($0.summary)") }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await !Preflight.isDue(context) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    try await context.refuseFinished()
    let report = try await Preflight.run(context)
    let grave = report.findings.filter { $0.severity != .note }
    for finding in grave {
      var line = PreflightText.line(finding) + "; " + PreflightText.visible(finding.consequence)
      if let remedy = finding.remedy { line += "; remedy: " + PreflightText.visible(remedy) }
      context.progress(line)
    }
    for check in report.checks {
      if let reason = check.notMade { context.progress("not made: \(check.name) (\(PreflightText.visible(reason)))") }
    }
    guard report.passed else { throw Self.failure(report, at: context.place("preflight")) }
    return StepResult(changed: false, PreflightText.summary(report))
  }

  /// One error that names the first finding; all of them stand in its cause.
  static func failure(_ report: PreflightReport, at place: ConvoyError.Place) -> ConvoyError {
    let errors = report.findings.filter { $0.severity == .error }.map(PreflightText.line)
    var message = PreflightText.counted(errors.count, "error")
    if let finding = report.findings.first { message += ": " + PreflightText.visible(finding.problem) }
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
