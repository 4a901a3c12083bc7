import Inventory
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

extension FactDefinition where Context == MigrationContext {
  /// What a step's `when` may ask for.
  static var migration: [FactDefinition<MigrationContext>] {
    [
      FactDefinition("migration", .text, "the migration's name in the inventory") { .text($0.migrationName) },
      FactDefinition("source", .text, "the source host's name in the inventory") { .text($0.migration.source.name) },
      FactDefinition("target", .text, "the target host's name in the inventory") { .text($0.migration.target.name) },
      FactDefinition("state", .text, "how far the migration has come: copying, handed_off, cut_over, …") {
        .text(try await $0.state().rawValue)
      },
      FactDefinition("services", .number, "how many services the inventory has for the migration") {
        .number(Int64($0.migration.services.count))
      },
      FactDefinition("source_version", .number, "the major version of the source's PostgreSQL") {
        .number(Int64(try await $0.session(.source).serverVersion / 10000))
      },
      FactDefinition("databases", .number, "how many databases of the source are selected") {
        .number(Int64(try await $0.selectedDatabases().count))
      },
      FactDefinition("database_bytes", .number, "the size of the selected databases together; compare with 10GB") {
        .number(Int64(clamping: try await $0.selectedDatabases().reduce(0) { $0 + $1.bytes }))
      },
    ]
  }
}
