import Inventory
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// The source's tables that are given an identity for the migration, and what they had before.
enum ReplicaIdentities {
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

  /// The tables that have not got theirs back, one phrase each.
  static func left(_ context: MigrationContext) async throws -> [String] {
    (try await context.fact(.replicaIdentities) ?? []).map {
      "replica identity of \($0.table) in database \($0.database)"
    }
  }

  /// Gives the tables back what they had; a table that is gone, or has been given another identity since, is left
  /// alone.
  static func takingBack(_ context: MigrationContext) async throws -> [Deed] {
    let changes = try await context.fact(.replicaIdentities) ?? []
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
    return deeds + [.aside { _ in try await context.removeFact(.replicaIdentities) }]
  }

  /// The lock is short, and never waited for long: behind a waiting ALTER TABLE everybody else would wait too.
  static func altering(_ statement: String, _ context: MigrationContext, _ change: Change) -> Deed {
    var deed = StatementDeed(.source, database: change.database, statement)
    deed.session = .own(["lock_timeout": "3s"])
    deed.isDDL = true
    deed.fine = StatementDeed.tableIsGone
    deed.explain = { error in
      let place = ConvoyError.Place.database(migration: context.migrationName, name: change.database)
      guard error.sqlState == .lockNotAvailable else { return error.convoyError(at: place) }
      return ConvoyError(
        "source.table-locked", "table \(change.table) is locked, and its replica identity could not be changed",
        at: place, hint: "run the playbook again when the transaction that holds it has ended")
    }
    return .statement(deed)
  }

  static func missing(_ context: MigrationContext) async throws -> [Change] {
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
