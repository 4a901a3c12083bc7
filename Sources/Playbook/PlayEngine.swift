public import Inventory
public import ReplicationModel

/// How a playbook is to be run.
public struct PlayOptions: Sendable, Equatable {
  /// Ask and plan only; run nothing.
  public var check: Bool
  /// Show what steps do to files, before they do it.
  public var diff: Bool
  /// A pattern that takes migrations out of every play.
  public var limit: String?
  /// How many migrations of a batch are under way at once.
  public var forks: Int
  /// Begin at the first step of this name; what stands before it does not run.
  public var startAt: String?
  /// Only steps with one of these tags; nil: whatever their tags.
  public var tags: [String]?
  /// No step with one of these tags.
  public var skipTags: [String]
  /// Run steps that destroy something without asking.
  public var yes: Bool
  /// Ask before every step.
  public var step: Bool

  public init(
    check: Bool = false, diff: Bool = false, limit: String? = nil, forks: Int = 5, startAt: String? = nil,
    tags: [String]? = nil, skipTags: [String] = [], yes: Bool = false, step: Bool = false
  ) {
    self.check = check
    self.diff = diff
    self.limit = limit
    self.forks = forks
    self.startAt = startAt
    self.tags = tags
    self.skipTags = skipTags
    self.yes = yes
    self.step = step
  }

  func selects(_ tags: [String]) -> Bool {
    !skipTags.contains(where: tags.contains) && (self.tags?.contains(where: tags.contains) ?? true)
  }
}

/// What a person says to `--step`.
public enum StepAnswer: Sendable {
  /// Run it.
  case yes
  /// Run it, and ask no more.
  case all
  /// Stop this migration here.
  case stop
}

/// Runs playbooks; knows nothing about what steps do.
///
/// Plays run in order. In a play the migrations run in batches of `serial`, up to `forks` of a batch side by side,
/// each through its steps in order. A migration whose step fails stops (or is undone); the others of its batch go on.
/// After a batch with which more migrations of the play have failed than its `max_failures` allows nothing further
/// starts, neither batches nor plays; a migration that has failed takes no part in later plays. When the task that called `run` is
/// cancelled, the step in hand is cancelled, and its migration counts as interrupted.
public struct PlayEngine<Context: StepContext>: Sendable {
  private let observer: any PlayObserver
  private let confirm: @Sendable (String) async -> Bool
  private let choose: @Sendable (String) async -> StepAnswer
  private let makeContext: @Sendable (Migration, StepReporter) async throws -> Context

  /// - Parameters:
  ///   - observer: hears every event.
  ///   - confirm: asks a person a question; false is no. Never called for two questions at once, nor with `yes`, nor
  ///     in check mode.
  ///   - choose: asks about the next step, with `step`; one question at a time.
  ///   - makeContext: makes what the steps of one migration work with; called once for each migration of a play.
  public init(
    observer: any PlayObserver, confirm: @escaping @Sendable (String) async -> Bool,
    choose: @escaping @Sendable (String) async -> StepAnswer = { _ in .all },
    makeContext: @escaping @Sendable (Migration, StepReporter) async throws -> Context
  ) {
    self.observer = observer
    self.confirm = confirm
    self.choose = choose
    self.makeContext = makeContext
  }

  /// Runs every play. What goes wrong in a migration is in the recap.
  ///
  /// Throws only before anything has started: an unmatched pattern or limit, an unknown step to start at, no forks.
  public func run(
    _ playbook: BoundPlaybook<Context>, inventory: FleetInventory, options: PlayOptions = PlayOptions()
  ) async throws(ConvoyError) -> PlayRecap {
    let stages = try stages(playbook, inventory, options)
    let names = Set(stages.flatMap { $0.migrations.map(\.name) })
    var recap = RecapBuilder(check: options.check, names: inventory.migrations.map(\.name).filter(names.contains))
    for var stage in stages where !stage.migrations.isEmpty && !stage.steps.isEmpty {
      if recap.hasStopped || Task.isCancelled {
        await leaveOut(stage.migrations, of: stage.play, &recap)
        continue
      }
      stage.migrations.removeAll { recap.hasFailed($0.name) }
      if stage.migrations.isEmpty { continue }
      await observer.observe(
        .playStarted(
          play: stage.play.play.name, migrations: stage.migrations.map(\.name), check: options.check))
      await run(stage, options, &recap)
    }
    recap.recap.wasCancelled = Task.isCancelled && recap.leftSomethingOut
    return recap.recap
  }

  // MARK: Before anything starts

