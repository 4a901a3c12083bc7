import ArgumentParser
import Lab
import MigrationCore
import ReplicationModel

/// `pgconvoy lab`: two local hosts to try all this on.
struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab", abstract: "Two local hosts to try a migration on.",
    subcommands: [Up.self, Down.self, Status.self, Writer.self, Reader.self])

  struct Directory: ParsableArguments {
    @Option(help: ArgumentHelp("The lab's directory.", valueName: "dir"))
    var dir: String
    @OptionGroup var log: LogOptions
  }

  struct Up: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bring up two hosts, each with its own sshd, PostgreSQL and services.")
    @OptionGroup var directory: Directory
    @Option(help: ArgumentHelp("Comma-separated database names (default: those of a Chef Server).", valueName: "names"))
    var databases: String?
    @Option(help: ArgumentHelp("The directory of PostgreSQL's server programs.", valueName: "dir"))
    var pgBin: String?
    @Option(
      help: ArgumentHelp("The application's transactions a second; 0 for as many as it can.", valueName: "number"))
    var rate: Double = 40

    func run() async throws {
      let names = databases.map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
      let lab = try await Lab.up(
        LabOptions(directory: directory.dir, databases: names, pgBin: pgBin, program: programPath, appRate: rate),
        progress: { Terminal.error($0) })
      Terminal.output("inventory: \(lab.inventoryFile)")
      Terminal.output("environment: \(lab.environmentFile)")
      Terminal.output("next: pgconvoy play playbooks/migrate.yml -i \(lab.inventoryFile)")
    }
  }

  struct Down: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "End everything of a lab and remove its directory.")
    @OptionGroup var directory: Directory

    func run() async throws {
      try await Lab.down(directory: directory.dir, progress: { Terminal.error($0) })
      Terminal.output("the lab is gone")
    }
  }

  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show what of a lab runs.")
    @OptionGroup var directory: Directory

    func run() async throws {
      let status = try await Lab.status(directory: directory.dir)
      Terminal.output(status.rendered)
      if !status.isComplete { throw ExitCode(1) }
    }
  }

  struct Writer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The lab's application.", shouldDisplay: false)
    @OptionGroup var directory: Directory
    @Option var host: String

    func run() async throws { try await Lab.runWriter(directory: directory.dir, host: host) }
  }

  struct Reader: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The lab's second service.", shouldDisplay: false)
    @OptionGroup var directory: Directory
    @Option var host: String

    func run() async throws { try await Lab.runReader(directory: directory.dir, host: host) }
  }
}
