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
struct CopyUnloggedStep: Step {
  var direction = StreamDirection.forward

  private static let isOff = "cutover.copy_unlogged is off"

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    guard context.migration.cutover.copyUnlogged else { return [.init(.note, Self.isOff)] }
    return try await tables(context).flatMap { table in
      [
        PlannedAction(
          host: context.host(direction.from).name, .sql(database: table.database), UnloggedCopy.reading(table)),
        PlannedAction(
          host: context.host(direction.to).name, .sql(database: table.database), UnloggedCopy.emptying(table)),
        PlannedAction(
          host: context.host(direction.to).name, .sql(database: table.database), UnloggedCopy.writing(table)),
      ]
    }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool { try await context.isOver(direction) }

  func run(_ context: MigrationContext) async throws -> StepResult {
    guard context.migration.cutover.copyUnlogged else { return StepResult(changed: false, Self.isOff) }
    let tables = try await tables(context)
    let copied = try await mapConcurrently(tables, limit: UnloggedCopy.limit) { table in
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
        return (rows: ours?.rows ?? 0, bytes: bytes)
      }
    }
    try await context.updateReport { report in
      for database in Set(tables.map(\.database)).sorted() {
        let words = zip(tables, copied).filter { $0.0.database == database }
          .map { "\($0.0.name) (\($0.1.rows) rows)" }
        report.note(
          .note, "unlogged tables were copied, and are the same on both sides: \(few(words))", database: database)
      }
    }
    return StepResult(
      changed: !tables.isEmpty, tables.isEmpty ? "there are none" : "carried over, the same on both sides",
      figures: [
        .init("tables", UInt64(tables.count)), .init("rows", copied.reduce(0) { $0 + $1.rows }),
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
