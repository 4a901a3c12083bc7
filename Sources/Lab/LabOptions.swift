import Glibc

/// What `Lab.up` makes.
public struct LabOptions: Sendable {
  /// Where the lab lives: missing, empty, or the remains of a lab.
  public var directory: String
  /// The source's databases; nil for those of a Chef Server: `opscode_chef`, `bifrost`, `oc_id`, `bookshelf`.
  /// A name of that list gets its own schema, any other name a general one.
  public var databases: [String]?
  /// The directory of PostgreSQL's server programs.
  public var pgBin: String
  /// The absolute path of the pgconvoy program, which the services run as `PROGRAM lab writer` and `PROGRAM lab reader`.
  public var program: String
  /// The application's connections to each database.
  public var appConnections: Int
  /// The application's transactions a second, all connections together; 0 for as many as it can.
  public var appRate: Double

  public init(
    directory: String, databases: [String]? = nil, pgBin: String? = nil, program: String? = nil,
    appConnections: Int = 2, appRate: Double = 40
  ) {
    self.directory = directory
    self.databases = databases
    self.pgBin = pgBin ?? Lab.defaultPgBin()
    self.program = program ?? (realPath("/proc/self/exe") ?? CommandLine.arguments.first ?? "pgconvoy")
    self.appConnections = appConnections
    self.appRate = appRate
  }
}

/// One of the lab's two hosts.
public struct LabHost: Sendable, Codable, Equatable {
  /// `lab-source` or `lab-target`.
  public var name: String
  /// A loopback address that no other lab uses.
  public var address: String
  public var sshPort: Int
  public var postgresPort: Int
  /// Everything of this host is below it.
  public var directory: String

  /// PostgreSQL's home: the data directory, and beside it whatever a migration moves aside.
  public var postgresDirectory: String { directory + "/postgresql" }
  public var dataDirectory: String { postgresDirectory + "/data" }
  public var postgresLog: String { postgresDirectory + "/postgresql.log" }
  public var socketDirectory: String { directory + "/run" }
  /// runit's service directory.
  public var serviceDirectory: String { directory + "/service" }
  /// Where the services write their logs, `app.log` and `web.log`.
  public var logDirectory: String { directory + "/log" }
  public var sshDirectory: String { directory + "/ssh" }
  public var versionManifest: String { directory + "/version-manifest.txt" }
}

/// A lab as it stands in its marker file. Holds no secret; those are in `DIR/env` and `DIR/passfile`.
public struct LabDescription: Sendable, Codable, Equatable {
  public enum Phase: String, Sendable, Codable {
    /// `lab up` is at work, or was killed at it.
    case starting
    case up
  }

  /// Of the file's format.
  public var version = 1
  /// Twelve random hexadecimal digits; every process of the lab carries them in its environment.
  public var id: String
  public var phase: Phase
  /// Absolute, without symbolic links.
  public var directory: String
  /// Where the hosts' files are: the directory itself, or one in /var/tmp where that cannot hold them.
  public var storage: String
  public var databases: [String]
  /// The operating-system user that PostgreSQL runs as.
  public var osUser: String
  /// The operating-system user that runs everything else, and logs in by SSH.
  public var sshUser: String
  public var program: String
  public var pgBin: String
  public var appConnections: Int
  public var appRate: Double
  /// The source, then the target; empty until they have addresses.
  public var hosts: [LabHost] = []

  public static let sourceName = "lab-source"
  public static let targetName = "lab-target"
  /// The services of each host, in the order in which a cutover stops them.
  public static let services = ["web", "app"]

  public func host(_ name: String) -> LabHost? { hosts.first { $0.name == name } }
  public var source: LabHost? { host(Self.sourceName) }
  public var target: LabHost? { host(Self.targetName) }

  public var inventoryFile: String { directory + "/inventory.yml" }
  public var passfile: String { directory + "/passfile" }
  public var environmentFile: String { directory + "/env" }
  public var identityFile: String { directory + "/id_ed25519" }
  public var knownHosts: String { directory + "/known_hosts" }

  /// Where the application on that host notes each transaction whose COMMIT was acknowledged: one line
  /// `database<TAB>token`, the token being a row of that database's `app_ledger`. Outside both servers, so that it
  /// can judge them.
  public func acknowledgedLog(host: String) -> String { directory + "/acknowledged/\(host).tsv" }

  /// The variables of `DIR/env`: `LAB_SOURCE_URI`, `LAB_TARGET_URI`, `LAB_SOURCE_APP_URI`, `LAB_TARGET_APP_URI`.
  public func environment() throws -> [String: String] {
    parseEnvironment(try readText(environmentFile))
  }
}