  /// One play with the migrations that it is for, and which of its steps run.
  private struct Stage {
    var play: BoundPlay<Context>
    var migrations: [Migration]
    var steps: [Int]
  }

  private func stages(
    _ playbook: BoundPlaybook<Context>, _ inventory: FleetInventory, _ options: PlayOptions
  ) throws(ConvoyError) -> [Stage] {
    if options.forks < 1 {
      throw ConvoyError("playbook.bad-forks", "forks must be at least 1, not \(options.forks)", kind: .usage)
    }
    var limit: Set<String>?
    if let pattern = options.limit { limit = Set(try inventory.migrations(matching: pattern).map(\.name)) }
    try checkTags(playbook, options)
    var start = try start(playbook, options)
    var stages: [Stage] = []
    for (index, play) in playbook.plays.enumerated() where index >= start.play {
      let matched = try inventory.migrations(matching: play.play.pattern, at: play.play.patternPlace)
      let steps = play.steps.indices.filter { $0 >= start.step && options.selects(play.steps[$0].tags) }
      stages.append(
        Stage(play: play, migrations: matched.filter { limit?.contains($0.name) ?? true }, steps: steps))
      start.step = 0
    }
    if stages.allSatisfy(\.migrations.isEmpty) {
      throw ConvoyError(
        "playbook.nothing-to-do", "limit '\(options.limit ?? "")' leaves no migration of this playbook",
        hint: "its plays are for: \(playbook.plays.map(\.play.pattern).joined(separator: "; "))", kind: .usage)
    }
    if stages.allSatisfy(\.steps.isEmpty) {
      throw ConvoyError(
        "playbook.nothing-to-do", "the tags leave no step of this playbook", at: .path(playbook.path), kind: .usage)
    }
    return stages
  }

  private func start(
    _ playbook: BoundPlaybook<Context>, _ options: PlayOptions
  ) throws(ConvoyError) -> (play: Int, step: Int) {
    guard let name = options.startAt else { return (0, 0) }
    for (index, play) in playbook.plays.enumerated() {
      if let step = play.steps.firstIndex(where: { $0.name == name }) { return (index, step) }
    }
    var known: [String] = []
    for step in playbook.plays.flatMap(\.steps) where !known.contains(step.name) { known.append(step.name) }
    throw ConvoyError(
      "playbook.unknown-start", "no step '\(name)' to start at", at: .path(playbook.path),
      hint: suggestion(for: name, among: known, what: "steps"), kind: .usage)
  }

  private func checkTags(_ playbook: BoundPlaybook<Context>, _ options: PlayOptions) throws(ConvoyError) {
    let known = Set(playbook.plays.flatMap(\.steps).flatMap(\.tags)).sorted()
    for tag in (options.tags ?? []) + options.skipTags where !known.contains(tag) {
      throw ConvoyError(
        "playbook.unknown-tag", "no step has the tag '\(tag)'", at: .path(playbook.path),
        hint: suggestion(for: tag, among: known, what: "tags"), kind: .usage)
    }
  }

  // MARK: A play

  private func run(_ stage: Stage, _ options: PlayOptions, _ recap: inout RecapBuilder) async {
    let size = stage.play.play.serial.batchSize(of: stage.migrations.count)
    let starts = Array(stride(from: 0, to: stage.migrations.count, by: size))
    let gate = ConfirmationGate(confirm: confirm, choose: choose)
    let allowance = stage.play.play.maxFailures.allowance(of: stage.migrations.count)
    for (number, start) in starts.enumerated() {
      let batch = Array(stage.migrations[start..<min(start + size, stage.migrations.count)])
      if recap.hasStopped || Task.isCancelled {
        await leaveOut(batch, of: stage.play, &recap)
        continue
      }
      await observer.observe(
        .batchStarted(
          play: stage.play.play.name, number: number + 1, count: starts.count, migrations: batch.map(\.name)))
      let left = await run(batch, stage, options, gate, &recap)
      if !left.isEmpty { await leaveOut(left, of: stage.play, &recap) }
      recap.settle(stage.migrations.map(\.name), allowance: allowance)
    }
  }

  /// Runs a batch, and returns the migrations that a cancellation kept from starting.
  private func run(
    _ batch: [Migration], _ stage: Stage, _ options: PlayOptions, _ gate: ConfirmationGate,
    _ recap: inout RecapBuilder
  ) async -> [Migration] {
    let runner = MigrationRunner(
      play: stage.play, steps: stage.steps, options: options, observer: observer, gate: gate,
      migrations: stage.migrations.map(\.name), makeContext: makeContext)
    var waiting = batch[...]
    var results: [MigrationRecap] = []
    await withTaskGroup(of: MigrationRecap.self) { group in
      var running = 0
      while running > 0 || !waiting.isEmpty {
        if running < options.forks, !Task.isCancelled, let next = waiting.popFirst() {
          group.addTask { await runner.run(next) }
          running += 1
          continue
        }
        guard let result = await group.next() else { break }
        running -= 1
        results.append(result)
      }
    }
    for result in results { recap.add(result) }
    return Array(waiting)
  }

