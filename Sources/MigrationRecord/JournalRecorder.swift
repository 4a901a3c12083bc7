package import Journal
package import Playbook
import ReplicationModel

/// Keeps what became of every step and of every undoing, by which run, in the journal; not for check mode, in which
/// nothing is done.
///
/// A journal that cannot be written does not stop a step half-way: the step's own facts are written by the step, and
/// those do. A row that could not be ended is closed with its run.
package actor JournalRecorder: PlayObserver {
  private let journal: Journal
  private let run: RunID
  private var open: [StepPosition: StepID] = [:]

  package init(journal: Journal, run: RunID) {
    self.journal = journal
    self.run = run
  }

  package func observe(_ event: PlayEvent) async {
    switch event {
    case .stepStarted(let position):
      await begin(position)
    case .stepAlreadyDone(let position):
      await end(position, .alreadyDone)
    case .stepNotMeant(let position, let reason):
      await end(position, .notMeant, summary: reason)
    case .stepFinished(let position, let result, _):
      await end(position, result.changed ? .changed : .ok, summary: result.summary)
    case .stepFailed(let position, let error, _):
      await end(position, .failed, error: error.description)
    case .stepInterrupted(let position, _):
      await end(position, .interrupted)
    case .migrationFailed(let position, let error):
      await begin(position)
      await end(position, .notBegun, error: error.description)
    case .undoing(let position):
      await begin(position, isUndo: true)
    case .undone(let position, .undone(let summary)):
      await end(position, .undone, summary: summary)
    case .undone(let position, .nothingToUndo):
      await end(position, .ok)
    case .undoFailed(let position, let error):
      await end(position, .undoFailed, error: error.description)
    case .playStarted, .batchStarted, .notStarted, .stepWouldRun, .stepDiff, .progress, .remark, .undoStopped,
      .migrationFinished:
      break
    }
  }

  private func begin(_ position: StepPosition, isUndo: Bool = false) async {
    let run = self.run
    open[position] = try? await journal.perform { file throws(ConvoyError) in
      try file.beginStep(run: run, migration: position.migration, name: position.step, isUndo: isUndo)
    }
  }

  private func end(
    _ position: StepPosition, _ outcome: StepOutcome, summary: String? = nil, error: String? = nil
  ) async {
    guard let step = open.removeValue(forKey: position) else { return }
    try? await journal.perform { file throws(ConvoyError) in
      try file.endStep(step, outcome: outcome, summary: summary, error: error)
    }
  }
}
