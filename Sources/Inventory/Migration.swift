public import LogicalDecoding
public import ReplicationModel

/// The two ends of a migration.
public enum Side: String, Sendable, CaseIterable, Hashable {
  case source, target
}

/// Which databases of the source move.
public struct DatabaseSelection: Sendable, Equatable {
  /// Nil: all of them.
  public var include: [Glob]?
  public var except: [Glob]

  public init(include: [Glob]? = nil, except: [Glob] = []) {
    self.include = include
    self.except = except
  }

  /// Whether a database of this name is selected. Templates and databases that take no connections are the caller's
  /// business.
  public func matches(_ databaseName: String) -> Bool {
    (include?.contains { $0.matches(databaseName) } ?? true) && !except.contains { $0.matches(databaseName) }
  }
}

/// What runs a service.
public enum ServiceManager: String, Sendable, CaseIterable {
  case runit, systemd, sysvinit, command
}

/// A service that uses the databases: stopped for the cutover in the inventory's order, started in the reverse.
public struct Service: Sendable, Equatable {
  public var name: String
  public var manager: ServiceManager
  /// The hosts that it runs on.
  public var on: Set<Side>
  /// runit's service directories for this one service; nil: the host's.
  public var directory: String?
  /// For manager `command` only: shell commands on the host.
  public var commands: ServiceCommands?
  public var place: SourcePlace
}

/// How to start, stop and ask for a service that no known manager runs.
public struct ServiceCommands: Sendable, Equatable {
  public var start: String
  public var stop: String
  /// Exit status 0: it runs.
  public var status: String

  public init(start: String, stop: String, status: String) {
    self.start = start
    self.stop = stop
    self.status = status
  }
}

/// What happens to the target's old data directory.
public enum OldDataPolicy: String, Sendable, CaseIterable {
  /// Moved aside, until `finish`.
  case keep
  /// Removed before the copy, where there is no room for both.
  case replace
}

public enum VerifyMode: String, Sendable, CaseIterable {
  /// Rows and checksums of every table.
  case full
  /// Rows of every table.
  case counts
  case off
}

public enum CheckpointMode: String, Sendable, CaseIterable {
  case fast, spread
}

/// Bounds of the hand-off.
public struct HandOffSettings: Sendable, Equatable {
  /// How long the creation of one logical slot may wait for open transactions.
  public var lockTimeout: Duration
  /// How long all of it may take, from the standby's stop to its promotion.
  public var deadline: Duration
}

/// Bounds of the cutover.
public struct CutoverSettings: Sendable, Equatable {
  /// No cutover starts while any database lags by more.
  public var maxLagBytes: UInt64
  public var maxLag: Duration
  /// How long the drain may take, before the fence is lifted again.
  public var drainDeadline: Duration
  public var verify: VerifyMode
  /// How long tables are compared in full; those left over are compared by samples. Nil: all in full.
  public var verifyBudget: Duration?
  /// Whether the rows of unlogged tables, which no stream carries, are copied while applications are held up.
  public var copyUnlogged: Bool
}

/// How the physical copy is made.
public struct BaseBackupSettings: Sendable, Equatable {
  /// Bytes a second; nil: as fast as it goes.
  public var maxRate: UInt64?
  public var checkpoint: CheckpointMode
  /// pg_basebackup's `--compress`, as it takes it.
  public var compress: String?
  /// Old directory on the source, new directory on the target.
  public var tablespaceMapping: [String: String]
  /// Where the target's WAL goes; nil: inside the data directory.
  public var walDirectory: String?
}

/// One migration of the inventory, defaults merged.
public struct Migration: Sendable, Equatable {
  public var name: String
  public var source: Host
  public var target: Host
  public var databases: DatabaseSelection
  public var services: [Service]
  /// A shell command that must print the same on both hosts.
  public var versionCheck: String?
  public var plugin: OutputPlugin
  public var ddl: DDLMode
  public var oldData: OldDataPolicy
  public var handOff: HandOffSettings
  public var cutover: CutoverSettings
  public var baseBackup: BaseBackupSettings
  /// The servers that may be restarted when a setting needs it. The target's PostgreSQL is stopped and replaced in
  /// any case.
  public var allowRestart: Set<Side>
  /// Where the workers run.
  public var sync: SyncSettings
  /// The hosts of the inventory that a sync process may run on, or may have run on: those behind SSH.
  public var syncHosts: [Host]
  /// Where the migration's own entry stands.
  public var place: SourcePlace
  /// Where each value came from, by dotted key: `cutover.verify`.
  public var origins: [String: Origin]

  public func host(_ side: Side) -> Host {
    switch side {
    case .source: source
    case .target: target
    }
  }

  /// The services of one side, in the order in which they stop.
  public func services(on side: Side) -> [Service] {
    services.filter { $0.on.contains(side) }
  }
}
