import ArgumentParser
import ClosingReports
import Inventory
import Journal
import MigrationCore
import MigrationSteps
import ReplicationModel
import StatusReport
import SyncService
import Verification

enum VerifyFormat: String, CaseIterable, ExpressibleByArgument {
  case table, json
}

/// `pgconvoy verify`: compares both sides while applications write, with no downtime.
struct VerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Compare both sides while applications write, exactly and with no downtime.",
    discussion: """
      Rows and checksums of every table, in one snapshot on each server that holds the same transactions; rows that
      differ are named by their keys. The sync workers have to run. Exit status 1 when something differs or could not
      be compared. Long snapshots keep dead rows on both servers: verify large databases in quiet hours.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("Only this database.", valueName: "name"))
  var database: String?
  @Option(help: ArgumentHelp("How to show it.", valueName: "format"))
  var format = VerifyFormat.table

  func run() async throws {
    let inventory = try await options.loadInventory()
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    var reports: [MigrationReport] = []
    for migration in try inventory.migrations(matching: limit ?? "all") {
      let context = try await factory.engaged(migration) { Terminal.error("\(migration.name): \($0)") }
      do {
        let report = try await OnlineVerification.run(context, database: database)
        reports.append(report)
        if format == .table { Terminal.output(MigrationReportText.render(report, style: Terminal.style)) }
        await context.close()
      } catch {
        await context.close()
        throw error
      }
    }
    if format == .json { Terminal.output(MigrationReportJSON.render(verifications: reports)) }
    if reports.contains(where: { !$0.isVerified }) { throw ExitCode(1) }
  }
}
