import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Another version of the application on the target: refused before anything has changed on either host.
  @Suite(.serialized) struct VersionsDiffer {
    @Test func changesNothing() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try writeFile(scenario.target.versionManifest, "lab-server 1.0.1\n")
        let before = try await Hosts(scenario)
        let result = try await scenario.play("migrate", expecting: 1)
        #expect(result.text.contains("lab-server 1.0.0"), "\(result.text)")
        #expect(result.text.contains("lab-server 1.0.1"), "\(result.text)")
        #expect(result.text.contains("[preflight."), "\(result.text)")
        let after = try await Hosts(scenario)
        #expect(after == before)
        #expect(!result.output.contains("base_backup (2/"), "\(result.text)")
        try await scenario.applicationGoesOn()
      }
    }

    /// What a migration would change: files, slots, roles, origins, and whether the target's server was restarted.
    private struct Hosts: Equatable {
      var files: [[String]] = []
      var facts: [[[String]]] = []

      init(_ scenario: Scenario) async throws {
        for (host, role) in [(scenario.source, Scenario.Role.source), (scenario.target, .target)] {
          files.append(directoryEntries(host.postgresDirectory))
          files.append(directoryEntries(host.dataDirectory))
          for name in ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", "PG_VERSION"] {
            files.append([try readText("\(host.dataDirectory)/\(name)")])
          }
          for query in [
            "SELECT slot_name, slot_type FROM pg_replication_slots ORDER BY 1",
            "SELECT rolname, rolsuper, rolreplication, rolpassword FROM pg_authid ORDER BY 1",
            "SELECT roname FROM pg_replication_origin ORDER BY 1",
            "SELECT datname, oid FROM pg_database ORDER BY 1",
            "SELECT pg_postmaster_start_time(), system_identifier FROM pg_control_system()",
          ] {
            facts.append(try await scenario.sql(role, query))
          }
        }
      }
    }
  }
}
