import ReplicationModel

/// Renders the closing report for people.
public enum RecapText {
  /// A table of migrations, a table of each migration's steps, and what went wrong.
  public static func render(_ recap: PlayRecap) -> String {
    var text = recap.check ? "PLAY RECAP (check mode: nothing was changed)\n" : "PLAY RECAP\n"
    var rows = [["MIGRATION", "OUTCOME", recap.check ? "WOULD RUN" : "CHANGED", "ALREADY DONE", "TIME"]]
    for migration in recap.migrations {
      let wouldRun = migration.steps.count { if case .wouldRun = $0.outcome { true } else { false } }
      let alreadyDone = migration.steps.count { $0.outcome == .alreadyDone }
      rows.append([
        migration.name, migration.outcome.rawValue, String(recap.check ? wouldRun : migration.changedCount),
        String(alreadyDone), migration.steps.isEmpty ? "-" : time(migration.duration),
      ])
    }
    text += table(rows)
    if !recap.hosts.isEmpty {
      let head = ["HOST", "OK", recap.check ? "WOULD RUN" : "CHANGED", "FAILED", "UNREACHABLE"]
      text +=
        "\n"
        + table(
          [head]
            + recap.hosts.map { host in
              [host.name] + [host.ok, host.changed, host.failed, host.unreachable].map { String($0) }
            })
    }
    for migration in recap.migrations where !migration.steps.isEmpty || migration.error != nil {
      text += "\n\(migration.name)\n" + details(migration)
    }
    return text
  }

  /// `0.4s`, `12.3s`, `3m05s`, `2h03m`.
  public static func time(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let tenths = seconds * 10 + (attoseconds + 50_000_000_000_000_000) / 100_000_000_000_000_000
    if tenths < 600 { return "\(tenths / 10).\(tenths % 10)s" }
    let whole = (tenths + 5) / 10
    if whole < 3600 { return "\(whole / 60)m\(padded(whole % 60))s" }
    return "\(whole / 3600)h\(padded(whole % 3600 / 60))m"
  }

  private static func padded(_ number: Int64) -> String { number < 10 ? "0\(number)" : String(number) }

  private static func details(_ migration: MigrationRecap) -> String {
    var text = table(
      migration.steps.flatMap { record in
        [["  \(record.step)", outcome(record.outcome), time(record.duration), summary(record)]] + databases(record)
      })
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

  private static func outcome(_ outcome: StepRecord.Outcome) -> String {
    switch outcome {
    case .ran(let result): result.changed ? "changed" : "ok"
    case .alreadyDone: "already done"
    case .notMeant: "not meant"
    case .wouldRun: "would run"
    case .failed: "failed"
    case .interrupted: "interrupted"
    }
  }

  private static func databases(_ record: StepRecord) -> [[String]] {
    guard case .ran(let result) = record.outcome else { return [] }
    return result.databases.map { database in
      let bytes = database.bytes.map { [amount($0)] + rate($0, over: database.duration) } ?? []
      return [
        "    \(database.name)", "", database.duration.map(time) ?? "", bytes.joined(separator: ", "),
      ]
    }
  }

  private static func rate(_ bytes: UInt64, over duration: Duration?) -> [String] {
    guard let duration, duration >= .milliseconds(100), bytes > 0 else { return [] }
    let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    return ["\(amount(UInt64(Double(bytes) / seconds)))/s"]
  }

  private static func summary(_ record: StepRecord) -> String {
    switch record.outcome {
    case .ran(let result):
      let figures = result.figures.flatMap { figure in
        [text(figure)] + (figure.unit == .bytes ? rate(figure.value, over: record.duration) : [])
      }
      return ([result.summary] + figures).filter { !$0.isEmpty }.joined(separator: ", ")
    case .wouldRun(let actions): return actions == 1 ? "1 action" : "\(actions) actions"
    case .notMeant(let reason): return reason
    case .alreadyDone, .failed, .interrupted: return ""
    }
  }

  /// `12 rows`, `1.5 GB copied`.
  static func text(_ figure: StepFigure) -> String {
    figure.unit == .count ? "\(figure.value) \(figure.name)" : "\(amount(figure.value)) \(figure.name)"
  }

  private static func amount(_ bytes: UInt64) -> String {
    for (unit, shift) in [("TB", UInt64(40)), ("GB", 30), ("MB", 20), ("kB", 10)] where bytes >= 1 << shift {
      let tenths = ((bytes >> (shift - 10)) * 10) >> 10
      return "\(tenths / 10).\(tenths % 10) \(unit)"
    }
    return "\(bytes) B"
  }

  /// Columns as wide as their widest cell, two spaces apart, no spaces at a line's end.
  static func table(_ rows: [[String]]) -> String {
    var widths: [Int] = []
    for row in rows {
      for (column, cell) in row.enumerated() {
        if column == widths.count { widths.append(0) }
        widths[column] = max(widths[column], cell.count)
      }
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell + String(repeating: " ", count: widths[column] - cell.count + 2)
      }
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}
