import FoundationEssentials
public import ReplicationModel

/// The closing report as Markdown: the proof of a cutover or rollback, to be read, printed and filed.
public enum MigrationReportMarkdown {
  /// - Parameter seal: the SHA-256 of the report's JSON document, which this text goes with.
  /// - Returns: lines, each ended by a newline.
  public static func render(_ report: MigrationReport, seal: String? = nil) -> String {
    var lines = head(report, seal)
    lines += section("Databases", databases(report))
    for database in report.databases {
      let name = text(database.name)
      lines += section("Tables of \(name)", tables(database))
      lines += section("Sequences of \(name)", sequences(database))
    }
    lines += section("Markers", markers(report))
    lines += section("Durations", durations(report))
    lines += section("Findings", report.findings.map(finding))
    return lines.joined(separator: "\n") + "\n"
  }

  private static func head(_ report: MigrationReport, _ seal: String?) -> [String] {
    let arrow = report.direction == .forward ? "→" : "←"
    let what =
      switch report.outcome {
      case .cutOver: "Cutover"
      case .rolledBack: "Rollback"
      case .calledOff: "Cutover called off"
      case .verified: "Verification"
      case .finished: "End"
      }
    var facts: [(String, String)] = [
      ("Written", report.generatedAt.formatted(.iso8601)),
      ("By", text(report.by ?? HumanFormat.unknown)),
      ("Servers", "PostgreSQL \(text(report.versions.source)), \(text(report.versions.target))"),
      ("pgconvoy", text(report.versions.pgconvoy)),
    ]
    if let application = report.versions.application { facts.append(("Application", text(application))) }
    facts.append(("Hand-off", lsn(report.handOffLSN)))
    facts.append((report.direction == .forward ? "Way back from" : "Way forward from", lsn(report.wayLSN)))
    facts.append(("Downtime", HumanFormat.duration(milliseconds: report.downtimeMilliseconds)))
    if let seal { facts.append(("SHA-256 of the JSON document", "`\(seal)`")) }
    return ["# \(what) of \(text(report.migration)): \(text(report.source)) \(arrow) \(text(report.target))", ""]
      + table(["", ""], facts.map { [$0.0, $0.1] })
  }

  private static func databases(_ report: MigrationReport) -> [String] {
    guard !report.databases.isEmpty else { return [] }
    return table(
      [
        "Database", "Transactions", "Changes", "Tables", "Source rows", "Target rows", "Source checksum",
        "Target checksum", "Equal",
      ],
      report.databases.map { database in
        [
          text(database.name), HumanFormat.count(database.transactionsApplied), HumanFormat.count(database.rowsApplied),
          HumanFormat.count(database.tablesVerified), HumanFormat.count(database.source?.rows),
          HumanFormat.count(database.target?.rows), checksum(database.source), checksum(database.target),
          database.isEqual.map { $0 ? "yes" : "**no**" } ?? "not compared",
        ]
      })
  }

  private static func tables(_ database: MigrationReport.Database) -> [String] {
    guard let tables = database.tables, !tables.isEmpty else { return [] }
    return table(
      ["Table", "Source rows", "Target rows", "Source checksum", "Target checksum", "Equal"],
      tables.map { table in
        [
          text(table.name.description), HumanFormat.count(table.source?.rows), HumanFormat.count(table.target?.rows),
          checksum(table.source), checksum(table.target),
          (table.isEqual ? "yes" : "**no**") + (table.isSample == true ? ", by a sample" : ""),
        ]
      })
  }

  private static func sequences(_ database: MigrationReport.Database) -> [String] {
    guard let sequences = database.sequences, !sequences.isEmpty else { return [] }
    return table(
      ["Sequence", "Stands at", "Handed out"],
      sequences.map { [text($0.name.description), String($0.lastValue), $0.isCalled ? "yes" : "no"] })
  }

  private static func markers(_ report: MigrationReport) -> [String] {
    guard !report.markers.isEmpty else { return [] }
    return table(
      ["Marker", "Database", "LSN", "Changes since the one before"],
      report.markers.map {
        [text($0.name), text($0.database), lsn($0.lsn), HumanFormat.count($0.changesBefore)]
      })
  }

  private static func durations(_ report: MigrationReport) -> [String] {
    guard !report.phases.isEmpty else { return [] }
    return table(
      ["Step", "Time"],
      report.phases.map { [text($0.name), HumanFormat.duration(milliseconds: $0.milliseconds)] })
  }

  private static func finding(_ finding: MigrationReport.Finding) -> String {
    let place = finding.database.map { "database \(text($0)): " } ?? ""
    return "- **\(finding.severity.rawValue)**: \(place)\(text(finding.text))"
  }

  private static func section(_ title: String, _ lines: [String]) -> [String] {
    lines.isEmpty ? [] : ["", "## \(title)", ""] + lines
  }

  private static func table(_ head: [String], _ rows: [[String]]) -> [String] {
    let line = { (cells: [String]) in "| " + cells.joined(separator: " | ") + " |" }
    return [line(head), "|" + String(repeating: " --- |", count: head.count)] + rows.map(line)
  }

  private static func lsn(_ lsn: LSN?) -> String { lsn.map { "`\($0)`" } ?? HumanFormat.unknown }

  private static func checksum(_ side: MigrationReport.Side?) -> String {
    (side?.checksum).map { "`\(text($0))`" } ?? HumanFormat.unknown
  }

  /// A name may hold anything: nothing in it may end a cell, begin a link or be taken for markup.
  private static func text(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in DisplayText.visible(text).unicodeScalars {
      if "\\`*_{}[]<>()#|~&!".unicodeScalars.contains(scalar) { result.append("\\") }
      result.append(scalar)
    }
    return String(result)
  }
}
