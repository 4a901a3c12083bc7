import Foundation
import Inventory
import MigrationRecord
import Playbook
import ReplicationModel
import Synchronization
import Testing

@testable import ClosingReports
@testable import Journal
@testable import MigrationSteps

/// The real engine and the real journal; only what the steps do is scripted.
@Suite(.timeLimit(.minutes(1))) struct JournalRecorderTests {
  @Test func aStepThatChangedSomethingAndOneThatDidNot() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a, same]")
    #expect(try scene.rows() == ["a: changed, did a", "same: ok, did same"])
    try scene.expectNothingOpen()
  }

  @Test func aStepThatIsDoneAlready() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a, b]", Script(isDone: { $0 == "a" }))
    #expect(try scene.rows() == ["a: already_done", "b: changed, did b"])
    try scene.expectNothingOpen()
  }

  @Test func aStepThatIsNotMeant() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [{ a: {}, when: big }, b]")
    #expect(try scene.rows() == ["a: not_meant, when big: big is false", "b: changed, did b"])
    try scene.expectNothingOpen()
  }

  @Test func aStepThatFails() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a, b, c]", Script(run: { if $0 == "b" { throw Refused() } }))
    #expect(
      try scene.rows() == [
        "a: changed, did a", "b: failed, error: migration m, step b: password=*** was refused [playbook.step-failed]",
      ])
    try scene.expectNothingOpen()
  }

  @Test func aStepWhosePlanningFails() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a]", Script(isDone: { _ in throw Refused() }))
    #expect(
      try scene.rows() == ["a: failed, error: migration m, step a: password=*** was refused [playbook.step-failed]"])
    try scene.expectNothingOpen()
  }

  @Test func aStepThatIsInterrupted() async throws {
    let scene = try await Scene()
    let script = Script(run: { name in
      guard name == "b" else { return }
      withUnsafeCurrentTask { $0?.cancel() }
      try Task.checkCancellation()
    })
    try await Task { try await scene.play("- steps: [a, b, c]", script) }.value
    #expect(try scene.rows() == ["a: changed, did a", "b: interrupted"])
    #expect(try scene.journal.file.runs().map(\.outcome) == [nil, .interrupted])
    try scene.expectNothingOpen()
  }

  @Test func aPersonStopsBeforeAStep() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a]", options: PlayOptions(step: true))
    #expect(try scene.rows() == ["a: interrupted"])
    try scene.expectNothingOpen()
  }

  @Test func stepsAreUndone() async throws {
    let scene = try await Scene()
    try await scene.play(
      "- { on_failure: undo, steps: [a, same, b] }", Script(run: { if $0 == "b" { throw Refused() } }))
    #expect(
      try scene.rows() == [
        "a: changed, did a", "same: ok, did same",
        "b: failed, error: migration m, step b: password=*** was refused [playbook.step-failed]",
        "undo b: undone, took back b", "undo same: ok", "undo a: undone, took back a",
      ])
    try scene.expectNothingOpen()
  }

  @Test func undoingFails() async throws {
    let scene = try await Scene()
    try await scene.play(
      "- { on_failure: undo, steps: [a, b] }",
      Script(run: { if $0 == "b" { throw Refused() } }, undo: { if $0 == "b" { throw Refused() } }))
    #expect(
      try scene.rows() == [
        "a: changed, did a", "b: failed, error: migration m, step b: password=*** was refused [playbook.step-failed]",
        "undo b: undo_failed, error: migration m, step b: password=*** was refused [playbook.step-failed]",
        "undo a: undone, took back a",
      ])
    try scene.expectNothingOpen()
  }

  @Test func aMigrationFailsBeforeItsFirstStep() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a, b]", options: PlayOptions(startAt: "b"), context: { throw Refused() })
    #expect(
      try scene.rows() == ["b: not_begun, error: migration m, step b: password=*** was refused [playbook.step-failed]"])
    try scene.expectNothingOpen()
  }

  /// The process is gone in the middle of a step and of an undoing; the next run closes both.
  @Test func aKilledProcess() async throws {
    let scene = try await Scene()
    let recorder = JournalRecorder(journal: scene.journal, run: scene.run)
    let position = StepPosition(play: "p", migration: "m", step: "a", number: 1, count: 2)
    let next = StepPosition(play: "p", migration: "m", step: "b", number: 2, count: 2)
    await recorder.observe(.stepStarted(position))
    await recorder.observe(.stepFinished(position, StepResult(changed: true, "did a"), .zero))
    await recorder.observe(.stepStarted(next))
    await recorder.observe(.undoing(position))
    #expect(try scene.rows() == ["a: changed, did a", "b: open", "undo a: open"])
    try scene.journal.file.execute("UPDATE runs SET start_ticks = 'another process'")
    _ = try scene.journal.file.beginRun(command: "pgconvoy play")
    #expect(try scene.rows() == ["a: changed, did a", "b: interrupted", "undo a: interrupted"])
    try scene.expectNothingOpen()
  }

  /// What the journal could not be told: a full disk, say.
  @Test func aRowThatWasNeverEndedIsClosedWithItsRun() async throws {
    let scene = try await Scene()
    let recorder = JournalRecorder(journal: scene.journal, run: scene.run)
    let position = StepPosition(play: "p", migration: "m", step: "a", number: 1, count: 1)
    await recorder.observe(.stepStarted(position))
    try scene.journal.file.execute("PRAGMA query_only = 1")
    await recorder.observe(.stepFinished(position, StepResult(changed: true, "did a"), .zero))
    try scene.journal.file.execute("PRAGMA query_only = 0")
    try scene.journal.file.endRun(scene.run, outcome: .done)
    #expect(try scene.rows() == ["a: interrupted"])
    try scene.expectNothingOpen()
  }

  /// A cutover that is finished by a second run: its times are those of the steps where they ran.
  @Test func aReportsPhasesAreOfTheRunsThatRanThem() async throws {
    let scene = try await Scene()
    try await scene.play("- steps: [a, drain, b]", Script(run: { if $0 == "b" { throw Refused() } }))
    try await scene.play("- steps: [a, drain, b]", Script(isDone: { $0 != "b" }))
    let steps = try scene.journal.file.steps(migration: "m")
    #expect(
      steps.map(\.outcome) == [.changed, .changed, .failed, .alreadyDone, .alreadyDone, .changed])
    #expect(ReportFiles.phases(steps).map(\.name) == ["a", "drain", "b"])
  }
}

