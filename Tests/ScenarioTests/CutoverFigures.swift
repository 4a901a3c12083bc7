import FoundationEssentials
import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// `PGCONVOY_CUTOVERS=20`: so many cutovers, and a rollback after each but the last, under load. No commit that an
  /// application was told of is missing on the side that was opened; how long each phase took is told as a table.
  ///
  /// `PGCONVOY_CUTOVER_DATABASES=50` has that many databases instead of the lab's four, `PGCONVOY_CUTOVER_VERIFY=full`
  /// compares everything instead of counting rows.
  @Suite(.serialized) struct CutoverFigures {
    private static let cutovers = number("PGCONVOY_CUTOVERS") ?? 0
    private static let verify = getenv("PGCONVOY_CUTOVER_VERIFY").map { String(cString: $0) } ?? "counts"

    @Test(.enabled(if: cutovers > 0)) func nothingAcknowledgedIsLost() async throws {
      let names = Self.number("PGCONVOY_CUTOVER_DATABASES").map { count in (1...count).map { "many\($0)" } }
      try await Scenario.run(databases: names, rate: 120) { scenario in
        try scenario.addToMigration("cutover: { verify: \(Self.verify) }")
        try await scenario.play("migrate")
        var figures = Figures()
        for round in 1...Self.cutovers {
          for direction in StreamDirection.allCases where direction == .forward || round < Self.cutovers {
            let opened = direction == .forward ? scenario.target : scenario.source
            let closed = direction == .forward ? scenario.source : scenario.target
            try await scenario.applicationGoesOn(by: 100, on: closed)
            try await scenario.play(try scenario.withoutServices(direction == .forward ? "cutover" : "rollback"))
            let hosts = try [scenario.source, scenario.target].filter { try scenario.acknowledgedCount($0) > 0 }
            try await scenario.expectAcknowledged(hosts, on: direction == .forward ? .target : .source)
            figures.add(try await scenario.report(), direction)
            try await scenario.application("start", on: opened)
          }
        }
        print(figures.table(databases: scenario.databases.count, verify: Self.verify))
      }
    }

    private static func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }
  }
}

/// How long the phases of cutovers and rollbacks took.
private struct Figures {
  private var milliseconds: [StreamDirection: [String: [UInt64]]] = [:]
  private var order: [StreamDirection: [String]] = [:]

  /// From the fence to the opening, all that comes between included.
  private static let closed = "fence to open"

  mutating func add(_ report: MigrationReport, _ direction: StreamDirection) {
    let names = report.phases.map(\.name)
    order[direction] = names + [Self.closed, "downtime"]
    for phase in report.phases { note(phase.name, phase.milliseconds, direction) }
    if let first = names.firstIndex(of: "fence"),
      let last = names.firstIndex(where: { $0.hasPrefix("open_target") || $0 == "open_source" })
    {
      note(Self.closed, report.phases[first...last].reduce(0) { $0 + $1.milliseconds }, direction)
    }
    if let downtime = report.downtimeMilliseconds { note("downtime", downtime, direction) }
  }

  private mutating func note(_ name: String, _ value: UInt64, _ direction: StreamDirection) {
    milliseconds[direction, default: [:]][name, default: []].append(value)
  }

  func table(databases: Int, verify: String) -> String {
    var lines = ["\(databases) databases, verify: \(verify)"]
    for direction in StreamDirection.allCases {
      guard let values = milliseconds[direction], let order = order[direction] else { continue }
      lines += ["", "| \(direction == .forward ? "cutover" : "rollback") | median, ms | min–max |", "|---|--:|--:|"]
      for name in order {
        guard let sorted = values[name]?.sorted(), let least = sorted.first, let most = sorted.last else { continue }
        lines.append("| \(name) | \(sorted[sorted.count / 2]) | \(least)–\(most) |")
      }
      lines.append("| *of* | \(values[Self.closed]?.count ?? 0) | |")
    }
    return lines.joined(separator: "\n")
  }
}

extension Scenario {
  /// The report of the latest cutover or rollback.
  func report() async throws -> MigrationReport {
    let result = try await start("report", "--format", "json").result()
    try #require(result.status == 0, "\(result.text)")
    return try JSONDecoder().decode(MigrationReport.self, from: Data(result.output.utf8))
  }
}
