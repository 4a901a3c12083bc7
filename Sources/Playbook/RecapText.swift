import Presentation
import ReplicationModel

/// Renders the closing report for people.
public enum RecapText {
  /// A table of migrations, a table of each migration's steps, and what went wrong.
  public static func render(_ recap: PlayRecap) -> String {
    var text = recap.check ? "PLAY RECAP (check mode: nothing was changed)\n" : "PLAY RECAP\n"
    let changed = recap.check ? "WOULD RUN" : "CHANGED"
    var table = TextTable(titles: ["MIGRATION", "OUTCOME", changed, "ALREADY DONE", "TIME"])
    for migration in recap.migrations {
      let wouldRun = migration.steps.count { if case .wouldRun = $0.outcome { true } else { false } }
      let alreadyDone = migration.steps.count { $0.outcome == .alreadyDone }
      table.add([
        migration.name, migration.outcome.rawValue, String(recap.check ? wouldRun : migration.changedCount),
        String(alreadyDone), migration.steps.isEmpty ? "-" : HumanFormat.elapsed(migration.duration),
      ])
    }
    text += table.text()
    if !recap.hosts.isEmpty {
      var hosts = TextTable(titles: ["HOST", "OK", changed, "FAILED", "UNREACHABLE"])
      for host in recap.hosts {
        hosts.add([host.name] + [host.ok, host.changed, host.failed, host.unreachable].map { String($0) })
      }
      text += "\n" + hosts.text()
    }
    for migration in recap.migrations where !migration.steps.isEmpty || migration.error != nil {
      text += "\n\(migration.name)\n" + details(migration)
    }
    return text
  }

  private static func details(_ migration: MigrationRecap) -> String {
    var table = TextTable(columns: 4)
    for record in migration.steps {
      table.add(["  \(record.step)", outcome(record.outcome), HumanFormat.elapsed(record.duration), summary(record)])
      for row in databases(record) { table.add(row) }
    }
    var text = table.text()
    for undo in migration.undone {
      switch (undo.result, undo.error) {
      case (_, let error?): text += "  undoing \(undo.step) failed: \(error.message) [\(error.code)]\n"
      case (.undone(let summary), _): text += "  undone \(undo.step): \(summary)\n"
      case (.nothingToUndo, _), (nil, nil): break
      }
    }
    if !migration.leftDone.isEmpty {
      let reason = migration.leftDoneReason.map { " (\($0))" } ?? ""
      text += "  not undone: \(migration.leftDone.joined(separator: ", "))\(reason)\n"
    }
    if let error = migration.error { text += "  \(error.description.replacing("\n", with: "\n  "))\n" }
    return text
  }

  private static func outcome(_ outcome: StepRecap.Outcome) -> String {
    switch outcome {
    case .ran(let result): result.changed ? "changed" : "ok"
    case .alreadyDone: "already done"
    case .notMeant: "not meant"
    case .wouldRun: "would run"
    case .failed: "failed"
    case .interrupted: "interrupted"
    }
  }

  private static func databases(_ record: StepRecap) -> [[String]] {
    guard case .ran(let result) = record.outcome else { return [] }
    return result.databases.map { database in
      let bytes = database.bytes.map { [amount($0)] + rate($0, over: database.duration) } ?? []
      return [
        "    \(database.name)", "", database.duration.map(HumanFormat.elapsed) ?? "", bytes.joined(separator: ", "),
      ]
    }
  }

  /// None of what took too short a time to tell.
  private static func rate(_ bytes: UInt64, over duration: Duration?) -> [String] {
    guard let duration, duration >= .milliseconds(100), bytes > 0 else { return [] }
    return [HumanFormat.rate(bytes: bytes, over: duration, .carried)]
  }

  private static func summary(_ record: StepRecap) -> String {
    switch record.outcome {
    case .ran(let result):
      let figures = result.figures.flatMap { figure in
        [text(figure)] + (figure.unit == .bytes ? rate(figure.value, over: record.duration) : [])
      }
      return ([result.summary] + figures).filter { !$0.isEmpty }.joined(separator: ", ")
    case .wouldRun(let actions): return HumanFormat.counted(actions, "action")
    case .notMeant(let reason): return reason
    case .alreadyDone, .failed, .interrupted: return ""
    }
  }

  /// `1,200 rows`, `1.5 GB copied`.
  static func text(_ figure: StepFigure) -> String {
    "\(figure.unit == .count ? HumanFormat.count(figure.value) : amount(figure.value)) \(figure.name)"
  }

  private static func amount(_ bytes: UInt64) -> String { HumanFormat.bytes(bytes, .carried) }
}
