package import HostAdmin
package import Inventory
package import MigrationCore
import PostgresClient

/// All that the checks decide by. Reading it and judging it are apart: the checks are pure.
package struct PreflightFacts: Sendable {
  package var migration: Inventory.Migration
  package var source: SideFacts
  package var target: SideFacts
  /// What the source's cluster holds.
  var cluster: Reading<ClusterFacts>
  /// The target's data directory and the one above it.
  package var directory: Reading<TargetDirectory>
  package var tablespaces: Reading<[TablespacePlace]>
  /// Where the target's WAL is to go; nil: inside the data directory.
  package var walDirectory: Reading<PathFacts?>
  package var taken: Reading<TakenRoom>
  /// Whether an earlier run has made the copy, so that none is made any more.
  package var hasCopy: Reading<Bool>
  package var replication: Reading<ReplicationAnswer>
  /// What lies in the source's data directory and would get in the way.
  var sourceFiles: Reading<DataFiles>
  /// The same of what the copy keeps of the target; nil where it has no cluster.
  var keptFiles: Reading<DataFiles?>
  /// The file system that holds the source's WAL.
  var sourceWAL: Reading<PathFacts>
  /// What the source's databases have installed, looked for on the target.
  package var libraries: Reading<LibraryFacts>
  /// Where the workers are to run; nil: on the workstation.
  package var sync: Reading<SyncHostAnswer?>
  /// The selected databases, in order.
  package var databases: [(name: String, facts: Reading<DatabaseFacts>)]

  subscript(side: Side) -> SideFacts { side == .source ? source : target }

  package func name(_ side: Side) -> String { migration.host(side).name }

  /// The source's databases that the inventory selects.
  package func selected() throws(CheckNotMade) -> [ClusterFacts.Database] {
    try cluster.get().selected(by: migration.databases)
  }
}

/// One host and its server.
package struct SideFacts: Sendable {
  package var account: Reading<AccountFacts>
  var installation: Reading<Installation>
  /// What would keep the server from starting with its configuration; nil: nothing.
  var configurationError: Reading<String?>
  var machine: Reading<MachineFacts>
  package var role: Reading<RoleFacts>
  package var server: Reading<ServerFacts>
  /// Nil where there is no cluster to have a file.
  package var authentication: Reading<AuthenticationFacts?>
  /// What `version_check` printed, its first line; nil when the inventory has none.
  var application: Reading<String?>
}

/// Who commands run as.
package struct AccountFacts: Sendable, Equatable {
  package var name: String
  /// The host's clock minus this machine's, seconds, and by how much that may be off.
  var clockOffset: Double
  var clockUncertainty: Double
}

struct Installation: Sendable, Equatable {
  var dataDirectory: String
  var binDirectory: String
}

/// What a host is, apart from its server.
struct MachineFacts: Sendable, Equatable {
  enum PluginFile: Sendable, Equatable { case present, missing(directory: String), unknown }

  var bootID = ""
  /// `glibc 2.36`; empty where the C library does not say.
  var cLibrary = ""
  /// `device:inode` of the data directory; empty where there is none.
  var dataInode = ""
  var programs: Set<String> = []
  /// `postgres (PostgreSQL) 15.20 (Debian …)`.
  var postgresVersion = ""
  var outputPlugin = PluginFile.unknown
  /// `patroni`, `repmgrd`, `pg_autoctl`.
  var clusterManagers: [String] = []
  /// Paths beside the data directory that another migration left.
  var leftovers: [String] = []
  /// What the inventory's `postgres.address` means on the host itself.
  var ownAddresses: Set<String> = []
  /// Addresses at which something listens on the inventory's `postgres.port`.
  var listening: Set<String> = []
  /// The port of the server that runs on the data directory; nil: none runs.
  var ownPort: Int?
}

/// What the source's databases need and the target does not have.
package struct LibraryFacts: Sendable, Equatable {
  /// The target's own directory for libraries.
  package var directory: String
  /// As `pg_proc.probin` has them.
  var missingLibraries: Set<String> = []
  /// Extensions without a control file.
  var missingExtensions: Set<String> = []
}

/// pgconvoy's own role, as the server knows it.
package struct RoleFacts: Sendable, Equatable {
  package var name: String
  package var isSuperuser: Bool
  var isInRecovery: Bool
  /// As `server_version_num`.
  package var serverVersion: Int
}

package struct ServerFacts: Sendable, Equatable {
  package var systemIdentifier: String
  package var startTime: String
  package var dataDirectory: String
  /// All settings by name, in their own units, as `pg_settings.setting` has them; not those that the server does not know.
  package var settings: [String: String]
  /// Those that `ALTER SYSTEM` has made, in a file that a copy does not keep.
  var madeBySystem: Set<String> = []
  /// Of the settings that change results, what the server gives to every session; nil where it was not asked.
  var resultSettings: WritingSettings?
  /// ICU's collation version; nil where the server has no ICU.
  var icuVersion: String?

  func integer(_ name: String) -> Int? { settings[name].flatMap { Int($0) } }
}

/// A server's `pg_hba.conf`.
package struct AuthenticationFacts: Sendable, Equatable {
  package var path: String
  /// Why a fence could not be put on top; nil when it could.
  var fenceObstacle: String?
  /// Why its text could not be changed on the host; nil when it could.
  var replacingObstacle: String?
  package var isFenced = false
  /// `line 12: invalid …`, as the running server sees the file.
  var brokenLine: String?
}

/// What came of a replication connection from the target to the source.
package enum ReplicationAnswer: Sendable, Equatable {
  case identified(systemIdentifier: String)
  /// psql's words.
  case refused(String)
}
