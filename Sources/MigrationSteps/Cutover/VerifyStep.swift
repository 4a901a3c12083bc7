import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import Presentation
import ReplicationModel
import SyncService
import Verification

/// `verify`: rows and checksums of every table on both sides; any difference calls the cutover (or rollback) off.
///
/// Nothing is searched for beyond equality. Duplicates under a deferrable UNIQUE or EXCLUDE constraint, for example,
/// which is not enforced while changes are applied with `session_replication_role = replica`, cannot be on the target
/// when its rows are exactly the source's, where the constraint was enforced.
struct VerifyStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "verify" }

  /// How long the rows that differ are looked for. The fence is up meanwhile.
  static let narrowingTime = Duration.seconds(30)

  private struct Compared: Sendable {
    var comparisons: [Verification.Comparison]
    var records: [DatabaseRecord]
  }

  private static let compared = Found<Compared>("verify.compared", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    let names = record.databases.map(\.name)
    return [
      .later(announced: { try await announced(context, names) }) { _ in [] },
      .aside { found in
        // Once more: nobody can change anything now.
        try await context.refuseDrift(record, direction)
        found[Self.compared] = try await compare(context, names)
      },
    ]
  }

  func expectation(_ context: MigrationContext) async throws -> String? {
    guard context.migration.cutover.verify == .full, try await !context.isOver(direction) else { return nil }
    if let took = try await context.fact(.verificationTook) {
      return "while rows are compared writers wait: \(HumanFormat.duration(milliseconds: took)) the last time"
    }
    let bytes = try await context.selectedDatabases().reduce(0) { $0 + $1.bytes }
    return "while \(HumanFormat.bytes(bytes)) are compared writers wait: 'pgconvoy verify' beforehand says for how long"
  }

  private func announced(_ context: MigrationContext, _ names: [String]) async throws -> [Deed] {
    try await mapConcurrently(names, limit: databasesAtATime) { name in
      let session = try await context.session(direction.from, database: name)
      let catalog = try await SumQueries(session: session).catalog()
      let size = catalog.tables.reduce(0) { $0 + $1.bytes } >> 20
      let budget =
        context.migration.cutover.verifyBudget.map { " (for \($0.components.seconds) s, then samples)" } ?? ""
      let what =
        switch context.migration.cutover.verify {
        case .full: "rows and checksums\(budget) of \(catalog.tables.count) tables (\(size) MB) and large objects"
        case .counts: "rows of \(catalog.tables.count) tables (\(size) MB), and large objects with their checksums"
        case .off: "large objects only (cutover.verify is off)"
        }
      return Deed.note(nil, "compare database \(name) on both sides: \(what)")
    }
  }

  private func compare(_ context: MigrationContext, _ names: [String]) async throws -> Compared {
    var verification = Verification(context, mode: context.migration.cutover.verify)
    verification.budget = context.migration.cutover.verifyBudget
    let start = ContinuousClock.now
    let (sums, records) = try await verification.timedRun(names)
    let comparisons = await verification.narrowDown(sums, direction, within: Self.narrowingTime)
    try await note(context, comparisons)
    try check(comparisons, direction, at: context.place("verify"))
    if verification.mode == .full {
      let end = verification.budget.map { start + $0 }
      let indexes = try await IndexProof.run(context, names, direction, until: end)
      try await context.updateReport { report in report.note(indexes, direction) }
      try check(indexes, direction, at: context.place("verify"))
      try await context.setFact(.verificationTook, wholeMilliseconds(since: start))
    }
    return Compared(comparisons: comparisons, records: records)
  }

  private func note(_ context: MigrationContext, _ comparisons: [Verification.Comparison]) async throws {
    let servers = try await ServerDrift.between(context)
    let statuses = try await context.recordedStatuses().map(\.status)
    try await context.updateReport { report in
      report.note(
        comparisons, direction, mode: context.migration.cutover.verify,
        areUnloggedCopied: context.migration.cutover.copyUnlogged)
      for status in statuses {
        for gone in status.goneRows ?? [] {
          report.note(
            .note,
            "\(gone.rows) row changes of \(gone.table) were left out: it was dropped, and no row of it is read again",
            database: status.database)
        }
      }
      for difference in servers { report.note(.warning, "not the same on both servers: \(difference)") }
    }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let comparisons = found[Self.compared]?.comparisons ?? []
    let tables = comparisons.reduce(0) { $0 + $1.source.tables.count }
    let rows = comparisons.reduce(0) { $0 + $1.source.rows }
    let samples = comparisons.reduce(0) { $0 + $1.sampled.count }
    let summary =
      switch context.migration.cutover.verify {
      case .full: "the same on both sides" + (samples == 0 ? "" : ", \(samples) tables by samples")
      case .counts: "the same number of rows in each table on both sides"
      case .off: "tables were not compared (cutover.verify is off)"
      }
    return StepResult(
      changed: false, summary, figures: [.init("tables", UInt64(tables)), .init("rows", UInt64(rows))],
      databases: found[Self.compared]?.records ?? [])
  }
}
