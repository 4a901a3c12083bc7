import FoundationEssentials
public import ReplicationModel

/// What a sync process on another machine is told: how its journal is to stand. What it works on is the order;
/// progress is in the target's replication origins, and is in here for people only.
public struct SyncOrders: Sendable, Codable, Equatable {
  /// Of the form that this code writes and reads.
  public static let currentVersion = 1

  public var version = currentVersion
  /// Whose orders these are: a state directory's own random name.
  public var journal: String
  /// `user@host`, for messages.
  public var by: String
  /// Of the journal that gives the orders: what is older than the latest is not followed.
  public var generation: Int64
  public var migration: String
  public var source: String
  public var target: String
  public var state: MigrationState
  public var direction: StreamDirection
  public var desiredSync: DesiredSync
  public var handOff: HandOffRecord?
  /// Those that are still due.
  public var skips: [SkipRecord]
  public var snapshots: [SnapshotRecord]
  /// What workers had counted where they ran before.
  public var counted: [DatabaseStatus]
}

/// What a sync process on another machine answers.
public struct SyncReport: Sendable, Codable, Equatable {
  public enum Answer: String, Sendable, Codable {
    /// Only asked.
    case looked
    case followed
    /// The orders are older than the latest that were followed.
    case stale
    /// The process follows another state directory.
    case followsAnother
  }

  public struct Status: Sendable, Codable, Equatable {
    public var status: DatabaseStatus
    /// Seconds since the process recorded it: clocks differ.
    public var age: Double
  }

  public var version = SyncOrders.currentVersion
  public var answer = Answer.looked
  /// `user@host` of whose orders it follows.
  public var follows: String?
  public var running: Bool
  public var pid: Int32?
  public var statuses: [Status]
  /// Orders of `skips` that are carried out.
  public var skipped: [SkipRecord]
  public var snapshots: [SnapshotRecord]
}

/// How orders are given.
public enum SyncExchange: String, Sendable, Codable {
  /// Nothing is ordered; who looks need not be whose orders are followed.
  case look
  /// Followed where they come from the state directory that is followed so far.
  case order
  /// Followed from whichever state directory; from here on that one is.
  case takeOver
}

/// One exchange, as it goes through SSH.
public struct SyncMessage: Sendable, Codable, Equatable {
  public var exchange: SyncExchange
  public var orders: SyncOrders

  public init(_ exchange: SyncExchange, _ orders: SyncOrders) {
    self.exchange = exchange
    self.orders = orders
  }
}
