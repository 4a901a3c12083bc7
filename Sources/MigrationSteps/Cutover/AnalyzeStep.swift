import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `analyze`: fresh statistics for the tables that the stream has changed much, on the side that is about to be opened.
/// They came with the copy, and are as old as it is. Done before anybody is held up.
struct AnalyzeStep: DeedStep {
  var direction = StreamDirection.forward

  var name: String { "analyze" }

  /// Tables of which a tenth has changed since their last ANALYZE, by the server's own counts, as autovacuum does.
  static let stale = """
    SELECT schemaname, relname,
           EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = relid AND i.indexprs IS NOT NULL)
             OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = relid)
      FROM pg_catalog.pg_stat_user_tables
     WHERE n_mod_since_analyze > 50 + 0.1 * n_live_tup AND schemaname !~ '^pg_temp'
     ORDER BY n_mod_since_analyze DESC
    """

  static func statement(_ name: RelationName) -> String { "ANALYZE (SKIP_LOCKED) \(name.quoted)" }

  private let analyzed = Found<Int>("analyze.tables", placeholder: "")

  init(direction: StreamDirection = .forward) { self.direction = direction }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    if try await context.isHeldUp(direction) { return true }
    return try await context.isOver(direction)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let (record, _) = try await context.travelling(direction)
    let lists = try await mapConcurrently(record.databases.map(\.name), limit: databasesAtATime) { name in
      let tables = try await context.withPair(of: name, direction) { _, target in try await Self.tables(target) }
      let writing =
        tables.contains(where: \.computes)
        ? try await context.writingSettings(direction.from, database: name) : WritingSettings()
      return tables.map { table, computes in analyzing(table, in: name, computes ? writing.values : [:]) }
    }
    let count = lists.reduce(0) { $0 + $1.count }
    return [.together(lists, atMost: 2), .aside { found in found[analyzed] = count }]
  }

  /// - Parameter settings: what functions in the table's indexes may go by.
  private func analyzing(_ table: RelationName, in database: String, _ settings: [String: String]) -> Deed {
    var statement = StatementDeed(direction.to, database: database, Self.statement(table))
    if let path = settings["search_path"] { statement.session = .own(["search_path": path]) }
    statement.fine = StatementDeed.tableIsGone
    return .statement(statement)
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let count = found[analyzed] ?? 0
    return StepResult(
      changed: count > 0, count == 0 ? "no table has changed much" : "statistics are fresh",
      figures: [.init("tables", UInt64(count))])
  }

  private static func tables(
    _ session: PostgresSession
  ) async throws -> [(name: RelationName, computes: Bool)] {
    try await session.query(stale).rows.map {
      (RelationName(schema: $0.string(0), name: $0.string(1)), $0.bool(2))
    }
  }
}
