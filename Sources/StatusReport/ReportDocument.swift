import Presentation
import ReplicationModel

/// The closing report as a document: what it says, in which order, with nothing of how it is written down. Markdown and
/// HTML say the same.
struct ReportDocument {
  enum Cell {
    /// Whatever a name may hold; each form escapes it in its own way.
    case text(String)
    /// To be compared character by character: an LSN, a checksum.
    case code(String)
    case number(String)
    /// Whether both sides are the same; nil: not compared.
    case equal(Bool?, note: String = "")
  }

  struct Section {
    var title: String
    var head: [String]
    var rows: [[Cell]]
  }

  var title: String
  var facts: [(name: String, value: Cell)] = []
  var sections: [Section] = []
  var findings: [MigrationReport.Remark]

  /// - Parameter seal: the SHA-256 of the report's JSON document, which this one goes with.
  init(_ report: MigrationReport, seal: String?) {
    let arrow = report.direction == .forward ? "→" : "←"
    title = "\(Self.words(report.outcome)) of \(report.migration): \(report.source) \(arrow) \(report.target)"
    findings = report.findings
    facts = Self.facts(report, seal)
    add("Databases", Self.databaseHead, report.databases.map(Self.row))
    for database in report.databases {
      add("Tables of \(database.name)", Self.tableHead, (database.tables ?? []).map(Self.row))
      add(
        "Sequences of \(database.name)", ["Sequence", "Stands at", "Handed out"],
        (database.sequences ?? []).map {
          [.text($0.name.description), .number(String($0.lastValue)), .text($0.isCalled ? "yes" : "no")]
        })
    }
    add(
      "Markers", ["Marker", "Database", "LSN", "Changes since the one before"],
      report.markers.map {
        [.text($0.name), .text($0.database), Self.lsn($0.lsn), .number(HumanFormat.count($0.changesBefore))]
      })
    add(
      "Durations", ["Step", "Time"],
      report.phases.map { [.text($0.name), .number(HumanFormat.duration(milliseconds: $0.milliseconds))] })
  }

  private mutating func add(_ title: String, _ head: [String], _ rows: [[Cell]]) {
    if !rows.isEmpty { sections.append(Section(title: title, head: head, rows: rows)) }
  }

  private static func words(_ outcome: MigrationReport.Outcome) -> String {
    switch outcome {
    case .cutOver: "Cutover"
    case .rolledBack: "Rollback"
    case .calledOff: "Cutover called off"
    case .verified: "Verification"
    case .finished: "End"
    }
  }

  private static func facts(_ report: MigrationReport, _ seal: String?) -> [(name: String, value: Cell)] {
    var facts: [(name: String, value: Cell)] = [
      ("Written", .number(HumanFormat.moment(report.generatedAt))),
      ("By", .text(report.by ?? HumanFormat.unknown)),
      ("Servers", .text("PostgreSQL \(report.versions.source), \(report.versions.target)")),
      ("pgconvoy", .text(report.versions.pgconvoy)),
    ]
    if let application = report.versions.application { facts.append(("Application", .text(application))) }
    facts.append(("Hand-off", lsn(report.handOffLSN)))
    facts.append((report.direction == .forward ? "Way back from" : "Way forward from", lsn(report.wayLSN)))
    facts.append(("Downtime", .number(HumanFormat.duration(milliseconds: report.downtimeMilliseconds))))
    if let seal { facts.append(("SHA-256 of the JSON document", .code(seal))) }
    return facts
  }

  private static let databaseHead = [
    "Database", "Transactions", "Changes", "Tables", "Source rows", "Target rows", "Source checksum",
    "Target checksum", "Equal",
  ]
  private static let tableHead = [
    "Table", "Source rows", "Target rows", "Source checksum", "Target checksum", "Equal",
  ]

  private static func row(_ database: MigrationReport.Database) -> [Cell] {
    [
      .text(database.name), .number(HumanFormat.count(database.transactionsApplied)),
      .number(HumanFormat.count(database.rowsApplied)), .number(HumanFormat.count(database.tablesVerified)),
      .number(HumanFormat.count(database.source?.rows)), .number(HumanFormat.count(database.target?.rows)),
      checksum(database.source), checksum(database.target), .equal(database.isEqual),
    ]
  }

  private static func row(_ table: MigrationReport.Table) -> [Cell] {
    [
      .text(table.name.description), .number(HumanFormat.count(table.source?.rows)),
      .number(HumanFormat.count(table.target?.rows)), checksum(table.source), checksum(table.target),
      .equal(table.isEqual, note: table.isSample == true ? ", by a sample" : ""),
    ]
  }

  private static func lsn(_ lsn: LSN?) -> Cell { lsn.map { .code($0.description) } ?? .number(HumanFormat.unknown) }

  private static func checksum(_ side: MigrationReport.Side?) -> Cell {
    (side?.checksum).map { .code($0) } ?? .number(HumanFormat.unknown)
  }
}
