import Inventory
import Journal
import Logging
import ReplicationModel
import TestSupport
import Testing

@testable import HostAdmin
@testable import MigrationCore
@testable import MigrationSteps

/// What a run decides that finds the journal of one that was killed.
struct ResumeTests {
  private func withContext(_ body: (MigrationContext) async throws -> Void) async throws {
    let directory = try TemporaryDirectory("steps")
    let state = StateDirectory(path: directory.path)
    let journal = try await Journal.open(stateDirectory: state)
    let inventory = try FleetInventory.parse(
      """
      hosts:
        old: { address: 127.0.0.1, local: true, postgres: { port: 1 } }
        new: { address: 127.0.0.1, local: true, postgres: { port: 2 } }
      migrations:
        one: { source: old, target: new }
      """, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
    let migration = try #require(inventory.migration(named: "one"))
    try await journal.perform { file throws(ConvoyError) in
      try file.registerMigration("one", source: "old", target: "new")
      try file.beginHandOff(
        HandOffRecord(names: HandOffNames(nonce: "000000000000"), sourceSystemIdentifier: 1, sourceTimeline: 1),
        migration: "one")
    }
    let context = MigrationContext(
      migration: migration, journal: journal,
      environment: RunEnvironment(
        inventoryPath: "/inventory.yml", stateDirectory: state, program: "/bin/false", variables: [:], version: "0"),
      logger: Logger(label: "test"), progress: { _ in })
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
