import ArgumentParser
import ClosingReports
import Inventory
import Journal
import MigrationCore
import MigrationSteps
import ReplicationModel
import StatusReport

enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
  case text, json, markdown, html
}

/// `pgconvoy report`: prints the proof of a migration's latest cutover or rollback again, if nobody has changed it.
struct ReportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Print the proof of the latest cutover or rollback again.",
    discussion: """
      The document bears a SHA-256 of the rest of it. One that was changed since it was written is not printed, and the
      exit status is 1.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("A document from anywhere, instead of the latest.", valueName: "path"))
  var file: String?
  @Option(help: ArgumentHelp("How to show it.", valueName: "format"))
  var format = ReportFormat.text

  func run() async throws {
    let inventory = try await options.loadInventory()
    if let file {
      guard let document = try await ClosingReport.read(path: file) else {
        throw ConvoyError("report.none", "there is no such file", at: .path(file), kind: .usage)
      }
      return show(document)
    }
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    for migration in try inventory.migrations(matching: limit ?? "all") {
      let context = try await factory.engaged(migration)
      guard let document = try await ClosingReport.latest(context) else {
        throw ConvoyError(
          "report.none", "migration \(migration.name) has no report yet", hint: "a cutover writes one")
      }
      show(document)
      await context.close()
    }
  }

  private func show(_ document: ClosingReport.Document) {
    let text =
      switch format {
      case .text: MigrationReportText.render(document.report, style: Terminal.style)
      case .json: document.json
      case .markdown: MigrationReportMarkdown.render(document.report, seal: document.seal)
      case .html: MigrationReportHTML.render(document.report, seal: document.seal)
      }
    Terminal.output(text)
  }
}
