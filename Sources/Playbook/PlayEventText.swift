import Presentation
import ReplicationModel

/// Renders events as lines for a terminal or a log file.
public struct PlayEventText: Sendable {
  /// Whether a plan's changes to files are shown line by line.
  public var diff: Bool

  public init(diff: Bool) {
    self.diff = diff
  }

  /// The lines of one event, without line feeds; none for events that say nothing new to a reader.
  public func lines(_ event: PlayEvent) -> [String] {
    switch event {
    case .playStarted(let play, let migrations, let check):
      return ["PLAY \(play)\(check ? " (check mode)" : ""): \(migrations.joined(separator: ", "))"]
    case .batchStarted(_, let number, let count, let migrations):
      return count > 1 ? ["BATCH \(number) of \(count): \(migrations.joined(separator: ", "))"] : []
    case .notStarted(let play, let migrations):
      return ["not started in \(play): \(migrations.joined(separator: ", "))"]
    case .stepStarted(let position):
      return ["\(head(position)) (\(position.number)/\(position.count))"]
    case .stepAlreadyDone(let position):
      return ["\(head(position)): already done"]
    case .stepNotMeant(let position, let reason):
      return ["\(head(position)): not for this migration (\(reason))"]
    case .stepWouldRun(let position, let actions):
      return ["\(head(position)): would run"] + actions.flatMap(lines)
    case .stepDiff(let position, let actions):
      return ["\(head(position)): changes files"] + actions.flatMap(lines)
    case .remark(let migration, let text):
      return ["[\(migration)] \(text)"]
    case .progress(let position, let text):
      return ["\(head(position)): \(text)"]
    case .stepFinished(let position, let result, let duration):
      let figures = result.figures.map(RecapText.text)
      let summary = ([result.summary] + figures).filter { !$0.isEmpty }.joined(separator: ", ")
      return ["\(head(position)): \(result.changed ? "changed" : "ok") in \(HumanFormat.elapsed(duration)): \(summary)"]
    case .stepFailed(let position, let error, let duration):
      return ["\(head(position)): failed after \(HumanFormat.elapsed(duration))"] + split(error.description)
    case .migrationFailed(let position, let error):
      return ["[\(position.migration)] failed before its first step"] + split(error.description)
    case .stepInterrupted(let position, let duration):
      return ["\(head(position)): interrupted after \(HumanFormat.elapsed(duration))"]
    case .undoing(let position):
      return ["\(head(position)): undoing"]
    case .undone(_, .nothingToUndo):
      return []
    case .undone(let position, .undone(let summary)):
      return ["\(head(position)): undone: \(summary)"]
    case .undoFailed(let position, let error):
      return ["\(head(position)): undoing failed"] + split(error.description)
    case .undoStopped(_, let migration, let steps, let reason):
      return ["[\(migration)] not undone: \(steps.joined(separator: ", ")) (\(reason))"]
    case .migrationFinished(_, let migration, let outcome):
      return outcome == .ok ? [] : ["[\(migration)] \(outcome.rawValue)"]
    }
  }

  private func head(_ position: StepPosition) -> String { "[\(position.migration)] \(position.step)" }

  private func split(_ text: String) -> [String] {
    text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  /// One planned action: what and where, and a file's difference where differences are wanted.
  func lines(_ action: PlannedAction) -> [String] {
    let host = action.host.map { " on \($0)" } ?? ""
    switch action.kind {
    case .command: return block("run\(host)", action.text)
    case .sql(let database): return block("sql\(host), database \(database)", action.text)
    case .wait: return block("wait\(host)", action.text)
    case .note: return block("note\(host)", action.text)
    case .file(let old, let new):
      let verb =
        switch (old, new) {
        case (nil, _): "create"
        case (_, nil): "remove"
        default: "change"
        }
      let head = ["  \(verb)\(host): \(action.text)"]
      return diff ? head + LineDiff.unified(old: old ?? "", new: new ?? "").map { "    \($0)" } : head
    }
  }

  private func block(_ head: String, _ text: String) -> [String] {
    let lines = split(text)
    return lines.count == 1 ? ["  \(head): \(text)"] : ["  \(head):"] + lines.map { "    \($0)" }
  }
}
