import ArgumentParser
import ClosingReports
import FoundationEssentials
import Glibc
import Inventory
import Journal
import MigrationCore
import MigrationRecord
import MigrationSteps
import Presentation
import ReplicationModel
import StatusReport
import SyncService

enum StatusFormat: String, CaseIterable, ExpressibleByArgument {
  case table, json, prometheus
}

/// `pgconvoy status`: one row per database.
struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show one row per database.",
    discussion: """
      With --exit-code the exit status is 1 when something is not well: a database is parked, stopped, interrupted,
      unreachable, has missed rows or is further behind than cutover.max_lag_bytes and max_lag_seconds; a server is open
      that should be closed; a hosted sync process is not known to run. 2 is a wrong command line or inventory.
      """)

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Flag(help: "Show it again and again.")
  var watch = false
  @Flag(help: "Exit with status 1 when something is not well.")
  var exitCode = false
  @Option(help: ArgumentHelp("How to show it.", valueName: "format"))
  var format = StatusFormat.table

  func validate() throws {
    if watch, exitCode { throw ValidationError("--exit-code goes with one look, not with --watch") }
  }

  func run() async throws {
    let inventory = try await options.loadInventory()
    let migrations = try inventory.migrations(matching: limit ?? "all")
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    let contexts = migrations.map { factory.context(for: $0) }
    var problems: [String] = []
    repeat {
      let status = try await read(contexts, journal)
      show(status)
      if exitCode { problems = StatusHealth.problems(status) { limits(of: $0, migrations) } }
      if watch { try await Task.sleep(for: .seconds(1)) }
    } while watch && !Task.isCancelled
    for context in contexts { await context.close() }
    for problem in problems { Terminal.error(problem) }
    if !problems.isEmpty { throw ExitCode(1) }
  }

  private func limits(of name: String, _ migrations: [Inventory.Migration]) -> StatusHealth.Limits? {
    migrations.first { $0.name == name }.map {
      .init(lagBytes: $0.cutover.maxLagBytes, lagSeconds: $0.cutover.maxLag / .seconds(1))
    }
  }

  private func read(_ contexts: [MigrationContext], _ journal: Journal) async throws -> ConvoyStatus {
    let directory = options.stateDirectory
    let sync = try await journal.perform { _ throws(ConvoyError) in
      try SyncProcessLock.status(stateDirectory: directory)
    }
    let rows = try await withThrowingTaskGroup(of: (Int, ConvoyStatus.Migration).self) { group in
      for (index, context) in contexts.enumerated() {
        group.addTask {
          // What they contradict each other about, the servers' own words show.
          do { try await context.truth().follow() } catch { Terminal.error("\(error)") }
          return (index, try await LiveStatus.migration(context))
        }
      }
      var rows: [(Int, ConvoyStatus.Migration)] = []
      for try await row in group { rows.append(row) }
      return rows.sorted { $0.0 < $1.0 }.map(\.1)
    }
    return ConvoyStatus(generatedAt: Date(), sync: sync, migrations: rows)
  }

  private func show(_ status: ConvoyStatus) {
    let text =
      switch format {
      case .table: StatusTable.render(status, style: Terminal.style)
      case .json: StatusJSON.render(status)
      case .prometheus: StatusPrometheus.render(status)
      }
    // Home and clear, so that a watched table stands still.
    Terminal.output((watch && isatty(STDOUT_FILENO) == 1 ? TextStyle.clearing : "") + text)
  }
}
