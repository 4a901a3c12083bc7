import Inventory
import Playbook
import ReplicationModel
import Synchronization
import Testing

/// Which steps and migrations a run is for, and how much may fail.
@Suite(.timeLimit(.minutes(1))) struct SelectionTests {
  let log = Log()

  // MARK: when

  @Test(arguments: [
    ("rank > 2", ["m3"]), ("rank>=2", ["m2", "m3"]), ("rank != 2 and rank < 3", ["m1"]), ("rank <= 1", ["m1"]),
    ("big", ["m3"]), ("not big", ["m1", "m2"]), ("big == no", ["m1", "m2"]), ("migration == 'm2'", ["m2"]),
    ("migration != m2 and not big", ["m1"]), ("rank == ${two}", ["m2"]), ("rank < 1kB", ["m1", "m2", "m3"]),
  ])
  func aStepIsForTheMigrationsThatItsConditionHoldsFor(_ condition: String, _ expected: [String]) async throws {
    let recap = try await play(
      "- vars: { two: 2 }\n  steps:\n  - a:\n    when: \"\(condition)\"\n", on: fleet(3), log: log,
      options: PlayOptions(forks: 1))
    #expect(log.deeds.filter { $0.hasSuffix("run a") } == expected.map { "\($0) run a" })
    #expect(recap.exitStatus == 0)
  }

  @Test func whatIsNotMeantSaysWhyAndIsNeitherPlannedNorUndone() async throws {
    let text = "- on_failure: undo\n  steps:\n  - point:\n    when: big\n  - b\n"
    let hooks = Hooks(run: { _, step in if step == "b" { throw Broken() } })
    let recap = try await play(text, on: fleet(1), log: log, hooks: hooks)
    #expect(recap.migrations[0].steps.first?.outcome == .notMeant(reason: "when big: big is false"))
    #expect(log.deeds == ["m1 run b", "m1 undo b", "m1 close"])
    #expect(recap.migrations[0].leftDone == [])
    let position = StepPosition(play: "play 1", migration: "m1", step: "point", number: 1, count: 2)
    #expect(
      PlayEventText(diff: false).lines(.stepNotMeant(position, reason: "when big: big is false"))
        == ["[m1] point: not for this migration (when big: big is false)"])
    let planned = try await play(text, on: fleet(1), log: log, options: PlayOptions(check: true))
    #expect(planned.migrations[0].steps.first?.outcome == .notMeant(reason: "when big: big is false"))
    #expect(!log.lines.contains { $0.hasSuffix("plan point") })
  }

  // MARK: tags

  private let tagged = """
    - tags: [all_of_it]
      steps:
        - a:
          tags: [first, both]
        - b:
          tags: [second, both]
        - c
    - steps: [same]

    """

  @Test(
    arguments: [
      (["first"], [], ["a"]), (["both"], [], ["a", "b"]), (["all_of_it"], [], ["a", "b", "c"]),
      (["all_of_it"], ["both"], ["c"]), (nil, ["all_of_it"], ["same"]), (["first", "second"], ["second"], ["a"]),
    ] as [([String]?, [String], [String])])
  func tagsChooseSteps(_ tags: [String]?, _ skipTags: [String], _ expected: [String]) async throws {
    _ = try await play(tagged, on: fleet(1), log: log, options: PlayOptions(tags: tags, skipTags: skipTags))
    #expect(log.deeds.filter { $0.contains(" run ") } == expected.map { "m1 run \($0)" })
  }

  @Test(arguments: [
    (
      PlayOptions(tags: ["frist"]),
      "error: play.yml: no step has the tag 'frist' [playbook.unknown-tag]\nhint: did you mean 'first'?"
    ),
    (
      PlayOptions(tags: ["first"], skipTags: ["both"]),
      "error: play.yml: the tags leave no step of this playbook [playbook.nothing-to-do]"
    ),
  ])
  func tagsThatLeaveNothing(_ options: PlayOptions, _ expected: String) async throws {
    let error = await #expect(throws: ConvoyError.self) {
      _ = try await play(tagged, on: fleet(1), log: log, options: options)
    }
    #expect(error?.description == expected)
    #expect(error?.exitStatus == 2)
  }

  // MARK: the failure budget

  private func budget(_ budget: String, failing: Set<String>) async throws -> PlayRecap {
    let hooks = Hooks(run: { name, step in if failing.contains(name), step == "a" { throw Broken() } })
    return try await play(
      "- { serial: 2, max_failures: \(budget), steps: [a] }\n- steps: [b]\n", on: fleet(6), log: log, hooks: hooks,
      options: PlayOptions(forks: 1))
  }

  @Test func withinTheBudgetTheOthersGoOnAndLaterPlaysLeaveTheFailedOut() async throws {
    let recap = try await budget("1", failing: ["m2"])
    #expect(recap.migrations.map(\.outcome) == [.ok, .failed, .ok, .ok, .ok, .ok])
    #expect(log.deeds.filter { $0.hasSuffix("run a") }.count == 6)
    #expect(log.deeds.filter { $0.hasSuffix("run b") } == [1, 3, 4, 5, 6].map { "m\($0) run b" })
    #expect(recap.exitStatus == 1)
  }

  @Test func aboveTheBudgetTheNextBatchDoesNotStart() async throws {
    let recap = try await budget("20%", failing: ["m1", "m4"])
    #expect(recap.migrations.map(\.outcome) == [.failed, .notStarted, .notStarted, .failed, .notStarted, .notStarted])
    #expect(log.deeds.filter { $0.hasSuffix("run a") } == [1, 2, 3, 4].map { "m\($0) run a" })
    #expect(!log.deeds.contains { $0.hasSuffix("run b") })
  }

  // MARK: --step

  @Test func everyStepIsAskedForAndAllAsksNoMore() async throws {
    let questions = Mutex<[String]>([])
    let recap = try await play(
      "- steps: [a, b, c]", on: fleet(1), log: log, options: PlayOptions(step: true),
      choose: { question in
        questions.withLock { $0.append(question) }
        return question.contains("step b") ? .all : .yes
      })
    #expect(questions.withLock { $0 } == ["[m1] run step a?", "[m1] run step b?"])
    #expect(recap.exitStatus == 0 && log.deeds == ["m1 run a", "m1 run b", "m1 run c", "m1 close"])
  }

  @Test func aNoStopsThereAsAnInterruptionDoes() async throws {
    let recap = try await play(
      "- { on_failure: undo, steps: [a, b, c] }", on: fleet(1), log: log, options: PlayOptions(step: true),
      choose: { $0.contains("step b") ? .stop : .yes })
    #expect(log.deeds == ["m1 run a", "m1 undo a", "m1 close"])
    #expect(recap.migrations.map(\.outcome) == [.interrupted])
    #expect(recap.exitStatus == 3)
  }

  @Test func whatIsDoneIsNotAskedFor() async throws {
    let recap = try await play(
      "- steps: [a]", on: fleet(1), log: log, hooks: Hooks(isDone: { _, _ in true }),
      options: PlayOptions(step: true))
    #expect(recap.exitStatus == 0)
  }

  // MARK: the recap by host

  @Test func stepsCountForTheHostsThatTheyWorkOn() async throws {
    let hooks = Hooks(
      isDone: { _, step in step == "b" },
      run: { name, step in
        guard step == "c" else { return }
        if name == "m1" { throw ConvoyError("ssh.unreachable", "no route", at: .host("t1")) }
        if name == "m2" { throw ConvoyError("x.y", "broken", at: .host("s2")) }
      })
    let recap = try await play("- steps: [a, b, same, there, c]", on: fleet(3), log: log, hooks: hooks)
    #expect(
      recap.hosts.sorted { $0.name < $1.name } == [
        host("s1", ok: 2, changed: 1), host("s2", ok: 2, changed: 1, failed: 1), host("s3", ok: 2, changed: 2),
        host("t1", ok: 2, changed: 2, unreachable: 1), host("t2", ok: 2, changed: 2),
        host("t3", ok: 2, changed: 3),
      ])
  }

  private func host(
    _ name: String, ok: Int, changed: Int, failed: Int = 0, unreachable: Int = 0
  ) -> HostRecap {
    var host = HostRecap(name: name)
    (host.ok, host.changed, host.failed, host.unreachable) = (ok, changed, failed, unreachable)
    return host
  }
}
