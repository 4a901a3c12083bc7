import Inventory
import ReplicationModel

/// Takes one migration through the steps of one play, and back again where the play says so.
struct MigrationRunner<Context: StepContext>: Sendable {
  let play: BoundPlay<Context>
  /// The steps that run, by their place in the play.
  let steps: [Int]
  let options: PlayOptions
  let observer: any PlayObserver
  let gate: ConfirmationGate
  /// All migrations of the play, for questions.
  let migrations: [String]
  let makeContext: @Sendable (Migration, StepReporter) async throws -> Context

  func run(_ migration: Migration) async -> MigrationRecap {
    let reporter = StepReporter(observer: observer, migration: migration.name)
    var recap = MigrationRecap(name: migration.name)
    do {
      let context = try await makeContext(migration, reporter)
      await run(migration, context, reporter, &recap)
      await context.close()
    } catch {
      await fail(before: error, &recap)
    }
    await observer.observe(
      .migrationFinished(play: play.play.name, migration: migration.name, recap.outcome))
    return recap
  }

  /// Something failed before the first step.
  private func fail(before error: any Error, _ recap: inout MigrationRecap) async {
    if Task.isCancelled {
      recap.outcome = .interrupted
      return
    }
    let position = position(steps.first ?? 0, recap.name)
    let placed = convoyError(error, migration: recap.name, step: position.step)
    recap.outcome = .failed
    recap.error = placed
    await observer.observe(.migrationFailed(position, placed))
  }

  private func position(_ index: Int, _ migration: String) -> StepPosition {
    StepPosition(
      play: play.play.name, migration: migration, step: play.steps[index].name, number: index + 1,
      count: play.steps.count)
  }

  // MARK: Forward

  private func run(
    _ migration: Migration, _ context: Context, _ reporter: StepReporter, _ recap: inout MigrationRecap
  ) async {
    // Nothing up to here is ever undone: the last point of no return that was passed, by this run or by another.
    var barrier = -1
    var taken: [Int] = []
    if play.play.onFailure == .undo, !options.check {
      do {
        for (index, step) in play.steps.enumerated() where step.step.isPointOfNoReturn {
          if try await step.step.isPassed(context) { barrier = index }
        }
      } catch {
        await fail(before: error, &recap)
        return
      }
    }
    do {
      try await askBeforehand(context, reporter, recap.name)
    } catch {
      await fail(before: error, &recap)
      return
    }
    for index in steps {
      if Task.isCancelled {
        recap.outcome = .interrupted
        break
      }
      let position = position(index, recap.name)
      reporter.move(to: position)
      await observer.observe(.stepStarted(position))
      var begun = false
      let start = ContinuousClock.now
      do {
        let outcome = try await take(index, context, position, begun: &begun)
        // What an earlier run of this play has done (a killed one, say) is part of what a failure has to take back.
        if begun || outcome == .alreadyDone && !options.check { taken.append(index) }
        if play.steps[index].step.isPointOfNoReturn, !options.check, !outcome.isNotMeant {
          barrier = max(barrier, index)
        }
        recap.steps.append(record(index, migration, position, outcome, since: start))
        if case .ran(let result) = outcome {
          await observer.observe(.stepFinished(position, result, start.duration(to: .now)))
        }
      } catch {
        if begun {
          taken.append(index)
          if await isPassedByItsFailure(index, context) { barrier = max(barrier, index) }
        }
        await fail(error, index, migration, position, since: start, &recap)
        if begun, !play.steps[index].step.isUndoneAfterItsOwnFailure { taken.removeLast() }
        break
      }
    }
    reporter.move(to: nil)
    if recap.outcome != .ok, play.play.onFailure == .undo, !taken.isEmpty {
      await undo(taken, barrier: barrier, context, reporter, &recap)
    }
  }

  /// One that cannot be asked was passed. In a task of its own, since the failure may be a cancellation.
  private func isPassedByItsFailure(_ index: Int, _ context: Context) async -> Bool {
    let step = play.steps[index].step
    guard step.isPointOfNoReturn else { return false }
    return await Task { (try? await step.isPassedByItsFailure(context)) ?? true }.value
  }