  private func leaveOut(_ migrations: [Migration], of play: BoundPlay<Context>, _ recap: inout RecapBuilder) async {
    let names = migrations.map(\.name)
    recap.leaveOut(names)
    await observer.observe(.notStarted(play: play.play.name, migrations: names))
  }
}

/// Gathers what became of the migrations, play by play.
private struct RecapBuilder {
  var recap: PlayRecap
  var leftSomethingOut = false

  init(check: Bool, names: [String]) {
    recap = PlayRecap(check: check, migrations: names.map { MigrationRecap(name: $0) })
  }

  /// More has failed than a play allows, or something was interrupted: nothing further may start.
  private(set) var hasStopped = false

  mutating func settle(_ names: [String], allowance: Int) {
    let outcomes = recap.migrations.filter { names.contains($0.name) }.map(\.outcome)
    if outcomes.contains(.interrupted) || outcomes.count(where: { $0 == .failed }) > allowance { hasStopped = true }
  }

  func hasFailed(_ name: String) -> Bool {
    recap.migrations.contains { $0.name == name && $0.outcome == .failed }
  }

  mutating func add(_ result: MigrationRecap) {
    guard let index = recap.migrations.firstIndex(where: { $0.name == result.name }) else { return }
    var sum = result
    sum.steps = recap.migrations[index].steps + result.steps
    recap.migrations[index] = sum
  }

  mutating func leaveOut(_ names: [String]) {
    leftSomethingOut = true
    for index in recap.migrations.indices
    where names.contains(recap.migrations[index].name) && recap.migrations[index].outcome == .ok {
      recap.migrations[index].outcome = .notStarted
    }
  }
}

/// Asks one question at a time: what destroys once for all migrations of a play, each step with `--step`.
actor ConfirmationGate {
  private let confirm: @Sendable (String) async -> Bool
  private let choose: @Sendable (String) async -> StepAnswer
  /// By the step's position in the play.
  private var answers: [Int: Task<Bool, Never>] = [:]
  private var answersOfMigrations: [String: Task<Bool, Never>] = [:]
  private var last: Task<Void, Never>?
  private var asksNoMore = false

  init(
    confirm: @escaping @Sendable (String) async -> Bool, choose: @escaping @Sendable (String) async -> StepAnswer
  ) {
    self.confirm = confirm
    self.choose = choose
  }

  /// Asks about several steps at once, but for those that were asked about before.
  ///
  /// - Parameters:
  ///   - steps: their positions in the play.
  ///   - question: the text for those that are left.
  /// - Returns: the first one that was refused.
  func ask(_ steps: [Int], _ question: ([Int]) -> String) async -> Int? {
    let new = steps.filter { answers[$0] == nil }
    if !new.isEmpty {
      let text = question(new)
      let answer = inTurn { [confirm] in await confirm(text) }
      for step in new { answers[step] = answer }
    }
    for step in steps {
      if let answer = answers[step], await !value(of: answer) { return step }
    }
    return nil
  }

  /// A question of one migration, which is asked once.
  func ask(_ question: String, of key: String) async -> Bool {
    let answer = answersOfMigrations[key] ?? inTurn { [confirm] in await confirm(question) }
    answersOfMigrations[key] = answer
    return await value(of: answer)
  }

  /// Whether the step is to run.
  func askForStep(_ question: String) async -> Bool {
    let answer: Task<Bool, Never> = inTurn { await self.stepAnswer(question) }
    return await value(of: answer)
  }

  private func stepAnswer(_ question: String) async -> Bool {
    if asksNoMore { return true }
    switch await choose(question) {
    case .yes: return true
    case .stop: return false
    case .all:
      asksNoMore = true
      return true
    }
  }

  private func inTurn(_ body: @escaping @Sendable () async -> Bool) -> Task<Bool, Never> {
    let task = Task { [last] in
      await last?.value
      return await body()
    }
    last = Task { _ = await task.value }
    return task
  }

  private func value(of answer: Task<Bool, Never>) async -> Bool {
    await withTaskCancellationHandler {
      await answer.value
    } onCancel: {
      answer.cancel()
    }
  }
}
