package import Inventory
import PostgresClient
import ReplicationModel

/// The second lock of a closed side: `CONNECTION LIMIT 0` for every database, which a pg_hba.conf that somebody puts
/// back does not lift. Superusers, and so pgconvoy, are exempt from it.
///
/// The limit that a database had before stands in a setting of the database's own, written in the same transaction:
/// whoever opens the server again, from whatever machine, finds it there, and a copy of the server carries it along.
package struct ConnectionLimits {
  /// The name of that setting. It means nothing to PostgreSQL.
  package static let setting = "pgconvoy.connection_limit"

  package let context: MigrationContext
  package let side: Side

  package init(context: MigrationContext, side: Side) {
    self.context = context
    self.side = side
  }

  /// A database that takes connections.
  struct Database: Sendable, Equatable {
    var name: String
    var limit: Int
    /// The limit that it had before it was closed; nil when it is not closed by us.
    var before: Int?

    var isClosed: Bool { before != nil && limit == 0 }

    /// What closes it.
    var closing: [String] {
      let name = quotedIdentifier(name)
      let remembering = "ALTER DATABASE \(name) SET \(ConnectionLimits.setting) = '\(limit)'"
      return (before == nil ? [remembering] : []) + ["ALTER DATABASE \(name) CONNECTION LIMIT 0"]
    }

    /// What opens it.
    var opening: [String] {
      guard let before else { return [] }
      let name = quotedIdentifier(name)
      return [
        "ALTER DATABASE \(name) CONNECTION LIMIT \(before)", "ALTER DATABASE \(name) RESET \(ConnectionLimits.setting)",
      ]
    }
  }

  /// Those that a login could come into. None where our own role is no superuser: the lock would keep it out.
  static let listing = """
    SELECT d.datname, d.datconnlimit, (
        SELECT pg_catalog.substr(item, \(setting.utf8.count + 2))
          FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS item
         WHERE s.setdatabase = d.oid AND s.setrole = 0 AND pg_catalog.starts_with(item, '\(setting)='))
      FROM pg_catalog.pg_database d
     WHERE d.datallowconn AND d.datconnlimit <> -2 AND pg_catalog.current_setting('is_superuser') = 'on'
     ORDER BY 1
    """

  static func databases(_ session: PostgresSession) async throws -> [Database] {
    try await session.query(listing).rows.map { row in
      // A value that somebody else has put there: no limit, as databases have it that nobody ever gave one.
      Database(name: row.string(0), limit: row.int(1) ?? -1, before: row[2].map { Int($0) ?? -1 })
    }
  }

  package func closed() async throws -> [String] {
    try await Self.databases(context.session(side)).filter { $0.before != nil }.map(\.name)
  }

  /// One statement, and one transaction: all of them, or none.
  package func closing() async throws -> [Deed] {
    statement(try await Self.databases(context.session(side)).filter { !$0.isClosed }.flatMap(\.closing))
  }

  package func opening() async throws -> [Deed] {
    statement(try await Self.databases(context.session(side)).flatMap(\.opening))
  }

  private func statement(_ statements: [String]) -> [Deed] {
    guard !statements.isEmpty else { return [] }
    var deed = StatementDeed(side, statements.joined(separator: "; "))
    // Whoever changes a database just now is swept away, or is one of ours.
    deed.limit = .seconds(10)
    return [.statement(deed)]
  }
}
