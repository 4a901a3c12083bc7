import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `analyze`: fresh statistics for the tables that the stream has changed much, on the side that is about to be opened.
/// They came with the copy, and are as old as it is. Done before anybody is held up.
struct AnalyzeStep: Step {
  var direction = StreamDirection.forward

  /// Tables of which a tenth has changed since their last ANALYZE, by the server's own counts, as autovacuum does.
  static let stale = """
    SELECT schemaname, relname FROM pg_catalog.pg_stat_user_tables
     WHERE n_mod_since_analyze > 50 + 0.1 * n_live_tup AND schemaname !~ '^pg_temp'
     ORDER BY n_mod_since_analyze DESC
    """

  static func statement(_ name: RelationName) -> String { "ANALYZE (SKIP_LOCKED) \(name.quoted)" }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    return try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      try await context.withPair(of: name, direction) { _, target in
        try await Self.tables(target).map { table in
          PlannedAction(host: context.host(direction.to).name, .sql(database: name), Self.statement(table))
        }
      }
    }.flatMap { $0 }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isHeldUp(direction) { return true }
    return try await context.isOver(direction)
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    let counts = try await mapConcurrently(record.databases.map(\.name), limit: 2) { name in
      try await context.withPair(of: name, direction) { _, target in
        let tables = try await Self.tables(target)
        for table in tables { try await target.script(Self.statement(table)) }
        return tables.count
      }
    }
    let count = counts.reduce(0, +)
    return StepResult(
      changed: count > 0, count == 0 ? "no table has changed much" : "statistics are fresh",
      figures: [.init("tables", UInt64(count))])
  }

  private static func tables(_ session: PostgresSession) async throws -> [RelationName] {
    try await session.query(stale).rows.map { RelationName(schema: $0.string(0), name: $0.string(1)) }
  }
}
