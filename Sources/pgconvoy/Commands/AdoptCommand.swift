import ArgumentParser
import Inventory
import Journal
import MigrationCore
import MigrationRecord
import MigrationSteps
import ReplicationModel

/// `pgconvoy adopt`: makes the journal anew from what the servers have on record.
struct AdoptCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adopt", abstract: "Make the journal anew from what the servers have on record.",
    discussion: """
      On a fresh machine, or where a journal and the servers contradict each other: the servers' word counts. Nothing is
      changed on them. Plays do the same by themselves where a journal is missing or behind.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?

  func run() async throws {
    let inventory = try await options.loadInventory()
    let migrations = try inventory.migrations(matching: limit ?? "all")
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let command = CommandLine.arguments.joined(separator: " ")
    let run = try await journal.perform { file throws(ConvoyError) in try file.beginRun(command: command) }
    let locks = MigrationLocks(journal: journal, run: run)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    var failed = false
    for migration in migrations {
      let context = factory.context(for: migration)
      do {
        // A play of this state directory must not have its journal changed under it.
        try await locks.acquire(migration)
        if let record = try await context.truth().adopt() {
          Terminal.output("\(migration.name): adopted \(record.summary)\n")
        } else {
          Terminal.output("\(migration.name): the servers have no record of it\n")
        }
      } catch {
        Terminal.error("\(migration.name): \(error)")
        failed = true
      }
      await context.close()
    }
    await locks.release()
    try await journal.perform { [failed] file throws(ConvoyError) in
      try file.endRun(run, outcome: failed ? .failed : .done)
    }
    if failed { throw ExitCode(1) }
  }
}
