import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel
import Verification

/// `copy_unlogged_tables`: the rows of unlogged tables are those of the fenced side, where the inventory wishes so.
///
/// They are in no WAL: a physical copy has the tables empty, and no stream carries what is written to them. So they are
/// read once the fenced side stands still, and what that takes is downtime. Nothing is undone: the next cutover copies
/// them again, and until then nobody uses them.
struct CopyUnloggedStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "copy_unlogged_tables" }

  private static let isOff = "cutover.copy_unlogged is off"

  private struct Copied: Sendable {
    var table: UnloggedTable
    var rows: UInt64
    var bytes: UInt64
  }

  private func copied(_ table: UnloggedTable) -> Found<Copied> {
    Found("copy_unlogged_tables.\(table.database).\(table.name.quoted)", placeholder: "")
  }

  private static let all = Found<[Copied]>("copy_unlogged_tables", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    guard context.migration.cutover.copyUnlogged else { return [.note(nil, Self.isOff)] }
    let tables = try await tables(context)
    return [
      .together(tables.map { [transfer($0, context)] }, atMost: UnloggedCopy.limit),
      .aside { found in
        let copied = tables.compactMap { found[self.copied($0)] }
        found[Self.all] = copied
        try await context.updateReport { report in
          for database in Set(tables.map(\.database)).sorted() {
            let words = copied.filter { $0.table.database == database }.map { "\($0.table.name) (\($0.rows) rows)" }
            report.note(
              .note, "unlogged tables were copied, and are the same on both sides: \(few(words))", database: database)
          }
        }
      },
    ]
  }

  private func transfer(_ table: UnloggedTable, _ context: MigrationContext) -> Deed {
    .transfer(
      Transfer(
        from: direction.from, to: direction.to, database: table.database, reading: UnloggedCopy.reading(table),
        emptying: UnloggedCopy.emptying(table), writing: UnloggedCopy.writing(table)
      ) { found in found[copied(table)] = try await copy(table, context) })
  }

  private func copy(_ table: UnloggedTable, _ context: MigrationContext) async throws -> Copied {
    try await context.withPair(of: table.database, direction) { source, target in
      let bytes = try await UnloggedCopy.run(
        table, from: context.parameters(direction.from, database: table.database),
        to: context.parameters(direction.to, database: table.database))
      async let here = SumQueries(session: source).sums([table.name], countOnly: false).first
      async let there = SumQueries(session: target).sums([table.name], countOnly: false).first
      let (ours, theirs) = try await (here, there)
      guard ours == theirs else {
        throw ConvoyError(
          "unlogged.differ", "unlogged table \(table.name) is not the same on both sides after it was copied",
          at: context.place(ofDatabase: table.database),
          hint: "does a trigger or rule of it fire always? then run the playbook again")
      }
      return Copied(table: table, rows: ours?.rows ?? 0, bytes: bytes)
    }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    guard let copied = found[Self.all] else { return StepResult(changed: false, Self.isOff) }
    return StepResult(
      changed: !copied.isEmpty, copied.isEmpty ? "there are none" : "carried over, the same on both sides",
      figures: [
        .init("tables", UInt64(copied.count)), .init("rows", copied.reduce(0) { $0 + $1.rows }),
        .init("bytes", copied.reduce(0) { $0 + $1.bytes }, .bytes),
      ])
  }

  /// Of all databases, as the fenced side has them.
  private func tables(_ context: MigrationContext) async throws -> [UnloggedTable] {
    let (record, _) = try await context.travelling(direction)
    return try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      do {
        return try await UnloggedCopy.list(context.session(direction.from, database: name), name)
      } catch let error as PostgresError {
        throw error.convoyError(at: context.place(ofDatabase: name))
      }
    }.flatMap { $0 }
  }
}
