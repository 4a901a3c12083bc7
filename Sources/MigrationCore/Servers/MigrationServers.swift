package import HostAdmin
package import Inventory
import PostgresClient

extension MigrationContext {
  /// How to start, stop and find the host's PostgreSQL.
  package func server(_ side: Side) async throws -> ServerControl {
    let remote = try await remote(side)
    if var known = controls[side] {
      known.remote = remote
      return known
    }
    // A run that was killed may have left either side down, or the target's data directory halfway through a swap.
    let key = side == .target ? FactKey.targetDirectories : .sourceRestart
    let made = try await ServerControl.find(
      host: migration.host(side), remote: remote, known: try await fact(key)
    ) { try await self.session(side) }
    controls[side] = made
    return made
  }

  /// What initdb gave a side's cluster; a physical copy has that of its source.
  package func systemIdentifier(_ side: Side) async throws -> UInt64? {
    try await session(side).query("SELECT system_identifier FROM pg_catalog.pg_control_system()").first
      .flatMap { UInt64($0) }
  }

  /// The `postgresql.auto.conf` that lifts the target's quarantine; nil when it is not quarantined.
  package func settingsToOpenTarget() async throws -> String? {
    if let known = settingsToOpen { return known }
    let made = try await Quarantine.settingsToOpen(self, server(.target))
    settingsToOpen = .some(made)
    return made
  }

  /// The quarantine has been lifted.
  package func forgetSettingsToOpenTarget() { settingsToOpen = nil }
}
