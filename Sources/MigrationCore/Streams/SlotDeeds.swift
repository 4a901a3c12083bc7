import HostAdmin
package import Inventory
import LogicalDecoding
import Playbook
package import PostgresClient
import RemoteHost
package import ReplicationModel
package import StatementReplication

/// What brings slots, publications, origins and subscriptions into being and out of it, announced and performed alike.
package enum SlotDeeds {
  /// Drops those of the slots that are there, waiting for the walsender of one that has just been left.
  ///
  /// - Parameter cuttingOff: ends the walsender of one that somebody still reads, instead of waiting for its end.
  package static func dropping(
    _ context: MigrationContext, _ side: Side, _ names: [String], cuttingOff: Bool = false
  ) async throws -> [Deed] {
    let present = try await context.present(side, "slot_name", of: "pg_replication_slots")
    return names.filter(present.contains).map { name in
      var statement = StatementDeed(side, dropSlotSQL, [.text(name)])
      statement.patience = .slot(name, cuttingOff: cuttingOff)
      // A creation that was given up takes its slot away itself, between the two statements.
      statement.fine = [.undefinedObject]
      return .statement(statement)
    }
  }

  /// Drops those that exist, one after the other: the progress of one that is dropped is gone even if its transaction is
  /// rolled back. A first one goes before the second one beside it, for without the first no worker begins.
  package static func dropping(
    _ context: MigrationContext, _ side: Side, origins: [String]
  ) async throws -> [Deed] {
    let present = try await context.present(side, "roname", of: "pg_replication_origin")
    return origins.filter(present.contains).map { name in
      var statement = StatementDeed(side, CutoverSQL.dropOrigin, [.text(name)])
      statement.patience = Patience(name)
      statement.limit = .seconds(60)
      return .statement(statement)
    }
  }

  /// A slot, and before it the publication that its decoding looks up as of each change, where the plugin needs one.
  package static func making(
    _ context: MigrationContext, _ side: Side, _ slot: String, in database: String, within limit: Duration,
    settings: [String: String] = [:],
    explain: (@Sendable (PostgresError) async throws -> any Error)? = nil
  ) -> [Deed] {
    let plugin = context.migration.plugin
    var statement = StatementDeed(
      side, database: database, HandOffSQL.createSlot, [.text(slot), .text(plugin.name)])
    statement.session = .own(settings)
    statement.limit = limit
    statement.explain = explain
    return publication(context, side, slot, in: database) + [.statement(statement)]
  }

  /// All tables, those that are made later too. (Unlogged and temporary ones, views and sequences are never in it.)
  private static func publication(
    _ context: MigrationContext, _ side: Side, _ name: String, in database: String
  ) -> [Deed] {
    guard context.migration.plugin.needsPublication else { return [] }
    return HandOffSQL.makePublication(name).map { .ddl(side, database: database, $0) }
  }

  /// Drops publications of ours. The copy has brought the source's along, and a source keeps refusing updates of tables
  /// without a replica identity as long as it has one.
  package static func droppingPublications(
    _ context: MigrationContext, _ side: Side, _ names: [(database: String, name: String)]
  ) -> [Deed] {
    guard context.migration.plugin.needsPublication else { return [] }
    return names.map { .ddl(side, database: $0.database, HandOffSQL.dropPublication($0.name)) }
  }
}

extension MigrationContext {
  /// One column of a catalog of a side's.
  package func present(_ side: Side, _ column: String, of table: String) async throws -> Set<String> {
    Set(try await session(side).query("SELECT \(column) FROM pg_catalog.\(table)").rows.map { $0.string(0) })
  }
}

extension DDLTriggers {
  /// Makes them on the source of a migration, if the inventory wants any.
  package static func setting(_ context: MigrationContext, _ names: HandOffNames, _ databases: [String]) -> [Deed] {
    let role = context.migration.source.postgres.user
    return databases.flatMap { script(context, .source, $0, statements(context.migration.ddl, names, role: role)) }
  }

  /// Takes those that are there away from one side, whatever the inventory says by now.
  package static func lifting(_ context: MigrationContext, _ side: Side, _ names: HandOffNames, _ databases: [String])
    async throws -> [Deed]
  {
    let schemas = DDLMode.allCases.compactMap { schema($0, names) }
    // One that is gone has none, and must not keep the others frozen.
    let there = Set(try await context.allDatabases(side).map(\.name))
    return try await mapConcurrently(databases.filter(there.contains), limit: 8) { database in
      try await context.withSession(side, database: database) { session in
        let present = Set(try await present(session))
        return schemas.filter(present.contains).flatMap { removing(context, side, $0, in: database) }
      }
    }.flatMap { $0 }
  }

  package static func removing(_ context: MigrationContext, _ side: Side, _ schema: String, in database: String)
    -> [Deed]
  {
    script(context, side, database, removal(schema))
  }

  private static func script(
    _ context: MigrationContext, _ side: Side, _ database: String, _ statements: [String]
  ) -> [Deed] {
    guard !statements.isEmpty else { return [] }
    var deed = StatementDeed(side, database: database, Self.script(statements))
    deed.session = .own([:])
    deed.isDDL = true
    return [.statement(deed)]
  }
}
