import Inventory
import ReplicationModel

/// Something that preflight wanted to know: the answer, or why there is none.
enum Reading<Value: Sendable>: Sendable {
  case value(Value)
  /// It was asked, and failed. One check reports it; those that need it are not made.
  case failed(ConvoyError)
  /// It could not be asked, since something that it needs is missing.
  case notAsked(String)

  func get() throws(CheckNotMade) -> Value {
    switch self {
    case .value(let value): return value
    case .failed(let error): throw CheckNotMade(reason: error.reason)
    case .notAsked(let reason): throw CheckNotMade(reason: reason)
    }
  }

  var value: Value? { if case .value(let value) = self { value } else { nil } }
  var error: ConvoyError? { if case .failed(let error) = self { error } else { nil } }
}

/// Thrown by a check, or by a reading, that lacks what it needs; the reason reads after "not made, since".
struct CheckNotMade: Error, Equatable {
  var reason: String
}

extension ConvoyError {
  fileprivate var reason: String { (place.map { "\($0): " } ?? "") + message }
}

/// All that the checks decide by. Reading it and judging it are apart: the checks are pure.
struct PreflightFacts: Sendable {
  var migration: Inventory.Migration
  var source: SideFacts
  var target: SideFacts
  /// What the source's cluster holds.
  var cluster: Reading<ClusterFacts>
  /// The target's data directory and the one above it.
  var directory: Reading<TargetDirectory>
  var tablespaces: Reading<[TablespacePlace]>
  /// Where the target's WAL is to go; nil: inside the data directory.
  var walDirectory: Reading<PathFacts?>
  var taken: Reading<TakenRoom>
  /// Whether an earlier run has made the copy, so that none is made any more.
  var hasCopy: Reading<Bool>
  var replication: Reading<ReplicationAnswer>
  /// The file system that holds the source's WAL.
  var sourceWAL: Reading<PathFacts>
  /// What the source's databases have installed, looked for on the target.
  var libraries: Reading<LibraryFacts>
  /// The selected databases, in order.
  var databases: [(name: String, facts: Reading<DatabaseFacts>)]

  subscript(side: Side) -> SideFacts { side == .source ? source : target }

  func name(_ side: Side) -> String { migration.host(side).name }

  /// The source's databases that the inventory selects.
  func selected() throws(CheckNotMade) -> [ClusterFacts.Database] {
    try cluster.get().selected(by: migration.databases)
  }
}

/// One host and its server.
struct SideFacts: Sendable {
  var account: Reading<AccountFacts>
  var installation: Reading<Installation>
  var machine: Reading<MachineFacts>
  var role: Reading<RoleFacts>
  var server: Reading<ServerFacts>
  /// Nil where there is no cluster to have a file.
  var authentication: Reading<AuthenticationFacts?>
  /// What `version_check` printed, its first line; nil when the inventory has none.
  var application: Reading<String?>
}

/// Who commands run as.
struct AccountFacts: Sendable, Equatable {
  var name: String
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
struct LibraryFacts: Sendable, Equatable {
  /// The target's own directory for libraries.
  var directory: String
  /// As `pg_proc.probin` has them.
  var missingLibraries: Set<String> = []
  /// Extensions without a control file.
  var missingExtensions: Set<String> = []
}

/// pgconvoy's own role, as the server knows it.
struct RoleFacts: Sendable, Equatable {
  var name: String
  var isSuperuser: Bool
  var isInRecovery: Bool
  /// As `server_version_num`.
  var serverVersion: Int
}

struct ServerFacts: Sendable, Equatable {
  var systemIdentifier: String
  var startTime: String
  var dataDirectory: String
  /// Settings by name, in their own units, as `pg_settings.setting` has them. Unknown ones are not in it.
  var settings: [String: String]
  /// ICU's collation version; nil where the server has no ICU.
  var icuVersion: String?

  func integer(_ name: String) -> Int? { settings[name].flatMap { Int($0) } }
}

/// A server's `pg_hba.conf`.
struct AuthenticationFacts: Sendable, Equatable {
  var path: String
  /// Why a fence could not be put on top; nil when it could.
  var fenceObstacle: String?
  var isFenced: Bool
  /// `line 12: invalid …`, as the running server sees the file.
  var brokenLine: String?
}

/// One path on the target that something is to be written to.
struct PathFacts: Sendable, Equatable {
  enum Kind: String, Sendable { case missing, directory, link, other }

  var path: String
  var kind: Kind
  /// A directory with something in it.
  var isFilled: Bool
  var isMountPoint: Bool
  /// The nearest directory that exists: the path itself or one above it.
  var ancestor: String
  /// By the server's operating-system user.
  var ancestorIsWritable: Bool
  var device: String
  var freeBytes: UInt64
}

struct TargetDirectory: Sendable, Equatable {
  var data: PathFacts
  var parent: PathFacts
}

/// A tablespace of the source and where it goes.
struct TablespacePlace: Sendable, Equatable {
  var name: String
  var location: String
  var bytes: UInt64
  var destination: PathFacts
  var isMapped: Bool
}

/// What came of a replication connection from the target to the source.
enum ReplicationAnswer: Sendable, Equatable {
  case identified(systemIdentifier: String)
  /// psql's words.
  case refused(String)
}
