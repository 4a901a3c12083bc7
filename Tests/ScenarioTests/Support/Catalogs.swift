import Lab
import ReplicationModel

/// What a migration might leave behind on a server, by its own catalogs and files.
struct Catalogs: Equatable {
  /// Slots, origins, subscriptions, event triggers.
  var replication: [[String]]
  var roles: [[String]]
  var schemas: [[String]]
  /// What belongs to the host and not to the data: the settings' values and pg_hba.conf.
  var own: [[String]]
  /// Names beside the data directory.
  var files: [String]

  init(_ scenario: Scenario, _ role: Scenario.Role, _ host: LabHost) async throws {
    replication = try await scenario.sql(
      role,
      """
      SELECT 'slot', slot_name::text FROM pg_replication_slots UNION ALL
      SELECT 'origin', roname FROM pg_replication_origin UNION ALL
      SELECT 'subscription', subname::text FROM pg_subscription ORDER BY 1, 2
      """)
    roles = try await scenario.sql(
      role, "SELECT rolname::text, rolsuper::text, rolreplication::text, rolcanlogin::text FROM pg_roles ORDER BY 1")
    own =
      try await scenario.sql(
        role,
        """
        SELECT name, setting FROM pg_settings
         WHERE name NOT IN ('in_hot_standby', 'transaction_read_only', 'application_name') AND source <> 'client'
         ORDER BY name
        """) + [[try readText(host.dataDirectory + "/pg_hba.conf")]]
    let names = try await scenario.sql(role, "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")
    schemas = []
    for name in names.map({ $0[0] }) {
      schemas += try await scenario.sql(
        role,
        """
        SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)' UNION ALL
        SELECT 'event trigger', evtname::text FROM pg_event_trigger UNION ALL
        SELECT 'publication', pubname::text FROM pg_publication ORDER BY 1, 2
        """, in: name
      ).map { [name] + $0 }
    }
    files = directoryEntries(host.postgresDirectory).sorted()
  }

  var sansFiles: Catalogs {
    var copy = self
    copy.files = []
    return copy
  }
}
