import Inventory
import Playbook
import ReplicationModel
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct PlayEngineTests {
  let log = Log()

  // MARK: Order

  @Test func stepsRunInOrderAndTheContextIsClosed() async throws {
    let recap = try await play("- steps: [a, same, c]", on: fleet(1), log: log)
    #expect(
      log.lines == ["m1 ask a", "m1 run a", "m1 ask same", "m1 run same", "m1 ask c", "m1 run c", "m1 close"])
    #expect(recap.exitStatus == 0 && recap.migrations.map(\.outcome) == [.ok])
    #expect(recap.migrations[0].changedCount == 2)
  }

  @Test func whatIsDoneIsNotDoneAgain() async throws {
    let hooks = Hooks(isDone: { _, step in step == "a" })
    let recap = try await play("- steps: [a, b]", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run b", "m1 close"])
    #expect(recap.migrations[0].steps.map(\.outcome).first == .alreadyDone)
  }

  @Test func playsFollowEachOther() async throws {
    let text = "- { migrations: m2, steps: [a] }\n- { steps: [b] }\n"
    _ = try await play(text, on: fleet(2), log: log, options: PlayOptions(forks: 1))
    #expect(log.deeds == ["m2 run a", "m2 close", "m1 run b", "m1 close", "m2 run b", "m2 close"])
  }

  @Test func forksRunSideBySide() async throws {
    // Every migration waits inside its step until all three are there.
    let arrived = Mutex(0)
    let all = Latch()
    let hooks = Hooks(run: { _, _ in
      let count = arrived.withLock { value in
        value += 1
        return value
      }
      if count == 3 { await all.open() }
      try await all.wait()
    })
    let recap = try await play("- steps: [a]", on: fleet(3), log: log, hooks: hooks, options: PlayOptions(forks: 3))
    #expect(recap.exitStatus == 0)
  }

  @Test(arguments: [1, 2, 3]) func noMoreThanForksAtOnce(_ forks: Int) async throws {
    let counts = Mutex((now: 0, most: 0))
    let hooks = Hooks(run: { _, _ in
      counts.withLock {
        $0.now += 1
        $0.most = max($0.most, $0.now)
      }
      for _ in 0..<50 { await Task.yield() }
      counts.withLock { $0.now -= 1 }
    })
    _ = try await play("- steps: [a, b]", on: fleet(7), log: log, hooks: hooks, options: PlayOptions(forks: forks))
    #expect(counts.withLock { $0.most } <= forks)
    #expect(log.deeds.count { $0.contains("run b") } == 7)
  }

  @Test func serialFinishesABatchBeforeTheNext() async throws {
    let recap = try await play("- { serial: 2, steps: [a, b] }", on: fleet(5), log: log)
    #expect(recap.exitStatus == 0)
    let lines = log.deeds
    for (earlier, later) in [("m1", "m3"), ("m2", "m3"), ("m1", "m4"), ("m2", "m4"), ("m3", "m5"), ("m4", "m5")] {
      let last = try #require(lines.lastIndex { $0.hasPrefix(earlier) })
      let first = try #require(lines.firstIndex { $0.hasPrefix(later) })
      #expect(last < first)
    }
    let batches = log.events.compactMap { if case .batchStarted(_, _, _, let names) = $0 { names } else { nil } }
    #expect(batches == [["m1", "m2"], ["m3", "m4"], ["m5"]])
  }

  // MARK: Failures

  @Test func aFailureStopsItsMigrationAndNothingFurtherStarts() async throws {
    let hooks = Hooks(run: { name, step in if name == "m1", step == "a" { throw Broken() } })
    let text = "- { serial: 2, steps: [a, b] }\n- { migrations: m2, steps: [c] }\n"
    let recap = try await play(text, on: fleet(3), log: log, hooks: hooks, options: PlayOptions(forks: 1))
    #expect(log.deeds == ["m1 run a", "m1 close", "m2 run a", "m2 run b", "m2 close"])
    #expect(recap.migrations.map(\.outcome) == [.failed, .notStarted, .notStarted])
    #expect(recap.exitStatus == 1)
    #expect(
      recap.migrations[0].error?.description
        == "error: migration m1, step a: it broke [playbook.step-failed]")
    #expect(log.events.contains(.notStarted(play: "play 1", migrations: ["m3"])))
    #expect(log.events.contains(.notStarted(play: "play 2", migrations: ["m2"])))
  }

  @Test func aStepsOwnErrorKeepsItsCodeAndPlace() async throws {
    let hooks = Hooks(run: { _, _ in throw ConvoyError("ssh.refused", "no route", at: .host("t1"), hint: "look") })
    let recap = try await play("- steps: [a]", on: fleet(1), log: log, hooks: hooks)
    #expect(recap.migrations[0].error?.description == "error: host t1: no route [ssh.refused]\nhint: look")
  }

  @Test func aContextThatCannotBeMadeFailsItsMigrationOnly() async throws {
    let playbook = try library().bind(try Playbook.parse("- steps: [a]", path: "play.yml"))
    let engine = PlayEngine<TestContext>(observer: log, confirm: { _ in false }) { [log] migration, reporter in
      if migration.name == "m1" { throw Broken() }
      return TestContext(migrationName: migration.name, log: log, reporter: reporter)
    }
    let recap = try await engine.run(playbook, inventory: fleet(2))
    #expect(recap.migrations.map(\.outcome) == [.failed, .ok])
    #expect(recap.migrations[0].error?.message == "it broke")
    #expect(log.deeds == ["m2 run a", "m2 close"])
  }

  // MARK: Undo

  @Test func undoGoesBackInReverseAndTakesTheFailedStepFirst() async throws {
    let hooks = Hooks(isDone: { _, step in step == "b" }, run: { _, step in if step == "c" { throw Broken() } })
    let recap = try await play("- { on_failure: undo, steps: [a, b, same, c] }", on: fleet(1), log: log, hooks: hooks)
    #expect(
      log.deeds == [
        "m1 run a", "m1 run same", "m1 run c", "m1 undo c", "m1 undo same", "m1 undo b", "m1 undo a", "m1 close",
      ])
    // `b` was done before: by an earlier run that was killed, say.
    #expect(recap.migrations[0].undone.map(\.step) == ["c", "same", "b", "a"])
    #expect(
      recap.migrations[0].undone.map(\.result) == [
        .undone("took back c"), .nothingToUndo, .undone("took back b"), .undone("took back a"),
      ])
    #expect(recap.migrations[0].leftDone == [])
  }

  @Test func withStopNothingIsUndone() async throws {
    let hooks = Hooks(run: { _, step in if step == "b" { throw Broken() } })
    _ = try await play("- steps: [a, b]", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run a", "m1 run b", "m1 close"])
  }

  @Test func aStepMayLeaveItsOwnFailureAlone() async throws {
    let hooks = Hooks(run: { _, step in if step == "half" { throw Broken() } })
    _ = try await play("- { on_failure: undo, steps: [a, half] }", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run a", "m1 run half", "m1 undo a", "m1 close"])
  }

  @Test func undoStopsAtThePointOfNoReturn() async throws {
    let hooks = Hooks(run: { _, step in if step == "c" { throw Broken() } })
    let recap = try await play(
      "- { on_failure: undo, steps: [a, point, b, c] }", on: fleet(1), log: log, hooks: hooks)
    #expect(
      log.deeds == [
        "m1 run a", "m1 run point", "m1 run b", "m1 run c", "m1 undo c", "m1 undo b", "m1 close",
      ])
    #expect(recap.migrations[0].leftDone == ["a", "point"])
    #expect(recap.migrations[0].leftDoneReason == "point is the point of no return")
  }

  @Test func aPointOfNoReturnThatFailedHalfWayIsNotUndoneEither() async throws {
    let hooks = Hooks(run: { _, step in if step == "point" { throw Broken() } })
    let recap = try await play("- { on_failure: undo, steps: [a, point] }", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run a", "m1 run point", "m1 close"])
    #expect(recap.migrations[0].leftDone == ["a", "point"])
  }

  @Test func aPointOfNoReturnThatSaysThatItWasNotPassedIsUndoneWithWhatCameBefore() async throws {
    let hooks = Hooks(run: { _, step in if step == "door" { throw Broken() } })
    let recap = try await play("- { on_failure: undo, steps: [a, door] }", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run a", "m1 run door", "m1 undo door", "m1 undo a", "m1 close"])
    #expect(recap.migrations[0].leftDone == [])
  }

  @Test func aPointOfNoReturnThatAnEarlierRunPassedIsRespected() async throws {
    let hooks = Hooks(isDone: { _, step in step == "point" }, run: { _, step in if step == "b" { throw Broken() } })
    let recap = try await play("- { on_failure: undo, steps: [a, b, point, c] }", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds == ["m1 run a", "m1 run b", "m1 close"])
    #expect(recap.migrations[0].leftDone == ["a", "b"])
  }

  @Test func anUndoThatFailsKeepsNoOtherFromBeingUndone() async throws {
    let hooks = Hooks(
      run: { _, step in if step == "c" { throw Broken() } }, undo: { _, step in if step == "b" { throw Broken() } })
    let recap = try await play("- { on_failure: undo, steps: [a, base, b, c] }", on: fleet(1), log: log, hooks: hooks)
    #expect(log.deeds.suffix(4) == ["m1 undo c", "m1 undo b", "m1 undo a", "m1 close"])
    #expect(recap.migrations[0].leftDone == ["base", "b"])
    #expect(recap.migrations[0].leftDoneReason == "undoing b failed")
    #expect(recap.migrations[0].undone.map { $0.error?.message } == [nil, "it broke", nil])
  }

  // MARK: Check mode and diff

  @Test func checkModeAsksAndPlansAndNeverRuns() async throws {
    let hooks = Hooks(isDone: { _, step in step == "b" })
    let recap = try await play(
      "- { on_failure: undo, steps: [a, b, point, wipe] }", on: fleet(2), log: log, hooks: hooks,
      options: PlayOptions(check: true))
    #expect(!log.lines.contains { $0.contains(" run ") || $0.contains(" undo ") })
    #expect(recap.check && recap.exitStatus == 0)
    #expect(
      recap.migrations[0].steps.map(\.outcome) == [
        .wouldRun(actions: 2), .alreadyDone, .wouldRun(actions: 2), .wouldRun(actions: 2),
      ])
    let position = StepPosition(play: "play 1", migration: "m1", step: "a", number: 1, count: 4)
    #expect(
      log.events.contains(
        .stepWouldRun(
          position,
          [PlannedAction(host: "t", .command, "do a"), PlannedAction(.file(old: "a\n", new: "b\n"), "/etc/a")])))
  }

  @Test func diffShowsFilesBeforeTheStepRuns() async throws {
    _ = try await play("- steps: [a]", on: fleet(1), log: log, options: PlayOptions(diff: true))
    #expect(log.deeds == ["m1 plan a", "m1 run a", "m1 close"])
    let position = StepPosition(play: "play 1", migration: "m1", step: "a", number: 1, count: 1)
    #expect(log.events.contains(.stepDiff(position, [PlannedAction(.file(old: "a\n", new: "b\n"), "/etc/a")])))
    #expect(log.events.contains(.progress(position, "half of a")))
  }

  // MARK: Limit, start

  @Test func limitTakesMigrationsOut() async throws {
    let recap = try await play("- { steps: [a] }", on: fleet(3), log: log, options: PlayOptions(limit: "!m2"))
    #expect(recap.migrations.map(\.name) == ["m1", "m3"])
  }

  @Test func startAtPassesOverWhatStandsBefore() async throws {
    let text = "- { steps: [a, b] }\n- { on_failure: undo, steps: [a, c, same] }\n- { steps: [b] }\n"
    let hooks = Hooks(run: { _, step in if step == "same" { throw Broken() } })
    _ = try await play(text, on: fleet(1), log: log, hooks: hooks, options: PlayOptions(startAt: "c"))
    #expect(log.deeds == ["m1 run c", "m1 run same", "m1 undo same", "m1 undo c", "m1 close"])
  }

  @Test(arguments: [
    (
      PlayOptions(limit: "m9"),
      "error: pattern 'm9' matches no migration [inventory.unmatched-pattern]\nhint: did you mean 'm1'?"
    ),
    (
      PlayOptions(limit: "m2"),
      "error: limit 'm2' leaves no migration of this playbook [playbook.nothing-to-do]\nhint: its plays are for: m1"
    ),
    (
      PlayOptions(startAt: "d"),
      "error: play.yml: no step 'd' to start at [playbook.unknown-start]\nhint: did you mean 'a'?"
    ),
    (PlayOptions(forks: 0), "error: forks must be at least 1, not 0 [playbook.bad-forks]"),
  ])
  func whatCannotStart(_ options: PlayOptions, _ expected: String) async throws {
    do {
      _ = try await play("- { migrations: m1, steps: [a] }", on: fleet(2), log: log, options: options)
      Issue.record("no error")
    } catch let error as ConvoyError {
      #expect(error.description == expected)
      #expect(error.exitStatus == 2)
    }
    #expect(log.lines == [])
  }

  @Test func aPlaysUnknownPatternHasItsPlace() async throws {
    do {
      _ = try await play("- { migrations: m7, steps: [a] }", on: fleet(1), log: log)
      Issue.record("no error")
    } catch let error as ConvoyError {
      #expect(
        error.description
          == "error: play.yml:1:17: pattern 'm7' matches no migration [inventory.unmatched-pattern]\nhint: did you mean 'm1'?"
      )
    }
  }

  // MARK: Confirmation

  @Test func whatDestroysIsAskedForOnceForAllMigrations() async throws {
    let questions = Mutex<[String]>([])
    let recap = try await play("- steps: [wipe]", on: fleet(3), log: log) { question in
      questions.withLock { $0.append(question) }
      return true
    }
    #expect(questions.withLock { $0 } == ["step wipe wipes the target (m1, m2, m3). Go on?"])
    #expect(recap.exitStatus == 0)
  }

  @Test func whatIsDestroyedOfOneMigrationIsAskedForThatOne() async throws {
    let questions = Mutex<[String]>([])
    let hooks = Hooks(destruction: { migration, step in
      migration == "m2" && step == "wipe" ? "burns the target" : nil
    })
    let recap = try await play(
      "- steps: [a, wipe]", on: fleet(2), log: log, hooks: hooks, options: PlayOptions(forks: 1)
    ) { question in
      questions.withLock { $0.append(question) }
      return !question.contains("burns")
    }
    #expect(
      questions.withLock { $0 } == [
        "step wipe wipes the target (m1, m2). Go on?", "step wipe burns the target (m2). Go on?",
      ])
    #expect(log.deeds.contains("m1 run wipe") && !log.deeds.contains("m2 run a"))
    #expect(recap.migrations[1].error?.message == "not confirmed: step wipe burns the target")
  }

  @Test func withoutAYesNothingIsBegun() async throws {
    let recap = try await play("- { on_failure: undo, steps: [a, wipe] }", on: fleet(1), log: log)
    #expect(log.deeds == ["m1 close"])
    #expect(
      recap.migrations[0].error?.description == """
        error: migration m1, step wipe: not confirmed: step wipe wipes the target [playbook.not-confirmed]
        hint: answer yes, or run again with --yes
        """)
  }

  @Test func neitherWithYesNorWhenDoneIsAnythingAsked() async throws {
    var recap = try await play("- steps: [wipe]", on: fleet(1), log: log, options: PlayOptions(yes: true)) { _ in
      Issue.record("asked")
      return false
    }
    #expect(recap.exitStatus == 0)
    let hooks = Hooks(isDone: { _, _ in true })
    recap = try await play("- steps: [wipe]", on: fleet(1), log: log, hooks: hooks) { _ in
      Issue.record("asked")
      return false
    }
    #expect(recap.exitStatus == 0)
  }

  // MARK: Cancellation

  /// Runs a playbook in a task that is cancelled as soon as a step signals that it is in hand.
  private func cancelled(_ text: String, count: Int, forks: Int = 5) async throws -> PlayRecap {
    let inHand = Latch()
    let never = Latch()
    let log = log
    let hooks = Hooks(run: { _, step in
      guard step == "b" else { return }
      await inHand.open()
      try await never.wait()
    })
    let inventory = try fleet(count)
    let task = Task {
      try await play(text, on: inventory, log: log, hooks: hooks, options: PlayOptions(forks: forks))
    }
    try await inHand.wait()
    task.cancel()
    return try await task.value
  }

  @Test func cancellationReachesTheStepInHandAndNothingFurtherRuns() async throws {
    let recap = try await cancelled("- { steps: [a, b, c] }\n- { steps: [c] }\n", count: 2, forks: 1)
    #expect(log.deeds == ["m1 run a", "m1 run b", "m1 close"])
    #expect(recap.migrations.map(\.outcome) == [.interrupted, .notStarted])
    #expect(recap.migrations[0].steps.last?.outcome == .interrupted)
    #expect(recap.exitStatus == 3)
  }

  @Test func aCancelledPlayThatUndoesUndoesUncancelled() async throws {
    let recap = try await cancelled("- { on_failure: undo, steps: [a, b, c] }", count: 1)
    #expect(log.deeds == ["m1 run a", "m1 run b", "m1 undo b", "m1 undo a", "m1 close"])
    #expect(recap.migrations[0].outcome == .interrupted && recap.migrations[0].undone.count == 2)
    #expect(recap.migrations[0].undone.allSatisfy { $0.error == nil })
  }

  @Test func undoingIsNotCancelled() async throws {
    let seen = Mutex<[Bool]>([])
    let inHand = Latch()
    let never = Latch()
    let hooks = Hooks(
      run: { _, _ in
        await inHand.open()
        try await never.wait()
      },
      undo: { _, _ in
        let isCancelled = Task.isCancelled
        seen.withLock { $0.append(isCancelled) }
      })
    let log = log
    let inventory = try fleet(1)
    let task = Task { try await play("- { on_failure: undo, steps: [a] }", on: inventory, log: log, hooks: hooks) }
    try await inHand.wait()
    task.cancel()
    _ = try await task.value
    #expect(seen.withLock { $0 } == [false])
  }
}
