import ArgumentParser
import FoundationEssentials
import Glibc
import HostAdmin
import Inventory
import Journal
import Logging
import MigrationCore
import MigrationRecord
import MigrationSteps
import Playbook
import ReplicationModel

extension LogFormat: ExpressibleByArgument {}

/// The version that reports and `--version` show.
let productVersion = "0.1.0"

/// What every command takes.
struct LogOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Log more.")
  var verbose = false

  @Option(help: ArgumentHelp("How to write log lines.", valueName: "format"))
  var logFormat = LogFormat.text

  var logger: Logger {
    let handler = StandardErrorLog(format: logFormat, logLevel: verbose ? .debug : .info)
    return Logger(label: "pgconvoy") { _ in handler }
  }
}

/// What every command on an inventory takes.
struct InventoryOptions: ParsableArguments {
  @Option(name: [.customShort("i"), .long], help: ArgumentHelp("The inventory.", valueName: "file"))
  var inventory: String

  @Option(help: ArgumentHelp("Where the journal is (default: .pgconvoy beside the inventory).", valueName: "dir"))
  var state: String?

  @OptionGroup var log: LogOptions

  func loadInventory() async throws -> FleetInventory {
    let loaded = try await FleetInventory.load(path: inventory).resolvedBySSHConfig()
    for warning in loaded.warnings { Terminal.error(warning.description) }
    return loaded
  }

  var stateDirectory: StateDirectory {
    if let state { return StateDirectory(path: absolute(state)) }
    let path = absolute(inventory)
    let directory = path.split(separator: "/", omittingEmptySubsequences: true).dropLast().joined(separator: "/")
    return StateDirectory(path: "/" + directory + (directory.isEmpty ? "" : "/") + ".pgconvoy")
  }

  var environment: RunEnvironment {
    var environment = RunEnvironment(
      inventoryPath: absolute(inventory), stateDirectory: stateDirectory, program: programPath,
      variables: ProcessInfo.processInfo.environment, version: productVersion)
    environment.askPassphrase = { key in Passphrases.ask(key) }
    return environment
  }

  private func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    let here = getcwd(nil, 0)
    defer { free(here) }
    return (here.map { String(cString: $0) } ?? "") + "/" + path
  }
}

/// This very program, to be started again.
var programPath: String {
  guard let resolved = realpath("/proc/self/exe", nil) else { return CommandLine.arguments[0] }
  defer { free(resolved) }
  return String(cString: resolved)
}

/// Makes the contexts of one run; progress goes to the step's reporter, in order.
struct ContextFactory: Sendable {
  let journal: Journal
  let environment: RunEnvironment
  let logger: Logger

  func context(for migration: Migration, reporter: StepReporter) -> MigrationContext {
    let (lines, sink) = AsyncStream<String>.makeStream()
    Task { for await line in lines { await reporter.progress(line) } }
    return MigrationContext(
      migration: migration, journal: journal, environment: environment, logger: logger,
      progress: { sink.yield($0) })
  }

  /// For a command that is no play, its journal brought up to date by what the servers have on record.
  ///
  /// - Parameter writes: whether what it orders goes to the servers.
  func engaged(
    _ migration: Migration, writes: Bool = false, holds: Bool = false,
    progress: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws -> MigrationContext {
    let context = context(for: migration, progress: progress)
    do {
      try await context.truth().engage(writes: writes, holds: holds)
    } catch {
      await context.close()
      throw error
    }
    return context
  }

  /// For commands that only look.
  func context(
    for migration: Migration, progress: @escaping @Sendable (String) -> Void = { _ in }
  ) -> MigrationContext {
    MigrationContext(
      migration: migration, journal: journal, environment: environment, logger: logger, progress: progress)
  }
}
