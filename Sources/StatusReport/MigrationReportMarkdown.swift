import Presentation
public import ReplicationModel

/// The closing report as Markdown: the proof of a cutover or rollback, to be read, printed and filed.
public enum MigrationReportMarkdown {
  /// - Parameter seal: the SHA-256 of the report's JSON document, which this text goes with.
  /// - Returns: lines, each ended by a newline.
  public static func render(_ report: MigrationReport, seal: String? = nil) -> String {
    let document = ReportDocument(report, seal: seal)
    var lines = ["# \(text(document.title))", ""]
    lines += table(["", ""], document.facts.map { [text($0.name), cell($0.value)] })
    for section in document.sections {
      lines += ["", "## \(text(section.title))", ""] + table(section.head, section.rows.map { $0.map(cell) })
    }
    if !document.findings.isEmpty { lines += ["", "## Findings", ""] + document.findings.map(finding) }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func finding(_ finding: MigrationReport.Remark) -> String {
    let place = finding.database.map { "database \(text($0)): " } ?? ""
    return "- **\(finding.severity.rawValue)**: \(place)\(text(finding.text))"
  }

  private static func table(_ head: [String], _ rows: [[String]]) -> [String] {
    let line = { (cells: [String]) in "| " + cells.joined(separator: " | ") + " |" }
    return [line(head), "|" + String(repeating: " --- |", count: head.count)] + rows.map(line)
  }

  private static func cell(_ cell: ReportDocument.Cell) -> String {
    switch cell {
    case .text(let words): text(words)
    case .code(let words): "`\(text(words))`"
    case .number(let words): words
    case .equal(let isEqual?, let note): (isEqual ? "yes" : "**no**") + note
    case .equal(nil, let note): "not compared" + note
    }
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
