import ArgumentParser
import Inventory
import Journal
import Logging
import MigrationCore
import MigrationSteps
import PostgresClient
import ReplicationModel
import SyncService

/// `pgconvoy sync`: runs the workers in this process, until it is told to stop.
struct SyncCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sync", abstract: "Run the sync workers here, in the foreground.",
    discussion: """
      For a service manager's ExecStart. Which migrations have workers is up to the playbooks; this process follows
      what they want. Killing it at any moment is safe: the next one goes on where the target says it is.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Flag(help: ArgumentHelp("End when no migration has wanted workers for a while.", visibility: .hidden))
  var exitWhenDone = false
  @Flag(help: ArgumentHelp("Only say which servers are reached from here.", visibility: .hidden))
  var checkServers = false

  func run() async throws {
    let inventory = try await options.loadInventory()
    let migrations = try inventory.migrations(matching: limit ?? "all")
    if checkServers { return try await sayServers(migrations) }
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let directory = options.stateDirectory
    let lock = try await journal.perform { _ throws(ConvoyError) in try SyncProcessLock(stateDirectory: directory) }
    defer { lock.release() }
    let logger = options.log.logger
    logger.info("sync process started", metadata: ["migrations": "\(migrations.map(\.name).joined(separator: ","))"])
    let isWanted = try await journal.perform { file throws(ConvoyError) in
      for migration in migrations {
        if let record = try file.migration(migration.name), record.desiredSync != .stopped { return true }
      }
      return false
    }
    if !isWanted { logger.info("no migration wants workers yet: waiting for the step start_sync of a play") }
    let supervisor = SyncSupervisor(
      migrations: migrations, journal: journal, environment: options.environment, logger: logger)
    try await supervisor.run(exitWhenDone: exitWhenDone)
    logger.info("sync process ended")
  }

  /// One line for each server: its system identifier.
  private func sayServers(_ migrations: [Inventory.Migration]) async throws {
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    for migration in migrations {
      let context = factory.context(for: migration)
      for side in Side.allCases {
        let result = try await context.session(side).query(
          "SELECT system_identifier FROM pg_catalog.pg_control_system()", within: .seconds(30))
        Terminal.output((result.first ?? "") + "\n")
      }
      await context.close()
    }
  }
}
