import Inventory
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `set_replica_identity`: gives tables whose updates and deletes would name no row the whole row as their identity.
///
/// Nothing of it happens unless a playbook names the step. What each table had before is recorded first, so that it can
/// be taken back.
struct ReplicaIdentityStep: DeedStep {
  var name: String { "set_replica_identity" }
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

  private let set = Found<Int>("set_replica_identity.set", placeholder: "")

  func isDone(_ context: MigrationContext) async throws -> Bool {
    // Behind the hand-off a change of identity is DDL in the stream.
    guard [.none, .prepared, .copying, .standby].contains(try await context.copyState()) else { return true }
    return try await missing(context).isEmpty
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let changes = try await missing(context)
    return [
      .aside { found in
        found[set] = changes.count
        let known = try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? []
        try await context.setFact(
          FactKey.replicaIdentities,
          known + changes.filter { new in !known.contains { $0.database == new.database && $0.table == new.table } })
      }
    ]
      + changes.flatMap { change -> [Deed] in
        [.say("\(change.database): \(change.statement)"), Self.altering(change.statement, context, change)]
      }
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let count = found[set] ?? 0
    return StepResult(changed: count > 0, "set on \(count) tables")
  }

  func undoing(_ context: MigrationContext) async throws -> Undoing? {
    let deeds = try await Self.takingBack(context)
    let count = deeds.count { if case .statement = $0 { true } else { false } }
    return Undoing(count == 0 ? nil : "gave \(count) tables their identities back", deeds)
  }

  /// The tables that have not got theirs back, one phrase each.
  static func left(_ context: MigrationContext) async throws -> [String] {
    (try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? []).map {
      "replica identity of \($0.table) in database \($0.database)"
    }
  }

  /// Gives the tables back what they had; a table that is gone, or has been given another identity since, is left
  /// alone.
  static func takingBack(_ context: MigrationContext) async throws -> [Deed] {
    let changes = try await context.fact(FactKey.replicaIdentities, as: [Change].self) ?? []
    guard !changes.isEmpty else { return [] }
    var deeds: [Deed] = []
    for change in changes {
      let now = try await context.withSession(.source, database: change.database) { session in
        try await session.query(
          "SELECT relreplident FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)", [change.table.quoted]
        ).first
      }
      if now == "f" { deeds.append(altering(change.backStatement, context, change)) }
    }
    let count = deeds.count
    if count > 0 { deeds.append(.say("gave \(count) tables their replica identities back")) }
    return deeds + [.aside { _ in try await context.removeFact(FactKey.replicaIdentities) }]
  }

  /// The lock is short, and never waited for long: behind a waiting ALTER TABLE everybody else would wait too.
  private static func altering(_ statement: String, _ context: MigrationContext, _ change: Change) -> Deed {
    var deed = StatementDeed(.source, database: change.database, statement)
    deed.session = .own(["lock_timeout": "3s"])
    deed.explain = { error in
      let place = ConvoyError.Place.database(migration: context.migrationName, name: change.database)
      guard error.sqlState == .lockNotAvailable else { return error.convoyError(at: place) }
      return ConvoyError(
        "source.table-locked", "table \(change.table) is locked, and its replica identity could not be changed",
        at: place, hint: "run the playbook again when the transaction that holds it has ended")
    }
    return .statement(deed)
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