private struct Refused: Error, CustomStringConvertible {
  var description: String { "password=geheim was refused" }
}

/// What the steps of a play do, by their names.
private struct Script: Sendable {
  var isDone: @Sendable (String) throws -> Bool = { _ in false }
  var run: @Sendable (String) throws -> Void = { _ in }
  var undo: @Sendable (String) throws -> Void = { _ in }
}

private struct ScriptContext: StepContext {
  let migrationName: String
}

/// `same` changes nothing, and leaves nothing to undo.
private struct ScriptStep: Step {
  let name: String
  let script: Script

  func plan(_ context: ScriptContext) -> [PlannedAction] { [] }
  func isDone(_ context: ScriptContext) throws -> Bool { try script.isDone(name) }
  func run(_ context: ScriptContext) throws -> StepResult {
    try script.run(name)
    return StepResult(changed: name != "same", "did \(name)")
  }
  func undo(_ context: ScriptContext) throws -> UndoResult {
    try script.undo(name)
    return name == "same" ? .nothingToUndo : .undone("took back \(name)")
  }
}

/// A journal of its own and a fleet of one migration, `m`.
private final class Scene: Sendable {
  let journal: Journal
  /// The run of the latest play.
  private let latest: Mutex<RunID>
  private let directory = FileManager.default.temporaryDirectory.path + "/pgconvoy-recorder-\(UUID().uuidString)"

  init() async throws {
    journal = try await Journal.open(stateDirectory: StateDirectory(path: directory))
    latest = Mutex(try journal.file.beginRun(command: "pgconvoy play"))
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  var run: RunID { latest.withLock { $0 } }

  /// Runs a playbook as the command line does, to the end of its run.
  func play(
    _ text: String, _ script: Script = Script(), options: PlayOptions = PlayOptions(),
    context: @escaping @Sendable () throws -> Void = {}
  ) async throws {
    let inventory = try FleetInventory.parse(
      "hosts: { s: {}, t: {} }\nmigrations: { m: { source: s, target: t } }\n", path: "inventory.yml")
    let library = StepLibrary(
      ["a", "b", "c", "same", "drain"].map { name in
        StepDefinition<ScriptContext>(name: name, summary: "does \(name)") { _ in ScriptStep(name: name, script: script)
        }
      }
    ).asking([FactDefinition("big", .flag, "whether it is big") { _ in .flag(false) }])
    let playbook = try library.bind(try Playbook.parse(text, path: "play.yml"), variables: [:])
    let engine = PlayEngine<ScriptContext>(
      observer: JournalRecorder(journal: journal, run: run), confirm: { _ in true }, choose: { _ in .stop }
    ) { migration, _ in
      try context()
      return ScriptContext(migrationName: migration.name)
    }
    let recap = try await engine.run(playbook, inventory: inventory, options: options)
    let outcome: RunOutcome = recap.isInterrupted ? .interrupted : recap.exitStatus == 0 ? .done : .failed
    try journal.file.endRun(run, outcome: outcome)
    let next = try journal.file.beginRun(command: "pgconvoy play")
    latest.withLock { $0 = next }
  }

  /// `undo b: undone, took back b`
  func rows() throws -> [String] {
    try journal.file.steps(migration: "m").map { step in
      let texts = [step.summary, step.error].compactMap { $0 }.map { ", \($0)" }.joined()
      return "\(step.isUndo ? "undo " : "")\(step.name): \(step.outcome?.rawValue ?? "open")\(texts)"
    }
  }

  /// No row of a run that has ended is open.
  func expectNothingOpen(_ location: SourceLocation = #_sourceLocation) throws {
    let ended = try journal.file.runs(limit: 100).filter { $0.ended != nil }
    #expect(!ended.isEmpty, sourceLocation: location)
    for run in ended {
      for step in try journal.file.steps(run: run.id) {
        #expect(step.ended != nil && step.outcome != nil, "\(step)", sourceLocation: location)
      }
    }
  }
}