  /// Takes one step. `begun` is set when `run` is about to be called: from then on there may be something to undo.
  private func take(
    _ index: Int, _ context: Context, _ position: StepPosition, begun: inout Bool
  ) async throws -> StepRecap.Outcome {
    let bound = play.steps[index]
    if let reason = try await play.obstacle(index, context) {
      await observer.observe(.stepNotMeant(position, reason: reason))
      return .notMeant(reason: reason)
    }
    if try await bound.step.isDone(context) {
      await observer.observe(.stepAlreadyDone(position))
      return .alreadyDone
    }
    if options.check {
      let actions = try await bound.step.plan(context)
      await observer.observe(.stepWouldRun(position, actions))
      return .wouldRun(actions: actions.count)
    }
    if options.diff {
      let files = try await bound.step.plan(context).filter { if case .file = $0.kind { true } else { false } }
      if !files.isEmpty { await observer.observe(.stepDiff(position, files)) }
    }
    if options.step, await !gate.askForStep("[\(position.migration)] run step \(bound.name)?") {
      try Task.checkCancellation()
      throw Stopped()
    }
    // What was not foreseen: a step that had been done, or was not meant, when the play began.
    if !options.yes { try await ask([index], context, position.migration) }
    try Task.checkCancellation()
    begun = true
    return .ran(try await bound.step.run(context))
  }

  // MARK: Questions

  /// Every question of this migration before its first change: an answer that takes its time holds nobody up, and a no
  /// leaves nothing to be undone.
  private func askBeforehand(_ context: Context, _ reporter: StepReporter, _ migration: String) async throws {
    guard !options.yes, !options.check else { return }
    var meant: [Int] = []
    for index in steps {
      // Where that cannot be told yet, the step itself says why.
      if (try? await willAsk(index, context)) == true { meant.append(index) }
    }
    guard !meant.isEmpty else { return }
    for index in steps {
      if let line = try? await play.steps[index].step.expectation(context) { await reporter.progress(line) }
    }
    try await ask(meant, context, migration)
  }

  private func willAsk(_ index: Int, _ context: Context) async throws -> Bool {
    let bound = play.steps[index]
    var asks = bound.confirmation != nil
    if !asks { asks = try await bound.step.destruction(context) != nil }
    guard asks, try await play.obstacle(index, context) == nil else { return false }
    return try await !bound.step.isDone(context)
  }

  /// Once for all migrations of the play, and once for each where a step does more to it.
  private func ask(_ indices: [Int], _ context: Context, _ migration: String) async throws {
    let steps = indices.compactMap { index in play.steps[index].confirmation.map { (index, $0) } }
    let names = migrations.joined(separator: ", ")
    let refused = await gate.ask(steps.map(\.0)) { asked in
      let words = steps.filter { asked.contains($0.0) }.map { "step \(play.steps[$0.0].name) \($0.1)" }
      return "\(words.joined(separator: ";\n")) (\(names)). Go on?"
    }
    if let (index, words) = steps.first(where: { $0.0 == refused }) { throw try notConfirmed(index, words, migration) }
    for index in indices {
      let name = play.steps[index].name
      guard let destruction = try await play.steps[index].step.destruction(context) else { continue }
      let question = "step \(name) \(destruction) (\(migration)). Go on?"
      if await gate.ask(question, of: "\(migration) \(index)") { continue }
      throw try notConfirmed(index, destruction, migration)
    }
  }

  private func notConfirmed(_ index: Int, _ words: String, _ migration: String) throws -> ConvoyError {
    try Task.checkCancellation()
    let step = play.steps[index].name
    return ConvoyError(
      "playbook.not-confirmed", "not confirmed: step \(step) \(words)",
      at: .step(migration: migration, host: nil, step: step), hint: "answer yes, or run again with --yes")
  }

  private func record(
    _ index: Int, _ migration: Migration, _ position: StepPosition, _ outcome: StepRecap.Outcome,
    since start: ContinuousClock.Instant
  ) -> StepRecap {
    StepRecap(
      play: position.play, step: position.step, outcome: outcome, duration: start.duration(to: .now),
      hosts: play.steps[index].step.sides.map { migration.host($0).name })
  }

