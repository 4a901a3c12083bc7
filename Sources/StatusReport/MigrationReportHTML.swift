import Presentation
public import ReplicationModel

/// The closing report as one HTML file: nothing is loaded from anywhere, nothing runs, and it can be read on a telephone
/// and on paper.
public enum MigrationReportHTML {
  /// - Parameter seal: the SHA-256 of the report's JSON document, which this one goes with.
  public static func render(_ report: MigrationReport, seal: String? = nil) -> String {
    let document = ReportDocument(report, seal: seal)
    var lines = [
      "<!DOCTYPE html>", "<html lang=\"en\">", "<head>", "<meta charset=\"utf-8\">",
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
      "<title>\(text(document.title))</title>", "<style>", style, "</style>", "</head>", "<body>",
      "<h1>\(text(document.title))</h1>", verdict(report), "<dl>",
    ]
    for (name, value) in document.facts {
      lines.append("<div><dt>\(text(name))</dt><dd>\(content(value))</dd></div>")
    }
    lines.append("</dl>")
    if !document.findings.isEmpty {
      lines += ["<h2>Findings</h2>", "<ul>"] + document.findings.map(finding) + ["</ul>"]
    }
    for section in document.sections { lines += table(section) }
    return (lines + ["</body>", "</html>"]).joined(separator: "\n") + "\n"
  }

  private static func verdict(_ report: MigrationReport) -> String {
    let verdicts = report.databases.map { database -> Bool? in
      database.tables?.allSatisfy(\.isEqual) == false ? false : database.isEqual
    }
    if verdicts.contains(false) {
      let count = verdicts.count { $0 == false }
      return "<p class=\"no\">\(count) of \(verdicts.count) databases not the same on both sides</p>"
    }
    guard !verdicts.isEmpty, !verdicts.contains(nil) else {
      return "<p class=\"open\">not every database was compared</p>"
    }
    let count = HumanFormat.counted(UInt64(verdicts.count), "database")
    return "<p class=\"yes\">\(count), the same on both sides</p>"
  }

  private static func finding(_ finding: MigrationReport.Remark) -> String {
    let place = finding.database.map { "database \(text($0)): " } ?? ""
    let severity = finding.severity.rawValue
    return "<li class=\"\(severity)\"><b>\(severity)</b>: \(place)\(text(finding.text))</li>"
  }

  private static func table(_ section: ReportDocument.Section) -> [String] {
    let head = section.head.map { "<th scope=\"col\">\(text($0))</th>" }.joined()
    let rows = section.rows.map { "<tr>\($0.map(cell).joined())</tr>" }
    return [
      "<section>", "<h2>\(text(section.title))</h2>", "<div class=\"wide\"><table>", "<thead><tr>\(head)</tr></thead>",
      "<tbody>",
    ] + rows + ["</tbody>", "</table></div>", "</section>"]
  }

  private static func cell(_ cell: ReportDocument.Cell) -> String {
    let kind =
      switch cell {
      case .number: " class=\"number\""
      case .equal(true?, _): " class=\"yes\""
      case .equal(false?, _): " class=\"no\""
      default: ""
      }
    return "<td\(kind)>\(content(cell))</td>"
  }

  private static func content(_ cell: ReportDocument.Cell) -> String {
    switch cell {
    case .text(let words), .number(let words): text(words)
    case .code(let words): "<code>\(text(words))</code>"
    case .equal(let isEqual, let note): (isEqual.map { $0 ? "yes" : "no" } ?? "not compared") + text(note)
    }
  }

  /// A name may hold anything: nothing in it may be taken for markup, or turn what follows around.
  private static func text(_ text: String) -> String {
    var result = ""
    for scalar in DisplayText.visible(text).unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static let style = """
    :root { color-scheme: light dark; --line: #8886; --yes: #14803c; --no: #c4161c; --open: #9a6700 }
    @media (prefers-color-scheme: dark) { :root { --yes: #4ac26b; --no: #ff7b72; --open: #d29922 } }
    body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem }
    h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
    p.yes, p.no, p.open { font-weight: bold; padding: .5rem .75rem; border: 2px solid; border-radius: .4rem }
    .yes { color: var(--yes) } .no, .failure { color: var(--no); font-weight: bold } .open, .warning { color: var(--open) }
    dl div { display: flex; flex-wrap: wrap; gap: 0 1rem; border-bottom: 1px solid var(--line); padding: .25rem 0 }
    dt { flex: 0 0 14rem; font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
    .wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .9rem }
    th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
    .number { text-align: right; font-variant-numeric: tabular-nums } code { font-size: .85em }
    @media print {
      body { max-width: none; padding: 0; font-size: 9pt } .wide { overflow: visible } table { font-size: 7pt }
      td code { overflow-wrap: anywhere } thead { display: table-header-group } tr { break-inside: avoid }
      h2 { break-after: avoid }
    }
    """
}
