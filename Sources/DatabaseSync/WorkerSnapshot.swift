public import ReplicationModel

/// What a worker says of itself; renderers and `pgconvoy status` make rows of it.
public struct WorkerSnapshot: Sendable, Codable, Equatable {
  public var migration: String
  public var database: String
  public var phase: DatabasePhase
  /// Everything the source committed before it is applied on the target.
  public var position: LSN
  /// The part of it that survives a crash of the target.
  public var durable: LSN
  public var transactions: UInt64
  public var changes: UInt64
  public var missedRows: UInt64
  /// Changes that were left out, of relations that neither server has any more, by their names.
  public var goneRows: [String: UInt64] = [:]
  public var changesPerSecond: Double
  /// Seconds behind the source's clock, 0 when caught up; nil when not known.
  public var secondsBehind: Double?
  /// As a person reads it, with the exact change.
  public var lastError: String?
  /// Since when nothing goes on for that reason, milliseconds since 1970; nil while it goes on.
  public var interruptedAt: UInt64?
  /// The commit LSN or record that parked it.
  public var parkedAt: LSN?
  /// Progress is past all that the stream held when this worker last began, so that no order to step over a
  /// transaction of that time is due any more.
  public var hasCaughtUp = false
  public var restarts: Int

  public init(migration: String, database: String) {
    self.migration = migration
    self.database = database
    phase = .stopped
    position = .invalid
    durable = .invalid
    transactions = 0
    changes = 0
    missedRows = 0
    changesPerSecond = 0
    restarts = 0
  }
}
