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
  /// - Parameter paint: colours a severity's word; the default leaves it as it is.
  /// - Returns: lines, each ended by a newline; nothing that a terminal would act on, but what `paint` adds.
  package static func render(
    _ reports: [PreflightReport], paint: (Finding.Severity, String) -> String = { _, text in text }
  ) -> String {
    reports.map { report in
      lines(report, paint).map { $0 + "\n" }.joined()
    }.joined(separator: "\n")
  }

  /// One finding as one line, for a log or a step's progress.
  package static func line(_ finding: Finding) -> String {
    var text = finding.severity.rawValue + ": "
    let place = place(of: finding)
    if !place.isEmpty { text += place + ": " }
    text += visible(finding.problem) + " [" + finding.code + "]"
    return text
  }

  private static func lines(
    _ report: PreflightReport, _ paint: (Finding.Severity, String) -> String
  ) -> [String] {
    var lines = ["\(visible(report.migration)): preflight of \(visible(report.source)) → \(visible(report.target))"]
    if !report.findings.isEmpty {
      let places = report.findings.map(place)
      let width = places.map(\.count).reduce("WHERE".count, max)
      let indent = String(repeating: " ", count: severityWidth + gap.count + width + gap.count)
      lines.append("SEVERITY" + gap + padded("WHERE", width) + gap + "FINDING")
      for (finding, place) in zip(report.findings, places) {
        let word = finding.severity.rawValue
        let space = String(repeating: " ", count: severityWidth - word.count)
        lines.append(
          paint(finding.severity, word) + space + gap + padded(place, width) + gap + visible(finding.problem)
            + " [\(finding.code)]")
        if !finding.consequence.isEmpty { lines.append(indent + visible(finding.consequence)) }
        if let remedy = finding.remedy { lines.append(indent + "remedy: " + visible(remedy)) }
      }
      lines.append("")
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
    lines += reasons.map { "not made, since \(visible($0.reason)): \($0.names.joined(separator: ", "))" }
    return lines
  }

  package static func summary(_ report: PreflightReport) -> String {
    let made = report.checks.count { $0.notMade == nil }
    var text = [
      counted(report.count(.error), "error"), counted(report.count(.warning), "warning"),
      counted(report.count(.note), "note"),
    ].joined(separator: ", ")
    text += "; \(counted(made, "check")) made"
    let left = report.checks.count - made
    return left == 0 ? text : text + ", \(left) not made"
  }

  package static func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

  private static let severityWidth = "SEVERITY".count
  private static let gap = "  "

  private static func place(of finding: Finding) -> String {
    [finding.host, finding.database.map { "database " + $0 }].compactMap { $0.map(visible) }.joined(separator: ", ")
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  /// With control and invisible characters made visible: names and queries come from outside.
  package static func visible(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control where scalar.value < 0x20:
        result.unicodeScalars.append(Unicode.Scalar(0x2400 + scalar.value) ?? "?")
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
        result += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
