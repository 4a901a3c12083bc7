import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import ReplicationModel
import SyncService
import Verification

/// `verify`: rows and checksums of every table on both sides; any difference calls the cutover (or rollback) off.
///
/// Nothing is searched for beyond equality. Duplicates under a deferrable UNIQUE or EXCLUDE constraint, for example,
/// which is not enforced while changes are applied with `session_replication_role = replica`, cannot be on the target
/// when its rows are exactly the source's, where the constraint was enforced.
struct VerifyStep: Step {
  var direction = StreamDirection.forward

  /// How long the rows that differ are looked for. The fence is up meanwhile.
  static let narrowingTime = Duration.seconds(30)

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    let mode = context.migration.cutover.verify
    return try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      let session = try await context.session(direction.from, database: name)
      let catalog = try await SumQueries(session: session).catalog()
      let size = catalog.tables.reduce(0) { $0 + $1.bytes } >> 20
      let budget =
        context.migration.cutover.verifyBudget.map { " (for \($0.components.seconds) s, then samples)" } ?? ""
      let what =
        switch mode {
        case .full: "rows and checksums\(budget) of \(catalog.tables.count) tables (\(size) MB) and large objects"
        case .counts: "rows of \(catalog.tables.count) tables (\(size) MB), and large objects with their checksums"
        case .off: "large objects only (cutover.verify is off)"
        }
      return PlannedAction(.note, "compare database \(name) on both sides: \(what)")
    }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let mode = context.migration.cutover.verify
    // Once more: nobody can change anything now.
    try await context.refuseDrift(record, direction)
    var verification = Verification(context, mode: mode)
    verification.budget = context.migration.cutover.verifyBudget
    let (found, records) = try await verification.timedRun(record.databases.map(\.name))
    let comparisons = await verification.narrowDown(found, direction, within: Self.narrowingTime)
    let servers = try await ServerDrift.between(context)
    try await context.updateReport { report in
      report.note(
        comparisons, direction, mode: mode, areUnloggedCopied: context.migration.cutover.copyUnlogged)
      for difference in servers { report.note(.warning, "not the same on both servers: \(difference)") }
    }
    try check(comparisons, direction, at: context.place("verify"))
    let tables = comparisons.reduce(0) { $0 + $1.source.tables.count }
    let rows = comparisons.reduce(0) { $0 + $1.source.rows }
    let samples = comparisons.reduce(0) { $0 + $1.sampled.count }
    let summary =
      switch mode {
      case .full: "the same on both sides" + (samples == 0 ? "" : ", \(samples) tables by samples")
      case .counts: "the same number of rows in each table on both sides"
      case .off: "tables were not compared (cutover.verify is off)"
      }
    return StepResult(
      changed: false, summary, figures: [.init("tables", UInt64(tables)), .init("rows", UInt64(rows))],
      databases: records)
  }
}
