import ArgumentParser
import ClosingReports
import FoundationEssentials
import Inventory
import Journal
import MigrationCore
import MigrationSteps
import Preflight
import ReplicationModel
import StatusReport

enum CheckFormat: String, CaseIterable, ExpressibleByArgument {
  case table, json
}

/// `pgconvoy check`: everything that would fail or lose data, with nothing changed.
struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Find everything that would fail or lose data; changes nothing.",
    discussion: "Exit status 1 when there is an error among the findings. docs/reference/preflight.md lists the checks."
  )

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("table or json.", valueName: "format"))
  var format = CheckFormat.table

  func run() async throws {
    let inventory = try await options.loadInventory()
    let migrations = try inventory.migrations(matching: limit ?? "all")
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    var reports: [PreflightReport] = []
    for migration in migrations {
      let context = factory.context(for: migration)
      if try await Preflight.isDue(context) {
        reports.append(try await Preflight.run(context))
      } else {
        Terminal.error("migration \(migration.name) is handed off already: there is nothing left to check before it")
      }
      await context.close()
    }
    switch format {
    case .table: if !reports.isEmpty { Terminal.output(PreflightText.render(reports, style: Terminal.style)) }
    case .json: Terminal.output(try PreflightJSON.render(reports, at: Date()))
    }
    if reports.contains(where: { !$0.passed }) { throw ExitCode(1) }
  }
}
