import Inventory
import Playbook
import PostgresClient
import ReplicationModel

/// A server's subscriptions, whose workers write from inside and pass no pg_hba.conf.
struct Subscriptions {
  typealias Name = HostBasedAuthentication.SubscriptionName

  let context: MigrationContext
  let side: Side

  func enabled() async throws -> [Name] {
    try await context.session(side).query(HandOffSQL.enabledSubscriptions).rows.map {
      Name(database: $0.string(0), name: $0.string(1))
    }
  }

  func present(_ names: [Name]) async throws -> [Name] {
    var present: [Name] = []
    for name in names {
      let found = try await context.session(side).query(
        """
        SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
         WHERE d.datname = $1 AND s.subname = $2
        """, [name.database, name.name])
      if found.rowCount > 0 { present.append(name) }
    }
    return present
  }
}
