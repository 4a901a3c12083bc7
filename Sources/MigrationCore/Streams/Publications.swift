package import Inventory
package import Journal
package import PostgresClient
import ReplicationModel

extension HandOffDatabase {
  /// Where the plugin is pgoutput.
  package var publicationName: String { slotName }
}

/// All tables, those that are made later too. (Unlogged and temporary ones, views and sequences are never in it.)
package func makePublication(_ session: PostgresSession, _ name: String) async throws {
  for statement in HandOffSQL.makePublication(name) { try await session.script(statement) }
}

/// Drops the publications of the forward streams on one side. The copy has brought the source's along, and a source keeps
/// refusing updates of tables without a replica identity as long as it has one.
package func dropPublications(_ context: MigrationContext, _ side: Side, of databases: [HandOffDatabase]) async throws {
  guard context.migration.plugin == .pgoutput else { return }
  for database in databases {
    try await dropPublication(context, side, database.publicationName, in: database.name)
  }
}

package func dropPublication(
  _ context: MigrationContext, _ side: Side, _ name: String, in database: String
) async throws {
  let session = try await context.session(side, database: database)
  try await session.script(HandOffSQL.dropPublication(name))
}
