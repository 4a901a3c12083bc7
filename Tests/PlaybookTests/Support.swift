import Foundation
import Inventory
import Playbook
import ReplicationModel
import Synchronization
import Testing

/// Migrations m1, m2, … with hosts of their own.
func fleet(_ count: Int) throws -> FleetInventory {
  let hosts = (1...count).map { "  s\($0):\n  t\($0):\n" }.joined()
  let migrations = (1...count).map { "  m\($0): { source: s\($0), target: t\($0) }\n" }.joined()
  return try FleetInventory.parse("hosts:\n\(hosts)migrations:\n\(migrations)", path: "inventory.yml")
}

/// What the steps of a test did, in order: `m1 run a`.
final class Log: PlayObserver {
  private let state = Mutex<(lines: [String], events: [PlayEvent])>(([], []))

  func add(_ line: String) { state.withLock { $0.lines.append(line) } }
  var lines: [String] { state.withLock { $0.lines } }
  var events: [PlayEvent] { state.withLock { $0.events } }
  func observe(_ event: PlayEvent) async { state.withLock { $0.events.append(event) } }

  /// The lines without those that only ask.
  var deeds: [String] { lines.filter { !$0.contains(" ask ") } }
}

/// A condition that tasks wait for without sleeping: opens once, or when the waiting task is cancelled.
actor Latch {
  private var isOpen = false
  private var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
  private var next = 0

  func open() {
    isOpen = true
    for (_, continuation) in waiting { continuation.resume() }
    waiting = [:]
  }

  func wait() async throws {
    if isOpen { return }
    try Task.checkCancellation()
    let key = next
    next += 1
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { waiting[key] = $0 }
    } onCancel: {
      Task { await self.cancel(key) }
    }
  }

  private func cancel(_ key: Int) {
    waiting.removeValue(forKey: key)?.resume(throwing: CancellationError())
  }
}

struct TestContext: StepContext {
  let migrationName: String
  let log: Log
  let reporter: StepReporter
  func close() async { log.add("\(migrationName) close") }
}

/// A fact's value, as the tests' library has it: `rank` is the migration's number, `big` whether it is above 2.
func rank(_ name: String) -> Int64 { Int64(name.drop { !$0.isNumber }) ?? 0 }

/// What a test does inside a step's calls; the defaults do nothing.
struct Hooks: Sendable {
  var isDone: @Sendable (String, String) async throws -> Bool = { _, _ in false }
  var run: @Sendable (String, String) async throws -> Void = { _, _ in }
  var undo: @Sendable (String, String) async throws -> Void = { _, _ in }
  var destruction: @Sendable (String, String) -> String? = { _, _ in nil }
}

struct TestStep: Step {
  let name: String
  let hooks: Hooks
  var isPointOfNoReturn = false
  /// What it says of its failure.
  var isPassedWhenItFails = true
  var isUndoneAfterItsOwnFailure = true
  var isUndoneBehindOthersOnly = false
  var sides = Side.allCases

  func isPassedByItsFailure(_ context: TestContext) async throws -> Bool { isPassedWhenItFails }

  func plan(_ context: TestContext) async throws -> [PlannedAction] {
    context.log.add("\(context.migrationName) plan \(name)")
    return [
      PlannedAction(host: "t", .command, "do \(name)"), PlannedAction(.file(old: "a\n", new: "b\n"), "/etc/\(name)"),
    ]
  }

  func isDone(_ context: TestContext) async throws -> Bool {
    context.log.add("\(context.migrationName) ask \(name)")
    return try await hooks.isDone(context.migrationName, name)
  }

  func run(_ context: TestContext) async throws -> StepResult {
    context.log.add("\(context.migrationName) run \(name)")
    await context.reporter.progress("half of \(name)")
    try await hooks.run(context.migrationName, name)
    return StepResult(changed: name != "same", "did \(name)", figures: [StepFigure("rows", 7)])
  }

  func destruction(_ context: TestContext) -> String? { hooks.destruction(context.migrationName, name) }

