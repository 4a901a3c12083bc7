import Inventory
import MigrationCore
package import ReplicationModel

/// - Throws: `verify.differs`, `verify.large-objects-differ`.
package func check(
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
  package var description: String {
    let object = hexadecimal(UInt128(truncatingIfNeeded: objectChecksum))
    let page = hexadecimal(UInt128(truncatingIfNeeded: pageChecksum))
    return "\(objects) objects (checksum \(object)), \(pages) pages (checksum \(page))"
  }
}

extension MigrationReport {
  /// Puts what was compared into the report, equal or not.
  package mutating func note(
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
  package var sampled: [RelationName] { source.tables.filter(\.isSample).map(\.name) }

  /// Each table, as both sides hold it.
  package var tables: [MigrationReport.Table] {
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
