import Inventory
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `set_replica_identity`: gives tables whose updates and deletes would name no row the whole row as their identity.
///
/// Nothing of it happens unless a playbook names the step. What each table had before is recorded first, so that it can
/// be taken back.
struct ReplicaIdentityStep: Step {
  var sides: [Side] { [.source] }

  /// One table and what it had before: `d` (the default), `n` (nothing) or `i` (an index that is gone or unfit, which
  /// came to nothing as well).
  struct Change: Codable, Sendable, Equatable {
    var database: String
    var table: RelationName
    var before: String

    var statement: String { "ALTER TABLE \(table.quoted) REPLICA IDENTITY FULL" }
    var backStatement: String {
      "ALTER TABLE \(table.quoted) REPLICA IDENTITY \(before == "d" ? "DEFAULT" : "NOTHING")"
    }
  }

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    try await missing(context).map {
      PlannedAction(host: context.migration.source.name, database: $0.database, $0.statement)
    }
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Behind the hand-off a change of identity is DDL in the stream.
    guard [.none, .prepared, .copying, .standby].contains(try await context.state()) else { return true }
    return try await missing(context).isEmpty
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let changes = try await missing(context)
    let known = try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? []
    try await context.setFact(
      FactKey.replicaIdentities,
      known + changes.filter { new in !known.contains { $0.database == new.database && $0.table == new.table } })
    for change in changes {
      context.progress("\(change.database): \(change.statement)")
      try await Self.execute(change.statement, context, change)
    }
    return StepResult(changed: !changes.isEmpty, "set on \(changes.count) tables")
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    let count = try await Self.takeBack(context)
    return count == 0 ? .nothingToUndo : .undone("gave \(count) tables their identities back")
  }

  /// The tables that have not got theirs back, one phrase each.
  static func left(_ context: MigrationContext) async throws -> [String] {
    (try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? []).map {
      "replica identity of \($0.table) in database \($0.database)"
    }
  }

  /// Gives the tables back what they had; a table that is gone, or has been given another identity since, is left
  /// alone. Returns how many.
  static func takeBack(_ context: MigrationContext) async throws -> Int {
    var count = 0
    for change in try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? [] {
      let session = try await context.session(.source, database: change.database)
      let now = try await session.query(
        "SELECT relreplident FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)", [change.table.quoted])
      guard now.first == "f" else { continue }
      try await execute(change.backStatement, context, change)
      count += 1
    }
    try await context.removeFact(FactKey.replicaIdentities)
    return count
  }

  /// The lock is short, and never waited for long: behind a waiting ALTER TABLE everybody else would wait too.
  private static func execute(_ statement: String, _ context: MigrationContext, _ change: Change) async throws {
    let session = try await context.session(.source, database: change.database)
    do {
      try await session.script("SET lock_timeout = '3s'; \(statement)")
      try await session.script("RESET lock_timeout")
    } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
      throw ConvoyError(
        "source.table-locked", "table \(change.table) is locked, and its replica identity could not be changed",
        at: .database(migration: context.migrationName, name: change.database),
        hint: "run the playbook again when the transaction that holds it has ended")
    }
  }

  private func missing(_ context: MigrationContext) async throws -> [Change] {
    var changes: [Change] = []
    for database in try await context.selectedDatabases() {
      let session = try await context.session(.source, database: database.name)
      changes += try await session.query(
        """
        SELECT n.nspname, c.relname, c.relreplident
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
           AND c.relreplident <> 'f' AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_index i
                  WHERE i.indrelid = c.oid AND i.indislive AND i.indisvalid AND i.indisunique AND i.indimmediate
                    AND i.indpred IS NULL
                    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
         ORDER BY 1, 2
        """
      ).rows.map { row in
        Change(
          database: database.name, table: RelationName(schema: row.string(0), name: row.string(1)),
          before: row.string(2))
      }
    }
    return changes
  }
}
