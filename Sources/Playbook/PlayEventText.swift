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
    case .progress(let position, let text):
      return ["\(head(position)): \(text)"]
    case .stepFinished(let position, let result, let duration):
      let figures = result.figures.map(RecapText.text)
      let summary = ([result.summary] + figures).filter { !$0.isEmpty }.joined(separator: ", ")
      return ["\(head(position)): \(result.changed ? "changed" : "ok") in \(RecapText.time(duration)): \(summary)"]
    case .stepFailed(let position, let error, let duration):
      return ["\(head(position)): failed after \(RecapText.time(duration))"] + split(error.description)
    case .migrationFailed(let position, let error):
      return ["[\(position.migration)] failed before its first step"] + split(error.description)
    case .stepInterrupted(let position, let duration):
      return ["\(head(position)): interrupted after \(RecapText.time(duration))"]
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

/// The difference of two texts, line by line.
public enum LineDiff {
  /// `diff -u`'s lines, with three lines of context, hunk headers included and file headers not.
  public static func unified(old: String, new: String, context: Int = 3) -> [String] {
    let a = lines(old)
    let b = lines(new)
    let script = script(a, b)
    var hunks: [String] = []
    var index = 0
    while let change = script[index...].firstIndex(where: { $0.mark != " " }) {
      let start = max(index, change - context)
      var end = change
      // The hunk goes on while the next change is near enough for the contexts to touch.
      while let next = script[end...].firstIndex(where: { $0.mark != " " }), next - end <= 2 * context {
        end = next + 1
      }
      let stop = min(script.count, end + context)
      let part = script[start..<stop]
      let oldCount = part.count { $0.mark != "+" }
      let newCount = part.count { $0.mark != "-" }
      let oldStart = script[..<start].count { $0.mark != "+" } + (oldCount > 0 ? 1 : 0)
      let newStart = script[..<start].count { $0.mark != "-" } + (newCount > 0 ? 1 : 0)
      hunks.append("@@ -\(oldStart),\(oldCount) +\(newStart),\(newCount) @@")
      hunks += part.map { String($0.mark) + $0.line }
      index = stop
    }
    return hunks
  }

  private static func lines(_ text: String) -> [String] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  private static func script(_ a: [String], _ b: [String]) -> [(mark: Character, line: String)] {
    let difference = b.difference(from: a)
    var removed: Set<Int> = []
    var inserted: Set<Int> = []
    for change in difference {
      switch change {
      case .remove(let offset, _, _): removed.insert(offset)
      case .insert(let offset, _, _): inserted.insert(offset)
      }
    }
    var script: [(mark: Character, line: String)] = []
    var i = 0
    var j = 0
    while i < a.count || j < b.count {
      if i < a.count, removed.contains(i) {
        script.append(("-", a[i]))
        i += 1
      } else if j < b.count, inserted.contains(j) {
        script.append(("+", b[j]))
        j += 1
      } else {
        script.append((" ", a[i]))
        i += 1
        j += 1
      }
    }
    return script
  }
}
