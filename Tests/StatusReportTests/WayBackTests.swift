import ReplicationModel
import Testing

@testable import StatusReport

@Suite struct WayBack {
  private func status(source: Bool?, target: Bool?, _ direction: StreamDirection) -> ConvoyStatus {
    var database = DatabaseStatus(migration: "m", database: "d", phase: .streaming)
    database.direction = direction
    var status = ConvoyStatus(
      generatedAt: moment, sync: .init(running: true),
      migrations: [.init(name: "m", source: "old", target: "new", state: .cutOver, databases: [database])])
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
}
