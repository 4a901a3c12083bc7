public import Presentation
public import ReplicationModel

/// The closing report as a person reads it.
public enum MigrationReportText {
  /// - Returns: lines, each ended by a newline.
  public static func render(_ report: MigrationReport, style: TextStyle = .plain) -> String {
    var lines = head(report, style)
    if !report.databases.isEmpty { lines += [""] + databases(report, style) }
    if !report.phases.isEmpty { lines += [""] + phases(report, style) }
    if !report.markers.isEmpty { lines += [""] + markers(report, style) }
    if !report.findings.isEmpty { lines += [""] + findings(report, style) }
    lines += ["", verdict(report, style)]
    return lines.joined(separator: "\n") + "\n"
  }

  private static func head(_ report: MigrationReport, _ style: TextStyle) -> [String] {
    let name = DisplayText.visible(report.migration)
    let route = "\(DisplayText.visible(report.source)) → \(DisplayText.visible(report.target))"
    var facts = ["PostgreSQL \(report.versions.source) → \(report.versions.target)"]
    if let application = report.versions.application { facts.append(DisplayText.visible(application)) }
    if let lsn = report.handOffLSN { facts.append("hand-off at \(lsn)") }
    return [
      "\(style.paint(name, .bold)): \(route), \(words(report.outcome)) \(HumanFormat.moment(report.generatedAt))",
      facts.joined(separator: ", ") + ", pgconvoy \(report.versions.pgconvoy)",
    ]
  }

  private static func words(_ outcome: MigrationReport.Outcome) -> String {
    switch outcome {
    case .cutOver: "cut over"
    case .calledOff: "called off"
    case .rolledBack: "rolled back"
    case .verified: "verified"
    case .finished: "finished"
    }
  }

  private static func databases(_ report: MigrationReport, _ style: TextStyle) -> [String] {
    var table = TextTable([
      .init(title: "DATABASE", shrinksTo: 10), .init(title: "TX", right: true),
      .init(title: "CHANGES", right: true), .init(title: "SEQUENCES", right: true), .init(title: "TABLES", right: true),
      .init(title: "SOURCE ROWS", right: true), .init(title: "", right: false),
      .init(title: "TARGET ROWS", right: true), .init(title: "SOURCE SUM"), .init(title: ""),
      .init(title: "TARGET SUM"),
    ])
    table.rows = report.databases.map { database in
      let rows = sign(database.source?.rows, database.target?.rows)
      let sums = sign(database.source?.checksum, database.target?.checksum)
      return [
        .init(database.name),
        .init(HumanFormat.count(database.transactionsApplied)),
        .init(HumanFormat.count(database.rowsApplied)),
        .init(HumanFormat.count(database.sequencesSet)),
        .init(HumanFormat.count(database.tablesVerified)),
        .init(HumanFormat.count(database.source?.rows)), rows,
        .init(HumanFormat.count(database.target?.rows)),
        .init(checksum(database.source)), sums, .init(checksum(database.target)),
      ]
    }
    return table.lines(style)
  }

  private static func sign<Value: Equatable>(_ source: Value?, _ target: Value?) -> TextTable.Cell {
    guard let source, let target else { return .init("") }
    return source == target ? .init("=", .green) : .init("≠", .red)
  }

  /// The first twelve digits; the JSON form has them all.
  private static func checksum(_ side: MigrationReport.Side?) -> String {
    (side?.checksum).map { DisplayText.truncated(DisplayText.visible($0), to: 12) } ?? HumanFormat.unknown
  }

  private static let barWidth: UInt64 = 24

  private static func phases(_ report: MigrationReport, _ style: TextStyle) -> [String] {
    let longest = max(1, report.phases.map(\.milliseconds).max() ?? 1)
    var table = TextTable([.init(title: "PHASE"), .init(title: "TIME", right: true), .init(title: "")])
    table.rows = report.phases.map { phase in
      // In eighths of a column, rounded up, so that a short phase still shows.
      let share = Double(phase.milliseconds) / Double(longest) * Double(barWidth) * 8
      return [
        .init(phase.name), .init(HumanFormat.duration(milliseconds: phase.milliseconds)),
        .init(bar(eighths: Int(share.rounded(.up))), .cyan),
      ]
    }
    return table.lines(style)
  }

  private static func bar(eighths: Int) -> String {
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
  }

  private static func markers(_ report: MigrationReport, _ style: TextStyle) -> [String] {
    var table = TextTable([
      .init(title: "MARKER"), .init(title: "DATABASE", shrinksTo: 10), .init(title: "LSN"),
      .init(title: "CHANGES BEFORE", right: true),
    ])
    table.rows = report.markers.map { marker in
      [
        .init(marker.name), .init(marker.database),
        .init(marker.lsn.description), .init(HumanFormat.count(marker.changesBefore)),
      ]
    }
    return table.lines(style)
  }

  private static func findings(_ report: MigrationReport, _ style: TextStyle) -> [String] {
    report.findings.map { finding in
      let ink: TextStyle.Ink? =
        switch finding.severity {
        case .note: .dim
        case .warning: .yellow
        case .failure: .red
        }
      let place = finding.database.map { "database \(DisplayText.visible($0)): " } ?? ""
      return "\(style.paint(finding.severity.rawValue, ink)): \(place)\(DisplayText.visible(finding.text))"
    }
  }

  private static func verdict(_ report: MigrationReport, _ style: TextStyle) -> String {
    let verdicts = report.databases.map(\.isEqual)
    let different = UInt64(verdicts.count { $0 == false })
    let unverified = UInt64(verdicts.count { $0 == nil })
    var parts: [String] = []
    if different > 0 {
      let verb = different == 1 ? "differs" : "differ"
      parts.append(style.paint("\(HumanFormat.counted(different, "database")) \(verb)", .red))
    }
    if unverified > 0 {
      parts.append(style.paint("\(HumanFormat.counted(unverified, "database")) not compared", .yellow))
    }
    let equal = UInt64(verdicts.count) - different - unverified
    if equal > 0 { parts.append(style.paint("\(HumanFormat.counted(equal, "database")) equal on both sides", .green)) }
    if verdicts.isEmpty { parts.append("no databases") }
    if report.downtimeMilliseconds != nil {
      parts.append("downtime \(HumanFormat.duration(milliseconds: report.downtimeMilliseconds))")
    }
    return parts.joined(separator: ", ")
  }
}
