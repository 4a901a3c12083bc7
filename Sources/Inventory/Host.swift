/// A password or the like: printing, dumping or interpolating it shows asterisks.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The secret itself; hand it to the library that needs it and to nothing else.
  public let value: String

  public init(_ value: String) {
    self.value = value
  }

  public var description: String { "********" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// How this machine reaches a host.
public enum Transport: String, Sendable, CaseIterable {
  /// The host is this machine: commands and files without SSH.
  case local
  case ssh
}

/// Which ssh_config is asked, by `ssh -G`, for what the inventory leaves open.
public enum SSHConfig: Sendable, Equatable {
  /// The user's and the system's, as ssh(1) finds them.
  case standard
  /// On this machine, absolute.
  case file(String)
  case none
}

/// A host that another one is reached through.
public struct SSHHop: Sendable, Equatable {
  /// A name or an address, as the machine before it knows it.
  public var address: String
  public var settings: SSHSettings

  public init(address: String, settings: SSHSettings) {
    self.address = address
    self.settings = settings
  }
}

/// How to log in to a host.
public struct SSHSettings: Sendable, Equatable {
  public var user: String
  public var port: Int
  /// On this machine, absolute; nil: the agent only.
  public var identityFile: String?
  /// On this machine, absolute.
  public var knownHosts: String
  /// Whether the agent at SSH_AUTH_SOCK may be asked for keys.
  public var agent: Bool
  /// Only for the keys of the identity files.
  public var identitiesOnly = false
  public var connectTimeout: Duration
  /// A shell command on this machine that prints the identity file's passphrase.
  public var passphraseCommand: String?
  public var config = SSHConfig.standard
  /// As ssh_config's ProxyJump: `user@host:port`, several with commas; `none`; nil: what ssh_config says.
  public var proxyJump: String?
  /// Resolved: more keys to try, and the hosts that this one is reached through, the first one first.
  public var moreIdentityFiles: [String] = []
  public var jumps: [SSHHop] = []
}

/// libpq's sslmode.
/// <https://www.postgresql.org/docs/15/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
public enum SSLMode: String, Sendable, CaseIterable {
  case disable, allow, prefer, require
  case verifyCA = "verify-ca"
  case verifyFull = "verify-full"
}

/// Where a connection's password comes from. Exactly one of the keys may be set at one level; a host's own replaces
/// that of `defaults`.
public enum PasswordSource: Sendable, Equatable {
  /// Nothing set: libpq looks at its own places (`PGPASSFILE`, `~/.pgpass`), or no password is asked for.
  case none
  /// libpq's password file on this machine, absolute.
  case passfile(String)
  /// A shell command on this machine that prints the password.
  case command(String)
  /// The name of an environment variable of pgconvoy.
  case environment(String)
  /// In the inventory itself; comes with a warning.
  case inline(Secret)
}

/// How PostgreSQL on a host is reached from here.
public enum PostgresRoute: String, Sendable, CaseIterable {
  case direct
  /// Through the host's SSH connection; the address is one as the host sees it.
  case ssh
}

/// A host's PostgreSQL server: how to reach it, and where it lives on the host.
public struct PostgresSettings: Sendable, Equatable {
  /// Host name, IP address, or a socket's directory, as libpq's `host` takes it, seen from this machine; with a route
  /// through SSH seen from the host.
  public var address: String
  public var via: PostgresRoute
  /// How the other host's server reaches this one, to copy it and to follow it.
  public var replicationAddress: String
  public var port: Int
  /// pgconvoy's own role: a superuser.
  public var user: String
  /// The database that connections to no particular database go to.
  public var maintenanceDatabase: String
  /// The operating-system user that owns the data directory and runs the server.
  public var osUser: String
  /// On the host; nil: ask the server.
  public var dataDirectory: String?
  /// On the host, where pg_ctl and pg_basebackup are; nil: look for them.
  public var binDirectory: String?
  /// On the host; nil: `postgresql.conf` in the data directory, or what the server says.
  public var configFile: String?
  /// On the host; nil: what the server says.
  public var socketDirectory: String?
  /// On the host, where a server that pgconvoy starts writes before its own logging begins; nil: in the data
  /// directory.
  public var logFile: String?
  /// What runs the server on the host, where pg_ctl is not it: a manager would start again what pg_ctl stops.
  public var service: Service?
  public var password: PasswordSource
  public var sslMode: SSLMode
  public var connectTimeout: Duration
}

/// One host of the inventory, defaults merged.
public struct Host: Sendable, Equatable {
  public var name: String
  /// Host name or IP address, as SSH takes it.
  public var address: String
  public var transport: Transport
  public var ssh: SSHSettings
  public var postgres: PostgresSettings
  /// Where runit's service directories are on the host.
  public var serviceDirectory: String
  /// Where the host's own entry stands.
  public var place: SourcePlace
  /// Where each value came from, by dotted key: `postgres.port`.
  public var origins: [String: Origin]

  public var isLocal: Bool { transport == .local }
}
