import Inventory
import Journal
package import MigrationCore
package import ReplicationModel

/// Everything that would make a migration fail or lose data, found before anything is changed.
///
/// It changes nothing on either host: no file, no slot, no role. All findings are collected; a check that lacks what
/// it needs (its host does not answer, say) is reported as not made, and what it lacks is one finding.
package enum Preflight {
  /// Looks at both hosts and judges what it saw.
  ///
  /// - Throws: `CancellationError` only; whatever else goes wrong is a finding.
  package static func run(_ context: MigrationContext) async throws -> PreflightReport {
    let facts = await PreflightReader(context: context).read()
    try Task.checkCancellation()
    return evaluate(facts)
  }

  /// Whether there is a preflight to do: none once the copy has taken the target's place, which the checks would take
  /// for a server in the way.
  package static func isDue(_ context: MigrationContext) async throws -> Bool {
    let record = try await context.record()
    // One that was finished before a cutover, or after a rollback, may begin anew.
    if record?.state == .finished { return record?.direction == .forward }
    return record?.state.hasCopyInPlace != true
  }

  /// The checks in order, by name, each with what it looks at.
  package static var catalogue: [(name: String, summary: String)] { checks.map { ($0.name, $0.summary) } }

  package static let checks: [PreflightCheck] =
    HostChecks.all + ServerChecks.all + BuildChecks.all + ReplicationChecks.all + EffectChecks.all
    + DirectoryChecks.all + FileChecks.all + ClusterChecks.all + SyncChecks.all
    + DatabaseChecks.all

  /// A transaction that is open for longer is worth a word, seconds.
  static let longTransaction = 60

  /// Large objects are counted up to here.
  static let largeObjectLimit = 100_000

  static func evaluate(_ facts: PreflightFacts) -> PreflightReport {
    var report = PreflightReport(
      migration: facts.migration.name, source: facts.name(.source), target: facts.name(.target), findings: [],
      checks: [])
    for check in checks {
      var outcome = PreflightReport.Check(name: check.name, summary: check.summary, notMade: nil)
      do { report.findings += try check.evaluate(facts) } catch { outcome.notMade = error.reason }
      report.checks.append(outcome)
    }
    // Sorted by hand to keep the checks' order among equals.
    report.findings = Finding.Severity.allCases.flatMap { severity in
      report.findings.filter { $0.severity == severity }
    }
    return report
  }
}

/// One thing to look at. A new one is a value in the list of its area, and a line in docs/reference/preflight.md.
package struct PreflightCheck: Sendable {
  /// Stable: `source.wal-level`.
  package let name: String
  package let summary: String
  /// Pure: from the facts to what is wrong with them.
  let evaluate: @Sendable (PreflightFacts) throws(CheckNotMade) -> [Finding]

  init(
    _ name: String, _ summary: String,
    _ evaluate: @escaping @Sendable (PreflightFacts) throws(CheckNotMade) -> [Finding]
  ) {
    self.name = name
    self.summary = summary
    self.evaluate = evaluate
  }
}

extension Finding {
  /// An error that a reading met, as a finding of its own code.
  package init(_ error: ConvoyError, host: String, database: String? = nil, consequence: String, remedy: String? = nil)
  {
    self.init(
      .error, error.code.rawValue, host: host, database: database, error.message, consequence: consequence,
      remedy: error.hint ?? remedy)
  }
}

/// `a, b, c, d, e and 7 more`.
func shortList(_ names: [String], limit: Int = 5) -> String {
  let shown = names.prefix(limit).joined(separator: ", ")
  return names.count > limit ? "\(shown) and \(names.count - limit) more" : shown
}
