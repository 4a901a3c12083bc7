package import Inventory
import Journal
package import Logging
package import MigrationCore
import ReplicationModel
import TestSupport

/// Two hosts that nobody is to connect to, and a migration `one` between them.
package let hostsThatAreNotThere = """
  hosts:
    old: { address: 127.0.0.1, local: true, postgres: { port: 1 } }
    new: { address: 127.0.0.1, local: true, postgres: { port: 2 } }
  migrations:
    one: { source: old, target: new }
  """

/// The only migration of an inventory, given as its text.
package func migration(in inventory: String) throws -> Inventory.Migration {
  let fleet = try FleetInventory.parse(inventory, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
  guard let migration = fleet.migrations.first, fleet.migrations.count == 1 else {
    throw TestFailure("not one migration, but \(fleet.migrations.count)")
  }
  return migration
}

/// A migration's context as a new process would make it: all that it knows is in the state directory. Whoever made it
/// closes it.
package func migrationContext(
  _ migration: Inventory.Migration, state directory: String, inventory path: String = "/inventory.yml",
  logger: Logger = Logger(label: "test"), progress: @escaping @Sendable (String) -> Void = { _ in }
) async throws -> MigrationContext {
  let state = StateDirectory(path: directory)
  return MigrationContext(
    migration: migration, journal: try await Journal.open(stateDirectory: state),
    environment: RunEnvironment(
      inventoryPath: path, stateDirectory: state, program: "/bin/false", variables: [:], version: "0"),
    logger: logger, progress: progress)
}