  func undo(_ context: TestContext) async throws -> UndoResult {
    context.log.add("\(context.migrationName) undo \(name)")
    try await hooks.undo(context.migrationName, name)
    return name == "same" ? .nothingToUndo : .undone("took back \(name)")
  }
}

/// Steps a, b, c, same; `point`, a point of no return; `door`, one that is not passed when it fails; `wipe`, which needs a yes; `half`, which is not undone after
/// its own failure; `base`, which is undone behind all others only; `all_types`, with a parameter of every type; `picky`, whose making fails.
func library(_ hooks: Hooks = Hooks()) -> StepLibrary<TestContext> {
  let plain = ["a", "b", "c", "same"].map { name in
    StepDefinition<TestContext>(name: name, summary: "does \(name)") { _ in TestStep(name: name, hooks: hooks) }
  }
  return StepLibrary(
    plain + [
      StepDefinition(name: "point", summary: "passes the point of no return") { _ in
        TestStep(name: "point", hooks: hooks, isPointOfNoReturn: true)
      },
      StepDefinition(name: "door", summary: "looks before it passes") { _ in
        TestStep(name: "door", hooks: hooks, isPointOfNoReturn: true, isPassedWhenItFails: false)
      },
      StepDefinition(name: "wipe", summary: "wipes", confirmation: "wipes the target") { _ in
        TestStep(name: "wipe", hooks: hooks)
      },
      StepDefinition(name: "half", summary: "stays half done") { _ in
        TestStep(name: "half", hooks: hooks, isUndoneAfterItsOwnFailure: false)
      },
      StepDefinition(name: "base", summary: "is what others stand on") { _ in
        TestStep(name: "base", hooks: hooks, isUndoneBehindOthersOnly: true)
      },
      StepDefinition(
        name: "all_types", summary: "takes everything",
        parameters: [
          ParameterDefinition("text", .string, default: .string("none"), "any text"),
          ParameterDefinition("count", .integer(1...9), "a digit"),
          ParameterDefinition("flag", .boolean, default: .boolean(false), "a flag"),
          ParameterDefinition("time", .duration, "a duration"),
          ParameterDefinition("rate", .size, "a size"),
          ParameterDefinition("side", .choice(["source", "target"]), "a side"),
          ParameterDefinition("names", .strings, "a list"),
        ]
      ) { parameters in
        TestStep(name: parameters.string("text") ?? "", hooks: hooks)
      },
      StepDefinition(
        name: "needs", summary: "needs a parameter",
        parameters: [ParameterDefinition("on", .string, isRequired: true, "where it happens")]
      ) { _ in TestStep(name: "needs", hooks: hooks) },
      StepDefinition(name: "picky", summary: "is never content") { _ in
        throw ConvoyError("test.picky", "parameters contradict each other")
      },
      StepDefinition(name: "there", summary: "works on the target only") { _ in
        TestStep(name: "there", hooks: hooks, sides: [.target])
      },
    ]
  ).asking([
    FactDefinition("migration", .text, "its name") { .text($0.migrationName) },
    FactDefinition("rank", .number, "its number") { .number(rank($0.migrationName)) },
    FactDefinition("big", .flag, "whether its number is above 2") { .flag(rank($0.migrationName) > 2) },
  ])
}

/// Runs a playbook of the test library and returns its recap.
func play(
  _ text: String, on inventory: FleetInventory, log: Log, hooks: Hooks = Hooks(), options: PlayOptions = PlayOptions(),
  variables: [String: String] = [:], confirm: @escaping @Sendable (String) async -> Bool = { _ in false },
  choose: @escaping @Sendable (String) async -> StepAnswer = { _ in .stop }
) async throws -> PlayRecap {
  let playbook = try library(hooks).bind(try Playbook.parse(text, path: "play.yml"), variables: variables)
  let engine = PlayEngine<TestContext>(observer: log, confirm: confirm, choose: choose) { migration, reporter in
    TestContext(migrationName: migration.name, log: log, reporter: reporter)
  }
  return try await engine.run(playbook, inventory: inventory, options: options)
}

struct Broken: Error, CustomStringConvertible {
  var description: String { "it broke" }
}
