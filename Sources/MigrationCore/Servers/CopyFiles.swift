package import HostAdmin
package import Inventory
import Journal
package import RemoteHost
package import ReplicationModel

extension ServerControl {
  /// Where the copy grows, next to the data directory so that a rename puts it in place.
  package var copyDirectory: String { dataDirectory + ".pgconvoy-copy" }

  /// Takes the copy away while it is not in the target's place, and the password file.
  ///
  /// - Parameter places: what the copy has filled besides. They go first: without a copy nothing in them is known to be its.
  package func copyRemoval(places: [String]) -> RemoteCommand {
    command(
      """
      set -e; copy=$1; passfile=$2; shift 2
      if [ -e "$copy" ]; then
        for p in "$@"; do if [ -d "$p" ]; then find "$p/" -mindepth 1 -maxdepth 1 -exec rm -rf -- {} +; fi; done
      fi
      rm -rf -- "$copy" "$passfile"
      """, [copyDirectory, passfile] + places, label: "removing an unfinished copy", deadline: .seconds(86_400))
  }

  package var passfile: String { dataDirectory + ".pgconvoy-passfile" }
  package var passfileRemoval: RemoteCommand {
    command("rm -f -- \"$1\"", [passfile], label: "removing the password file")
  }
  package func oldDirectory(_ names: HandOffNames) -> String { dataDirectory + ".pgconvoy-old-\(names.nonce)" }
}

extension MigrationContext {
  /// Whether the base backup of the hand-off in hand is complete, and the copy still there.
  package func hasWholeCopy() async throws -> Bool {
    guard let names = try await record()?.handOff?.names,
      try await fact(.backupComplete) == names.nonce
    else { return false }
    let target = try await server(.target)
    if try await target.exists(target.copyDirectory + "/PG_VERSION") { return true }
    // Or on its way into the target's place.
    return try await target.exists(target.oldDirectory(names))
  }

  /// Directories outside the copy's own that the copy fills, or has filled.
  package func copyPlaces() async throws -> [String] { try await fact(.copyPlaces) ?? [] }
}

extension Inventory.Host {
  /// How a standby of this host reaches it; the password comes from a file.
  package var replicationKeywords: [(String, String)] {
    [
      ("host", postgres.replicationAddress), ("port", String(postgres.port)), ("user", postgres.user),
      ("sslmode", postgres.sslMode.rawValue), ("application_name", "pgconvoy"),
    ]
  }
}

extension ServerControl {
  /// The target's own `postgresql.auto.conf`, kept in the copy until the cutover.
  package static let keptSettings = "pgconvoy.kept.auto.conf"
  /// The target's own settings from before the migration, kept beside them in a copy.
  package var keptSettingsFile: String { "\(dataDirectory)/\(Self.keptSettings)" }
}

extension MigrationContext {
  package nonisolated func upstream(_ target: ServerControl, _ names: HandOffNames) -> Quarantine.Upstream {
    Quarantine.Upstream(
      connectionString: Quarantine.connectionString(
        migration.source.replicationKeywords + [("passfile", target.passfile)]),
      slot: names.physicalSlot)
  }
}