  private func fail(
    _ error: any Error, _ index: Int, _ migration: Migration, _ position: StepPosition,
    since start: ContinuousClock.Instant, _ recap: inout MigrationRecap
  ) async {
    let elapsed = start.duration(to: .now)
    if Task.isCancelled || error is Stopped {
      recap.outcome = .interrupted
      recap.steps.append(record(index, migration, position, .interrupted, since: start))
      await observer.observe(.stepInterrupted(position, elapsed))
    } else {
      let placed = convoyError(error, migration: position.migration, step: position.step)
      recap.outcome = .failed
      recap.error = placed
      var record = record(index, migration, position, .failed, since: start)
      if let host = placed.host { record.hosts = [host] }
      record.isUnreachable = placed.isUnreachable
      recap.steps.append(record)
      await observer.observe(.stepFailed(position, placed, elapsed))
    }
  }

  // MARK: Back

  /// Undoes the steps that were taken, the last one first, down to the barrier. One that cannot be undone keeps none of
  /// the others from it, but for those that need it.
  ///
  /// Runs in a task of its own, which the cancellation that may have led here does not reach.
  private func undo(
    _ taken: [Int], barrier: Int, _ context: Context, _ reporter: StepReporter, _ recap: inout MigrationRecap
  ) async {
    let name = recap.name
    let part = await Task { [recap] in
      var part = recap
      var left: [Int] = []
      var failed: [String] = []
      for index in taken.reversed() where index > barrier {
        if !failed.isEmpty, play.steps[index].step.isUndoneBehindOthersOnly {
          left.append(index)
          continue
        }
        let position = position(index, name)
        reporter.move(to: position)
        await observer.observe(.undoing(position))
        do {
          let result = try await play.steps[index].step.undo(context)
          part.undone.append(UndoRecord(step: position.step, result: result))
          await observer.observe(.undone(position, result))
        } catch {
          let placed = convoyError(error, migration: name, step: position.step)
          part.undone.append(UndoRecord(step: position.step, error: placed))
          await observer.observe(.undoFailed(position, placed))
          failed.append(position.step)
          left.append(index)
        }
      }
      var reason = failed.isEmpty ? nil : "undoing \(failed.joined(separator: ", ")) failed"
      let kept = taken.filter { $0 <= barrier }
      if barrier >= 0, reason == nil, !kept.isEmpty {
        reason = "\(play.steps[barrier].name) is the point of no return"
      }
      part.leftDone = (kept + left.reversed()).map { play.steps[$0].name }
      part.leftDoneReason = reason
      if let reason, !part.leftDone.isEmpty {
        await observer.observe(
          .undoStopped(play: play.play.name, migration: name, steps: part.leftDone, reason: reason))
      }
      reporter.move(to: nil)
      return part
    }.value
    recap = part
  }
}

extension ConvoyError {
  /// The host that it is about.
  fileprivate var host: String? {
    switch place {
    case .host(let host), .step(_, let host?, _): host
    default: nil
    }
  }

  /// Nobody answered there, or let us in.
  fileprivate var isUnreachable: Bool {
    code.rawValue.hasPrefix("ssh.")
      || ["postgres.unreachable", "postgres.no-connection-left", "postgres.connection-lost"].contains(code)
  }
}

/// A person has stopped a migration before a step.
private struct Stopped: Error {}

/// Any error as a person reads it, with the step as its place unless it knows a better one.
private func convoyError(_ error: any Error, migration: String, step: String) -> ConvoyError {
  let place = ConvoyError.Place.step(migration: migration, host: nil, step: step)
  if let error = error as? ConvoyError { return error.placed(at: place) }
  if let error = error as? any ConvoyErrorConvertible { return error.convoyError(at: place) }
  let text = error is CancellationError ? "the step was cancelled" : "\(error)"
  return ConvoyError("playbook.step-failed", text.replacing("\n", with: " "), at: place)
}
