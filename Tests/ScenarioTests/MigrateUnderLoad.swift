import Glibc
import Lab
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A whole migration with the application writing before, during and after it: through `test_decoding`, through
  /// `pgoutput`, with the old data replaced. `PGCONVOY_MIGRATIONS=20` has more of the first kind follow.
  @Suite(.serialized) struct MigrateUnderLoad {
    private static let rounds = max(3, getenv("PGCONVOY_MIGRATIONS").flatMap { Int(String(cString: $0)) } ?? 3)

    @Test(arguments: 1...Self.rounds) func findsBothSidesIdentical(round: Int) async throws {
      let databases = round == 1 ? nil : ["opscode_chef", "bifrost"]
      let plugin: OutputPlugin = round == 2 ? .pgoutput : .testDecoding
      try await Scenario.run(databases: databases, rate: 120, plugin: plugin) { scenario in
        if round == 3 { try scenario.addToMigration("old_data: replace") }
        let kept = try await KeptByTheTarget(scenario)
        try await scenario.applicationGoesOn()
        let migrated = try await scenario.play("migrate")
        // The recap has each database's size under the copy, its slot's time under the hand-off.
        #expect(migrated.output.contains(/\n    bifrost +[0-9.]+ MB\n/), "\(migrated.output)")
        #expect(migrated.output.contains(/\n    bifrost +[0-9.]+s\n/), "\(migrated.output)")
        let old = directoryEntries(scenario.target.postgresDirectory).filter { $0.contains("pgconvoy-old") }
        #expect(old.count == (round == 3 ? 0 : 1))
        let quarantined = try #require(try await scenario.refusal(.targetApp))
        #expect(quarantined.code == "postgres.hba-rejects")
        try await scenario.applicationGoesOn(by: 200)
        let slots = try await scenario.sql(.source, "SELECT DISTINCT plugin FROM pg_catalog.pg_replication_slots")
        #expect(slots == [[plugin.rawValue]])

        let cutOver = try await scenario.play(try scenario.cutoverWithoutServices())
        #expect(cutOver.output.contains(/\n    bifrost +[0-9.]+s +[0-9.]+ k?B/), "\(cutOver.output)")
        let acknowledged = try scenario.acknowledgedCount(scenario.source)
        try await scenario.expectIdentical(sequences: true)
        try await scenario.expectAcknowledgedOnTarget()
        #expect(try scenario.acknowledgedCount(scenario.source) == acknowledged)
        let fenced = try #require(try await scenario.refusal(.sourceApp))
        #expect(fenced.code == "postgres.hba-rejects")
        #expect(try await scenario.refusal(.targetApp) == nil)
        #expect(try await KeptByTheTarget(scenario) == kept)
        #expect(try scenario.service("app", on: scenario.target) == "down")

        try await scenario.play("cutover")
        let publications = try await scenario.sql(.source, "SELECT pubname FROM pg_catalog.pg_publication")
        #expect(publications.isEmpty)
        #expect(try scenario.service("app", on: scenario.target) == "run")
        #expect(try scenario.service("web", on: scenario.target) == "run")
        #expect(try scenario.service("app", on: scenario.source) == "down")
        try await scenario.applicationGoesOn(on: scenario.target)
        try await scenario.expectAcknowledgedOnTarget()
        #expect(try scenario.acknowledgedCount(scenario.source) == acknowledged)
        let status = try await scenario.status()
        #expect(status.migrations.map(\.state) == [.cutOver])
      }
    }
  }
}

/// What is the target's own and not the source's.
private struct KeptByTheTarget: Equatable {
  var certificate: String
  var settings: [[String]]
  var configuration: String

  init(_ scenario: Scenario) async throws {
    let directory = scenario.target.dataDirectory
    certificate = try readText(directory + "/server.crt")
    configuration = try readText(directory + "/conf.d/lab.conf")
    settings = try await scenario.sql(
      .target,
      """
      SELECT name, setting, sourcefile FROM pg_catalog.pg_settings
       WHERE name IN ('work_mem', 'maintenance_work_mem', 'port', 'cluster_name', 'listen_addresses', 'ssl_cert_file')
       ORDER BY name
      """)
    #expect(settings.contains { $0[0] == "work_mem" && $0[1] == "7168" })
    #expect(try readText(scenario.source.dataDirectory + "/server.crt") != certificate)
  }
}
