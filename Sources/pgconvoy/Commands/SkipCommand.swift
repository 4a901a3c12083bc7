import ArgumentParser
import Inventory
import Journal
import MigrationCore
import MigrationSteps
import ReplicationModel
import SyncService

/// `pgconvoy skip`: steps over the transaction that a database is parked at.
struct SkipCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "skip", abstract: "Step over the one transaction that a database is parked at; its changes are lost.",
    discussion: """
      'pgconvoy status' says at which LSN a database is parked, and at which change. None of that transaction's changes
      reaches the target then, also those that would have gone through: mend by hand what the verification is to find
      equal. At a statement of 'ddl: replicate' only that statement is left out: make its change by hand first. The order, who gave it and what was left out are in the journal and in the report.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("The parked database.", valueName: "name"))
  var database: String
  @Option(help: ArgumentHelp("Where it is parked, as 'pgconvoy status' says.", valueName: "LSN"))
  var lsn: String

  /// How long a sync process may take; a parked worker begins at once.
  private static let patience = Duration.seconds(60)

  func validate() throws {
    guard LSN(lsn) != nil else { throw ValidationError("'\(lsn)' is no LSN; it looks like 16/B374D848") }
  }

  func run() async throws {
    guard let lsn = LSN(lsn) else { throw ExitCode(2) }
    let inventory = try await options.loadInventory()
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    let context = try await engaged(try await migration(inventory, factory), factory)
    let order = try await SkipOrder.place(context, database: database, lsn: lsn)
    try await context.publishRecord()
    if try await !isSyncRunning(context) {
      Terminal.output(
        "ordered: database \(database) will step over the transaction with the record at \(lsn) as soon as "
          + "'pgconvoy sync' runs\n")
    } else if let done = try await SkipOrder.outcome(of: order, context, within: Self.patience) {
      Terminal.output(
        "database \(database) has stepped over the transaction with the record at \(lsn): \(done.outcome ?? "")\n")
    } else {
      throw ConvoyError(
        "skip.not-yet", "the transaction was not stepped over within \(Self.patience)",
        at: .database(migration: context.migrationName, name: database),
        hint: "the order stands; 'pgconvoy status' says what the worker is doing")
    }
    await context.close()
  }

  /// Between plays the order goes to the servers; a play takes it there by itself, from its own journal.
  private func engaged(_ migration: Inventory.Migration, _ factory: ContextFactory) async throws -> MigrationContext {
    do {
      return try await factory.engaged(migration, writes: true, holds: true)
    } catch let error as ConvoyError where error.code == "migration.held" {
      return try await factory.engaged(migration)
    }
  }

  /// The one migration that has the database.
  private func migration(_ inventory: FleetInventory, _ factory: ContextFactory) async throws -> Inventory.Migration {
    var found: [Inventory.Migration] = []
    let candidates = try inventory.migrations(matching: limit ?? "all")
    for candidate in candidates {
      let context = try await factory.engaged(candidate)
      if try await SkipOrder.hasWorker(context, database: database) { found.append(candidate) }
      await context.close()
    }
    if found.count > 1 {
      throw ConvoyError(
        "skip.ambiguous", "several migrations have a database \(database)",
        hint: "name one of them with --limit: \(found.map(\.name).joined(separator: ", "))")
    }
    guard let one = found.first ?? (candidates.count == 1 ? candidates.first : nil) else {
      throw ConvoyError(
        "skip.unknown-database", "no migration has a worker for database \(database)",
        hint: "'pgconvoy status' lists the databases")
    }
    return one
  }
}
