import Journal
import Playbook
import ReplicationModel

/// Writes events to standard output as they happen.
struct PlayPrinter: PlayObserver {
  let text: PlayEventText

  func observe(_ event: PlayEvent) async {
    let lines = text.lines(event)
    if !lines.isEmpty { Terminal.output(lines.joined(separator: "\n")) }
  }
}

/// Keeps what was done, by which run, in the journal. A journal that cannot be written does not stop a step half-way:
/// the step's own facts are written by the step, and those do.
actor JournalRecorder: PlayObserver {
  private let journal: Journal
  private let run: RunID
  private var open: [StepPosition: StepID] = [:]

  init(journal: Journal, run: RunID) {
    self.journal = journal
    self.run = run
  }

  func observe(_ event: PlayEvent) async {
    switch event {
    case .stepStarted(let position):
      let run = self.run
      open[position] = try? await journal.perform { file throws(ConvoyError) in
        try file.beginStep(run: run, migration: position.migration, name: position.step, host: nil)
      }
    case .stepFinished(let position, let result, _):
      await end(position, result.changed ? .changed : .ok, summary: result.summary)
    case .stepFailed(let position, let error, _):
      await end(position, .failed, error: error.description)
    case .stepInterrupted(let position, _):
      await end(position, .interrupted)
    default:
      break
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
