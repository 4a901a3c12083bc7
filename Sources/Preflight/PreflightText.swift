package import Presentation

/// What `pgconvoy check` prints: for each migration a table of findings, then a line of counts.
///
///     lab: preflight of lab-source → lab-target
///     SEVERITY  WHERE       FINDING
///     error     lab-source  wal_level is replica [preflight.wal-level]
///                           no logical slot can be made
///                           remedy: ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL
///
///     1 error, 0 warnings, 0 notes; 38 checks made
package enum PreflightText {
  /// - Returns: lines, each ended by a newline; nothing that a terminal would act on, except colours where asked for.
  package static func render(_ reports: [PreflightReport], style: TextStyle = .plain) -> String {
    reports.map { report in
      lines(report, style).map { $0 + "\n" }.joined()
    }.joined(separator: "\n")
  }

  /// One finding as one line, for a log or a step's progress.
  package static func line(_ finding: Finding) -> String {
    var text = finding.severity.rawValue + ": "
    let place = place(of: finding)
    if !place.isEmpty { text += place + ": " }
    text += DisplayText.visible(finding.problem) + " [" + finding.code + "]"
    return text
  }

  private static func lines(_ report: PreflightReport, _ style: TextStyle) -> [String] {
    let route = DisplayText.visible("\(report.source) → \(report.target)")
    var lines = ["\(DisplayText.visible(report.migration)): preflight of \(route)"]
    if !report.findings.isEmpty {
      var table = TextTable(titles: ["SEVERITY", "WHERE", "FINDING"])
      for finding in report.findings {
        table.rows.append([
          .init(finding.severity.rawValue, ink(finding.severity)), .init(place(of: finding)),
          .init("\(finding.problem) [\(finding.code)]"),
        ])
        if !finding.consequence.isEmpty { table.add(["", "", finding.consequence]) }
        if let remedy = finding.remedy { table.add(["", "", "remedy: \(remedy)"]) }
      }
      lines += table.lines(style) + [""]
    }
    lines.append(summary(report))
    // One reason can stand behind many checks.
    var reasons: [(reason: String, names: [String])] = []
    for check in report.checks {
      guard let reason = check.notMade else { continue }
      if let index = reasons.firstIndex(where: { $0.reason == reason }) {
        reasons[index].names.append(check.name)
      } else {
        reasons.append((reason, [check.name]))
      }
    }
    lines += reasons.map { "not made, since \(DisplayText.visible($0.reason)): \($0.names.joined(separator: ", "))" }
    return lines
  }

  package static func summary(_ report: PreflightReport) -> String {
    let made = report.checks.count { $0.notMade == nil }
    var text = [
      HumanFormat.counted(report.count(.error), "error"), HumanFormat.counted(report.count(.warning), "warning"),
      HumanFormat.counted(report.count(.note), "note"),
    ].joined(separator: ", ")
    text += "; \(HumanFormat.counted(made, "check")) made"
    let left = report.checks.count - made
    return left == 0 ? text : text + ", \(left) not made"
  }

  private static func ink(_ severity: Finding.Severity) -> TextStyle.Ink {
    switch severity {
    case .error: .red
    case .warning: .yellow
    case .note: .dim
    }
  }

  private static func place(of finding: Finding) -> String {
    let parts = [finding.host, finding.database.map { "database " + $0 }].compactMap(\.self)
    return DisplayText.visible(parts.joined(separator: ", "))
  }
}
