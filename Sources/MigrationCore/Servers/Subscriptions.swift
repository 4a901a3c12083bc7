package import HostAdmin
package import Inventory
import Playbook
import PostgresClient

/// A server's subscriptions, whose workers write from inside and pass no pg_hba.conf.
package struct Subscriptions {
  package typealias Name = HostBasedAuthentication.SubscriptionName

  package let context: MigrationContext
  package let side: Side

  package init(context: MigrationContext, side: Side) {
    self.context = context
    self.side = side
  }

  package func enabled() async throws -> [Name] {
    try await context.session(side).query(HandOffSQL.enabledSubscriptions).rows.map {
      Name(database: $0.string(0), name: $0.string(1))
    }
  }

  package func present(_ names: [Name]) async throws -> [Name] {
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

  /// Whoever disables them writes them down before: a run that is killed in between must not leave one that nobody
  /// enables again.
  package func disabling(_ names: [Name]) -> [Deed] { altering(names, "DISABLE") }

  /// Those that are still there.
  package func enabling(_ names: [Name]) async throws -> [Deed] { altering(try await present(names), "ENABLE") }

  private func altering(_ names: [Name], _ action: String) -> [Deed] {
    names.map { .ddl(side, database: $0.database, CutoverSQL.alter(subscription: $0.name, action)) }
  }
}
