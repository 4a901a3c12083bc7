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
  static let configuration = CommandConfiguration(commandName: "status", abstract: "Show one row per database.")

  @OptionGroup var options: InventoryOptions
  @Option(help: ArgumentHelp("Only these migrations.", valueName: "pattern"))
  var limit: String?
  @Flag(help: "Show it again and again.")
  var watch = false
  @Option(help: ArgumentHelp("How to show it.", valueName: "format"))
  var format = StatusFormat.table

  func run() async throws {
    let inventory = try await options.loadInventory()
    let migrations = try inventory.migrations(matching: limit ?? "all")
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let factory = ContextFactory(journal: journal, environment: options.environment, logger: options.log.logger)
    let contexts = migrations.map { factory.context(for: $0) }
    repeat {
      let status = try await read(contexts, journal)
      show(status)
      if watch { try await Task.sleep(for: .seconds(1)) }
    } while watch && !Task.isCancelled
    for context in contexts { await context.close() }
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
