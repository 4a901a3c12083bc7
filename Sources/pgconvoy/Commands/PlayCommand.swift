import ArgumentParser
import BlockingIO
import ClosingReports
import Inventory
import Journal
import MigrationCore
import MigrationRecord
import MigrationSteps
import Playbook
import ReplicationModel
import StatusReport
import SyncService
import Verification

/// `pgconvoy play`: runs a playbook on the inventory's migrations.
struct PlayCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "play", abstract: "Run a playbook.")

  @Argument(help: ArgumentHelp("The playbook's file.", valueName: "playbook"))
  var playbook: String
  @OptionGroup var options: InventoryOptions
  @Flag(help: "Say exactly what would run, and change nothing.")
  var check = false
  @Flag(help: "Show what changes in files, line by line.")
  var diff = false
  @Option(help: ArgumentHelp("Only these migrations: names, groups, globs, 'a,!b'.", valueName: "pattern"))
  var limit: String?
  @Option(help: ArgumentHelp("How many migrations at once.", valueName: "number"))
  var forks = 5
  @Option(name: .customLong("start-at"), help: ArgumentHelp("Begin at this step.", valueName: "step"))
  var startAt: String?
  @Option(help: ArgumentHelp("Only steps with one of these tags.", valueName: "tag,…"))
  var tags: String?
  @Option(name: .customLong("skip-tags"), help: ArgumentHelp("No step with one of these tags.", valueName: "tag,…"))
  var skipTags: String?
  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp("A value for one of the playbook's variables.", valueName: "name=value"))
  var variables: [String] = []
  @Flag(help: "Ask before every step.")
  var step = false
  @Flag(help: "Do not ask before steps that destroy something.")
  var yes = false
  @Option(
    help: ArgumentHelp(
      "What applications have written to the target since its cutover may be lost: its nonce, as the refusal says it.",
      valueName: "nonce"))
  var discard: String?

  func run() async throws {
    let inventory = try await options.loadInventory()
    if step && !check && !Terminal.canAsk {
      throw ConvoyError(
        "usage", "--step needs a terminal to ask on", hint: "without one, name the steps with --start-at or --tags",
        kind: .usage)
    }
    let bound = try StepLibrary<MigrationContext>.migration.load(path: playbook, variables: try givenVariables())
    let journal = try await Journal.open(stateDirectory: options.stateDirectory)
    let command = CommandLine.arguments.joined(separator: " ")
    let run = try await journal.perform { file throws(ConvoyError) in try file.beginRun(command: command) }
    let locks = MigrationLocks(journal: journal, run: run)
    var environment = options.environment
    environment.run = run
    environment.discards = discard
    let factory = ContextFactory(journal: journal, environment: environment, logger: options.log.logger)
    let printer = PlayPrinter(text: PlayEventText(diff: diff))
    let recorder = JournalRecorder(journal: journal, run: run)
    let isCheck = check
    let engine = PlayEngine<MigrationContext>(
      observer: PlayObservers(isCheck ? [printer] : [recorder, printer]),
      confirm: { question in await (try? onDedicatedThread("confirm") { Terminal.confirm(question) }) ?? false },
      choose: { question in await (try? onDedicatedThread("choose") { Terminal.choose(question) }) ?? .stop },
      makeContext: { migration, reporter in
        if !isCheck { try await locks.acquire(migration) }
        let context = factory.context(for: migration, reporter: reporter)
        do {
          try await context.truth().engage(writes: !isCheck, holds: !isCheck)
          if await context.truth().isInStep { try await takeOverWorkers(context) }
        } catch {
          await context.close()
          throw error
        }
        return context
      })
    let recap: PlayRecap
    do {
      recap = try await engine.run(
        bound, inventory: inventory,
        options: PlayOptions(
          check: check, diff: diff, limit: limit, forks: forks, startAt: startAt, tags: tags.map(words),
          skipTags: skipTags.map(words) ?? [], yes: yes, step: step))
    } catch {
      try await end(journal, run, .failed)
      throw error
    }
    await locks.release()
    try await end(journal, run, recap.isInterrupted ? .interrupted : recap.exitStatus == 0 ? .done : .failed)
    if !check { try await printReports(bound, recap, inventory, factory) }
    Terminal.output(RecapText.render(recap))
    if recap.exitStatus != 0 { throw ExitCode(recap.exitStatus) }
  }

  private func words(_ list: String) -> [String] {
    list.split(separator: ",").map { word in
      String(word.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
  }

  private func givenVariables() throws(ConvoyError) -> [String: String] {
    var values: [String: String] = [:]
    for text in variables {
      guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
        throw ConvoyError("usage", "--set takes name=value, not '\(text)'", kind: .usage)
      }
      values[String(text[..<equals])] = String(text[text.index(after: equals)...])
    }
    return values
  }

  private func end(_ journal: Journal, _ run: RunID, _ outcome: RunOutcome) async throws {
    try await journal.perform { file throws(ConvoyError) in try file.endRun(run, outcome: outcome) }
  }

  /// The closing report of every migration that this playbook has taken to its report step.
  private func printReports(
    _ playbook: BoundPlaybook<MigrationContext>, _ recap: PlayRecap, _ inventory: FleetInventory,
    _ factory: ContextFactory
  ) async throws {
    guard playbook.plays.contains(where: { $0.steps.contains { $0.name == StepName.report } }) else { return }
    for migration in inventory.migrations
    where recap.migrations.contains(where: { $0.name == migration.name && $0.outcome == .ok }) {
      let context = factory.context(for: migration)
      if let document = try await ClosingReport.latest(context) {
        Terminal.output(MigrationReportText.render(document.report, style: Terminal.style))
      }
      await context.close()
    }
  }
}

/// One run at a time on a migration; the lock is held until the run's end.
actor MigrationLocks {
  private let journal: Journal
  private let run: RunID
  private var held: [String: MigrationLock] = [:]

  init(journal: Journal, run: RunID) {
    self.journal = journal
    self.run = run
  }

  func acquire(_ migration: Migration) async throws {
    guard held[migration.name] == nil else { return }
    let run = self.run
    let lock = try await journal.perform { file throws(ConvoyError) in
      try file.registerMigration(migration.name, source: migration.source.name, target: migration.target.name)
      return try file.acquireLock(migration: migration.name, run: run)
    }
    held[migration.name] = lock
  }

  func release() {
    for lock in held.values { try? lock.release() }
    held = [:]
  }
}
