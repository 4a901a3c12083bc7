import Presentation
import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct WayBack {
  private func status(source: Bool?, target: Bool?, _ direction: StreamDirection) -> ConvoyStatus {
    var database = DatabaseStatus(migration: "m", database: "d", phase: .streaming)
    database.direction = direction
    var status = ConvoyStatus(
      generatedAt: moment, sync: .init(running: true),
      migrations: [
        .init(
          name: "m", source: "old", target: "new", state: direction == .reverse ? .cutOver : .handedOff,
          databases: [database])
      ])
    status.migrations[0].direction = direction
    status.migrations[0].sourceFenced = source
    status.migrations[0].targetFenced = target
    return status
  }

  @Test(
    arguments: [
      (nil, nil, .forward, nil), (false, true, .forward, nil), (true, true, .forward, "m: old is fenced"),
      (nil, nil, .reverse, "m: changes go back, old ← new"),
      (true, false, .reverse, "m: changes go back, old ← new; old is fenced"),
      (true, true, .reverse, "m: changes go back, old ← new; old is fenced; new is fenced"),
    ] as [(Bool?, Bool?, StreamDirection, String?)])
  func theTableSaysWhatIsOutOfTheOrdinary(
    source: Bool?, target: Bool?, direction: StreamDirection, expected: String?
  ) {
    let lines = StatusTable.render(status(source: source, target: target, direction)).split(separator: "\n")
    #expect(lines.dropFirst(2).dropLast().map(String.init) == (expected.map { [$0] } ?? []))
  }

  @Test func machinesReadTheDirection() {
    let status = status(source: true, target: false, .reverse)
    let json = StatusJSON.render(status)
    #expect(
      json.contains("\"direction\": \"reverse\",\n      \"source_fenced\": true,\n      \"target_fenced\": false"))
    #expect(json.contains("\"phase\": \"streaming\",\n          \"direction\": \"reverse\""))
    let metrics = StatusPrometheus.render(status)
    #expect(metrics.contains("pgconvoy_migration_direction{migration=\"m\",direction=\"reverse\"} 1\n"))
    #expect(metrics.contains("pgconvoy_host_fenced{migration=\"m\",host=\"old\",side=\"source\"} 1\n"))
    #expect(metrics.contains("pgconvoy_host_fenced{migration=\"m\",host=\"new\",side=\"target\"} 0\n"))
  }

  /// What must never be is in every format.
  @Test func aServerThatShouldBeClosedAndIsOpenIsNamed() {
    var status = status(source: false, target: false, .reverse)
    status.migrations[0].fenceBreaches = 2
    let moment = HumanFormat.moment(moment)
    status.migrations[0].latestBreach = .init(at: moment, what: "pg_hba.conf had lost the fence, which was put back")
    status.migrations[0].closedSideCommits = 1
    let table = StatusTable.render(status)
    #expect(table.contains("m: both open: old and new\nm: old should be closed and is open\n"))
    #expect(table.contains("m: old was open, 2 times, last at \(moment): pg_hba.conf had lost the fence, which"))
    #expect(table.contains("m: 1 transaction of others on old, which should be closed\n"))
    let json = StatusJSON.render(status)
    #expect(json.contains("\"should_be_closed\": \"source\",\n      \"should_be_closed_and_is_open\": true"))
    #expect(json.contains("\"both_open\": true,\n      \"fence_breaches\": 2,\n"))
    #expect(json.contains("\"latest_breach\": {\n        \"at\": \"\(moment)\",\n        \"what\": \"pg_hba.conf had"))
    #expect(json.contains("\n      \"closed_side_commits\": 1"))
    let metrics = StatusPrometheus.render(status)
    let labels = "{migration=\"m\",host=\"old\",side=\"source\"}"
    #expect(metrics.contains("pgconvoy_should_be_closed_and_is_open\(labels) 1\n"))
    #expect(metrics.contains("pgconvoy_fence_breaches_total\(labels) 2\n"))
    #expect(metrics.contains("pgconvoy_closed_side_commits_total\(labels) 1\n"))
    #expect(metrics.contains("pgconvoy_both_open{migration=\"m\"} 1\n"))
  }

  @Test(
    arguments: [
      (.handedOff, .forward, .target), (.fenced, .forward, .source), (.drained, .reverse, .target),
      (.cutOver, .reverse, .source), (.rolledBack, .forward, .target), (.finished, .forward, nil), (.copying, nil, nil),
    ] as [(MigrationState, StreamDirection?, ConvoyStatus.Migration.Side?)])
  func whichSideIsToBeClosed(state: MigrationState, direction: StreamDirection?, side: ConvoyStatus.Migration.Side?) {
    var migration = ConvoyStatus.Migration(name: "m", source: "old", target: "new", state: state)
    migration.direction = direction
    #expect(migration.sideToBeClosed == side)
    #expect(migration.shouldBeClosedAndIsOpen == nil && migration.areBothOpen == nil)
    (migration.sourceFenced, migration.targetFenced) = (side == .source, side == .target)
    #expect(migration.shouldBeClosedAndIsOpen == side.map { _ in false })
  }
}
