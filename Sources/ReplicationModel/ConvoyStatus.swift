public import FoundationEssentials

/// All that `pgconvoy status` shows: one value, made at one moment, that every renderer takes.
///
/// Documented and versioned in docs/reference/status-json.md.
public struct ConvoyStatus: Sendable, Equatable {
  /// The version of the schema that this code writes.
  public static let currentVersion = 1

  /// The process that applies changes.
  public struct Sync: Sendable, Codable, Equatable {
    public var running: Bool
    /// Its process id, when it runs on this machine and has said so.
    public var pid: Int32?

    public init(running: Bool, pid: Int32? = nil) {
      self.running = running
      self.pid = pid
    }
  }

  /// The process that applies one migration's changes, where it was put on a host.
  public struct HostedSync: Sendable, Codable, Equatable {
    /// The host's name in the inventory.
    public var host: String
    /// `systemd`, `runit` or `detached`.
    public var manager: String
    /// Nil when it could not be asked.
    public var running: Bool?
    /// Its process id there.
    public var pid: Int32?

    public init(host: String, manager: String, running: Bool? = nil, pid: Int32? = nil) {
      self.host = host
      self.manager = manager
      self.running = running
      self.pid = pid
    }
  }

  /// One source, one target, and the databases between them.
  public struct Migration: Sendable, Codable, Equatable {
    public var name: String
    /// The source's host name in the inventory.
    public var source: String
    /// The target's host name in the inventory.
    public var target: String
    public var state: MigrationState
    /// Which way changes travel; nil before the hand-off and after the end.
    public var direction: StreamDirection?
    /// Whether a fence (or, on the target, the quarantine's) keeps everyone but pgconvoy out; nil when not known.
    public var sourceFenced: Bool?
    public var targetFenced: Bool?
    /// How often the quarantine, or the fence of the latest cutover or rollback, had to be put back, or somebody ended
    /// behind it; nil before the first one.
    public var fenceBreaches: UInt64?
    /// What was found the last time, on the side that should be closed, and when.
    public var latestBreach: Breach?
    /// Transactions of others that were committed on the side that should be closed, since the other one was opened.
    public var closedSideCommits: UInt64?
    /// The hand-off position; nil before the hand-off.
    public var handOffLSN: LSN?
    /// Nil where the workers are those of `ConvoyStatus.sync`.
    public var sync: HostedSync?
    public var databases: [DatabaseStatus]

    /// Something that had opened a side which should be closed, and was mended.
    public struct Breach: Sendable, Codable, Equatable {
      /// ISO 8601, whole seconds.
      public var at: String
      /// One line: `pg_hba.conf had lost the fence, which was put back`.
      public var what: String

      public init(at: String, what: String) {
        self.at = at
        self.what = what
      }
    }

    public init(
      name: String, source: String, target: String, state: MigrationState, handOffLSN: LSN? = nil,
      databases: [DatabaseStatus] = []
    ) {
      self.name = name
      self.source = source
      self.target = target
      self.state = state
      self.handOffLSN = handOffLSN
      self.databases = databases
    }

    enum CodingKeys: String, CodingKey {
      case name, source, target, state, direction
      case sourceFenced = "source_fenced"
      case targetFenced = "target_fenced"
      case fenceBreaches = "fence_breaches"
      case latestBreach = "latest_breach"
      case closedSideCommits = "closed_side_commits"
      case handOffLSN = "hand_off_lsn"
      case sync, databases
    }
  }

  public var version: Int
  /// When the value was made; whole seconds survive the text form.
  public var generatedAt: Date
  public var sync: Sync
  public var migrations: [Migration]

  public init(generatedAt: Date, sync: Sync, migrations: [Migration]) {
    version = Self.currentVersion
    self.generatedAt = generatedAt
    self.sync = sync
    self.migrations = migrations
  }
}

extension ConvoyStatus.Migration {
  /// What a migration says of its two servers.
  public enum Side: String, Sendable, Equatable { case source, target }

  /// The side that nobody but pgconvoy may come into as the migration stands; nil where there is none.
  public var sideToBeClosed: Side? {
    switch state {
    // The quarantine of a copy.
    case .handedOff, .rolledBack: .target
    case .cutOver: .source
    case .fenced, .drained: direction == .reverse ? .target : .source
    case .none, .prepared, .copying, .standby, .finished: nil
    }
  }

  /// Whether that side takes connections nevertheless; nil when there is none, or it does not say.
  public var shouldBeClosedAndIsOpen: Bool? {
    switch sideToBeClosed {
    case .source: sourceFenced.map { !$0 }
    case .target: targetFenced.map { !$0 }
    case nil: nil
    }
  }

  /// Whether both servers take connections of applications while changes travel between them; nil when one does not say.
  public var areBothOpen: Bool? {
    guard state.isReplicating, let sourceFenced, let targetFenced else { return nil }
    return !sourceFenced && !targetFenced
  }

  /// The host's name in the inventory.
  public func host(_ side: Side) -> String { side == .source ? source : target }
}

extension ConvoyStatus: Codable {
  enum CodingKeys: String, CodingKey {
    case version
    case generatedAt = "generated_at"
    case sync, migrations
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    version = try container.decode(Int.self, forKey: .version)
    generatedAt = try container.decodeISO8601(forKey: .generatedAt)
    sync = try container.decode(Sync.self, forKey: .sync)
    migrations = try container.decode([Migration].self, forKey: .migrations)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(version, forKey: .version)
    try container.encode(generatedAt.formatted(.iso8601), forKey: .generatedAt)
    try container.encode(sync, forKey: .sync)
    try container.encode(migrations, forKey: .migrations)
  }
}

extension KeyedDecodingContainer {
  /// A date as ISO-8601 text, whatever strategy the decoder has for dates.
  func decodeISO8601(forKey key: Key) throws -> Date {
    let text = try decode(String.self, forKey: key)
    do {
      return try Date(text, strategy: .iso8601)
    } catch {
      throw DecodingError.dataCorruptedError(
        forKey: key, in: self, debugDescription: "not an ISO-8601 date and time: \(text)")
    }
  }
}
