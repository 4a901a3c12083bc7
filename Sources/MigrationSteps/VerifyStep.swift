import Inventory
import Journal
import Playbook
import PostgresClient
import ReplicationModel

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

  private func announced(_ context: MigrationContext, _ names: [String]) async throws -> [Deed] {
    try await mapConcurrently(names, limit: CopySequencesStep.limit) { name in
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
    let (sums, records) = try await verification.timedRun(names)
    let comparisons = await verification.narrowDown(sums, direction, within: Self.narrowingTime)
    try await note(context, comparisons)
    try check(comparisons, direction, at: context.place("verify"))
    return Compared(comparisons: comparisons, records: records)
  }

  private func note(_ context: MigrationContext, _ comparisons: [Verification.Comparison]) async throws {
    let servers = try await ServerDrift.between(context)
    try await context.updateReport { report in
      report.note(
        comparisons, direction, mode: context.migration.cutover.verify,
        areUnloggedCopied: context.migration.cutover.copyUnlogged)
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

/// - Throws: `verify.differs`, `verify.large-objects-differ`.
func check(
  _ comparisons: [Verification.Comparison], _ direction: StreamDirection = .forward, at place: ConvoyError.Place
) throws(ConvoyError) {
  let (from, to) = (direction.fromName, direction.toName)
  let differences = comparisons.flatMap { comparison in
    comparison.differences.map { "database \(comparison.database), table \($0)" }
  }
  guard differences.isEmpty else {
    let tables = differences.count == 1 ? "1 table differs" : "\(differences.count) tables differ"
    throw ConvoyError(
      "verify.differs", "\(tables): \(few(differences, separator: "; "))", at: place,
      hint: "did anything but pgconvoy write on the \(to), or run DDL on the \(from)? the \(from) still has everything")
  }
  let objects = comparisons.filter(\.largeObjectsDiffer).map { comparison in
    "database \(comparison.database): source \(comparison.source.largeObjects), "
      + "target \(comparison.target.largeObjects)"
  }
  guard objects.isEmpty else {
    throw ConvoyError(
      "verify.large-objects-differ",
      "large objects are not the same on both sides, and no stream carries them: \(few(objects, separator: "; "))",
      at: place, hint: "run the step copy_large_objects before this one, as \(direction.playbook) does")
  }
}

extension LargeObjectSums: CustomStringConvertible {
  public var description: String {
    let object = hexadecimal(UInt128(truncatingIfNeeded: objectChecksum))
    let page = hexadecimal(UInt128(truncatingIfNeeded: pageChecksum))
    return "\(objects) objects (checksum \(object)), \(pages) pages (checksum \(page))"
  }
}

extension MigrationReport {
  /// Puts what was compared into the report, equal or not.
  mutating func note(
    _ comparisons: [Verification.Comparison], _ direction: StreamDirection = .forward, mode: SumMode,
    areUnloggedCopied: Bool = false
  ) {
    if mode == .off { note(.warning, "tables were not compared: cutover.verify is off") }
    if mode == .counts { note(.note, "rows were counted, their content was not compared: cutover.verify is counts") }
    for comparison in comparisons {
      let name = comparison.database
      if mode != .off, let index = databases.firstIndex(where: { $0.name == name }) {
        databases[index].tablesVerified = UInt64(comparison.source.tables.count)
        databases[index].tables = comparison.tables
        let sampled = comparison.sampled
        if !sampled.isEmpty {
          note(
            .warning,
            "\(sampled.count) tables were compared by their rows' count and a sample, since cutover.verify_budget was "
              + "over: \(few(sampled.map(\.description)))", database: name)
        }
        databases[index].source = Side(rows: comparison.source.rows, checksum: checksum(comparison.source, mode))
        databases[index].target = Side(rows: comparison.target.rows, checksum: checksum(comparison.target, mode))
      }
      let unlogged = (direction == .forward ? comparison.source : comparison.target).unlogged
      // Where they are copied, the step that does so says what became of them.
      if !unlogged.isEmpty, !areUnloggedCopied {
        let left = direction == .forward ? "are empty on the target" : "keep on the source what they had at the cutover"
        note(.warning, "unlogged tables \(left): \(few(unlogged.map(\.description)))", database: name)
      }
    }
  }

  private func checksum(_ sums: DatabaseSums, _ mode: SumMode) -> String? { mode == .full ? sums.checksum : nil }
}

extension Verification.Comparison {
  /// Tables that were not compared in full.
  var sampled: [RelationName] { source.tables.filter(\.isSample).map(\.name) }

  /// Each table, as both sides hold it.
  var tables: [MigrationReport.Table] {
    func side(_ sum: TableSum?) -> MigrationReport.Side? {
      sum.map { .init(rows: $0.rows, checksum: $0.checksum.map { hexadecimal(UInt128(truncatingIfNeeded: $0)) }) }
    }
    func report(_ name: RelationName, _ source: TableSum?, _ target: TableSum?) -> MigrationReport.Table {
      var table = MigrationReport.Table(name: name, source: side(source), target: side(target))
      table.differences = rows[name.catalogBytes]
      if source?.isSample ?? target?.isSample == true { table.isSample = true }
      return table
    }
    let theirs = Dictionary(target.tables.map { ($0.name.catalogBytes, $0) }) { first, _ in first }
    let known = Set(source.tables.map(\.name.catalogBytes))
    return source.tables.map { table in
      report(table.name, table, theirs[table.name.catalogBytes])
    }
      + target.tables.filter { !known.contains($0.name.catalogBytes) }.map { report($0.name, nil, $0) }
  }
}
