import ArgumentParser
import Inventory
import Journal
import MigrationSteps
import ReplicationModel
import StatusReport

enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
  case text, json
}

/// `pgconvoy report`: prints the closing report of a migration again.
struct ReportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Print the latest cutover's report again.")

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("text or json.", valueName: "format"))
  var format = ReportFormat.text

  func run() async throws {
    let inventory = try options.loadInventory()
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    for migration in try inventory.migrations(matching: limit ?? "all") {
      let context = factory.context(for: migration)
      guard let report = try await ClosingReport.latest(context) else {
        throw ConvoyError(
          "report.none", "migration \(migration.name) has no report yet", hint: "a cutover writes one")
      }
      Terminal.output(
        format == .json ? MigrationReportJSON.render(report) : MigrationReportText.render(report, style: Terminal.style)
      )
      await context.close()
    }
  }
}
