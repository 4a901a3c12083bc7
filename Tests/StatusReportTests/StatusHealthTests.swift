import ReplicationModel
import Testing

@testable import StatusReport

/// What `status --exit-code` calls not well.
@Suite struct StatusHealthTests {
  private func problems(_ change: (inout ConvoyStatus.Migration) -> Void) -> [String] {
    var database = DatabaseStatus(migration: "m", database: "d", phase: .streaming)
    (database.lagBytes, database.lagSeconds) = (10, 0)
    var migration = ConvoyStatus.Migration(
      name: "m", source: "old", target: "new", state: .handedOff, databases: [database])
    (migration.sourceFenced, migration.targetFenced, migration.direction) = (false, true, .forward)
    change(&migration)
    let status = ConvoyStatus(generatedAt: moment, sync: .init(running: true), migrations: [migration])
    return StatusHealth.problems(status) { $0 == "m" ? .init(lagBytes: 100, lagSeconds: 5) : nil }
  }

  @Test func whatStreamsWithinItsLimitsIsWell() {
    #expect(problems { _ in } == [])
    #expect(problems { $0.databases[0].lagSeconds = nil } == [])
    #expect(problems { $0.databases[0].lagBytes = 101 } == ["m, d: 101 B behind"])
    #expect(problems { $0.databases[0].lagSeconds = 6 } == ["m, d: 6.0 s behind"])
    #expect(problems { $0.databases[0].lagBytes = nil } == ["m, d: how far it is behind is not known"])
  }

  @Test(
    arguments: DatabasePhase.allCases)
  func aPhaseInWhichNothingIsApplied(phase: DatabasePhase) {
    let isProblem = [.parked, .stopped, .interrupted, .unreachable].contains(phase)
    #expect(problems { $0.databases[0].phase = phase }.contains("m, d: \(phase.rawValue)") == isProblem)
  }

  @Test func aMigrationOfWhichNothingIsKnown() {
    #expect(problems { $0.databases = [] } == ["m: its databases are not known"])
    #expect(
      problems {
        ($0.databases, $0.state) = ([], .finished)
        ($0.sourceFenced, $0.targetFenced) = (false, false)
        $0.direction = nil
      } == [])
  }

  @Test func whatMustNeverBe() {
    #expect(
      problems { $0.targetFenced = false } == ["m: both servers are open", "m: new should be closed and is open"])
    #expect(problems { $0.closedSideCommits = 1 } == ["m: 1 transaction of others on new"])
    #expect(problems { $0.databases[0].missedRows = 2 } == ["m, d: 2 missed rows"])
    #expect(
      problems { $0.sync = .init(host: "new", manager: "runit") } == ["m: sync on new is not known to run"])
    #expect(problems { $0.sync = .init(host: "new", manager: "runit", running: true) } == [])
  }
}
