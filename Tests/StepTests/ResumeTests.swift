import Inventory
import Journal
import MigrationFixtures
import ReplicationModel
import TestSupport
import Testing

@testable import CopySteps
@testable import HostAdmin
@testable import MigrationCore
@testable import MigrationSteps

/// What a run decides that finds the journal of one that was killed.
struct ResumeTests {
  private func withContext(_ body: (MigrationContext) async throws -> Void) async throws {
    let directory = try TemporaryDirectory("steps")
    let context = try await migrationContext(migration(in: hostsThatAreNotThere), state: directory.path)
    try await context.journal.perform { file throws(ConvoyError) in
      try file.registerMigration("one", source: "old", target: "new")
      try file.beginHandOff(
        HandOffRecord(names: HandOffNames(nonce: "000000000000"), sourceSystemIdentifier: 1, sourceTimeline: 1),
        migration: "one")
    }
    try await doing {
      try await body(context)
    } finally: {
      await context.close()
    }
  }

  /// Started without the end of its recovery, the standby would replay beyond the hand-off.
  @Test func theStandbyIsNotStartedAgainOnceTheHandOffHasItsPosition() async throws {
    try await withContext { context in
      for state in [MigrationState.copying, .standby] { try await context.setState(state) }
      try await context.updateHandOff { $0.handOffLSN = LSN(5) }
      // It would ask the (unreachable) target whether it runs.
      #expect(try await StandbyStep().isDone(context))
      try await context.updateHandOff { $0.handOffLSN = nil }
      await #expect(throws: (any Error).self) { try await StandbyStep().isDone(context) }
    }
  }

  @Test func aTargetThatIsDownIsFoundAgain() async throws {
    try await withContext { context in
      await #expect(throws: ConvoyError.self) { _ = try await context.server(.target) }
      try await context.setFact(
        .targetDirectories, ServerDirectories(data: "/nowhere/data", programs: "/p/bin", configFile: "/c.conf"))
      let server = try await context.server(.target)
      #expect(server.dataDirectory == "/nowhere/data")
      #expect(server.configFile == "/c.conf")
      await #expect(throws: ConvoyError.self) { _ = try await context.server(.source) }
    }
  }
}
