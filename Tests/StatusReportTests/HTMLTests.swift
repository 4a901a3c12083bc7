import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct HTML {
  private func report() -> MigrationReport {
    var report = sampleReport()
    report.databases.removeLast()
    return report
  }

  @Test func theProofIsOneFileThatLoadsNothing() {
    let page = MigrationReportHTML.render(report(), seal: "ab12")
    #expect(page.hasPrefix("<!DOCTYPE html>\n<html lang=\"en\">\n"))
    #expect(page.hasSuffix("</html>\n"))
    for wanted in [
      "<title>Cutover of chef-eu: eu-old → eu-new</title>", "<h1>Cutover of chef-eu: eu-old → eu-new</h1>",
      "<p class=\"yes\">1 database, the same on both sides</p>",
      "<div><dt>SHA-256 of the JSON document</dt><dd><code>ab12</code></dd></div>",
      "<div><dt>Downtime</dt><dd>3.2 s</dd></div>", "name=\"viewport\"", "@media print",
      "<td>opscode_chef</td><td class=\"number\">104,112</td>", "<td class=\"yes\">yes</td>",
      "<li class=\"warning\"><b>warning</b>: database bookshelf: 2 unlogged tables are empty</li>",
      "content=\"default-src 'none'; style-src 'unsafe-inline'\"",
    ] { #expect(page.contains(wanted), "\(wanted)") }
    for other in ["http:", "https:", "<script", "src=", "href=", "url(", "@import"] {
      #expect(!page.contains(other), "\(other)")
    }
  }

  /// What the names of databases, tables, hosts and roles may hold comes out as text.
  @Test func hostileNamesAreText() {
    let hostile = "<img src=x onerror=alert(1)>&amp;\"'</table></style><script>\n\u{202E}</script>"
    let escaped =
      "&lt;img src=x onerror=alert(1)&gt;&amp;amp;&quot;&#39;&lt;/table&gt;&lt;/style&gt;&lt;script&gt;␊\\u{202E}&lt;/script&gt;"
    var report = report()
    report.migration = hostile
    report.source = hostile
    report.target = hostile
    report.by = hostile
    report.versions.application = hostile
    report.versions.source = hostile
    report.versions.pgconvoy = hostile
    report.databases[0].name = hostile
    report.databases[0].source?.checksum = hostile
    report.databases[0].tables = [
      .init(name: RelationName(schema: hostile, name: hostile), source: .init(rows: 1, checksum: hostile), target: nil)
    ]
    report.databases[0].sequences = [
      .init(name: RelationName(schema: hostile, name: hostile), lastValue: 1, isCalled: true)
    ]
    report.markers = [.init(database: hostile, name: hostile, lsn: LSN(1))]
    report.phases = [.init(name: hostile, milliseconds: 1)]
    report.findings = [.init(.failure, hostile, database: hostile)]
    let page = MigrationReportHTML.render(report, seal: hostile)
    // None of it is left as it was, and all of it is there.
    for markup in ["<img", "<script", "</script", "\u{202E}"] { #expect(!page.contains(markup), "\(markup)") }
    #expect(page.components(escaped) >= 20)
    // The page's own ends, and no more.
    #expect(page.components("</style>") == 1)
    #expect(page.components("</table>") == page.components("<table>"))
  }

  @Test func whatDiffersIsSaidFirst() {
    var report = report()
    report.databases[0].target?.rows = 7
    let page = MigrationReportHTML.render(report)
    #expect(page.contains("<p class=\"no\">1 of 1 databases not the same on both sides</p>"))
    #expect(page.contains("<td class=\"no\">no</td>"))
    #expect(!page.contains("SHA-256"))
    report.databases[0].target = nil
    #expect(MigrationReportHTML.render(report).contains("<p class=\"open\">not every database was compared</p>"))
  }
}

extension String {
  /// How often a text occurs in it.
  fileprivate func components(_ part: String) -> Int {
    split(separator: part, omittingEmptySubsequences: false).count - 1
  }
}
