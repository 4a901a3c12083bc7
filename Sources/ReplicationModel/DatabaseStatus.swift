/// Where a database stands on its way.
public enum DatabasePhase: String, Sendable, Codable, CaseIterable {
  /// Known to the inventory, nothing done yet.
  case pending
  /// The base backup and the standby are under way.
  case copying
  /// Handed over at L; no worker has started yet.
  case handedOff = "handed_off"
  /// A worker applies a backlog.
  case catchingUp = "catching_up"
  /// The worker has applied all that the source had when it last said so.
  case streaming
  /// The source is fenced and the rest of the stream is being applied.
  case draining
  /// The database's marker has been applied.
  case drained
  /// The worker tries again after trouble that may pass; the last error says which.
  case interrupted
  /// A server does not answer.
  case unreachable
  /// Stopped at a change that cannot be applied; the other databases go on.
  case parked
  /// Handed off, but no worker runs.
  case stopped
  /// The target is open.
  case cutOver = "cut_over"
}

extension DatabasePhase {
  /// Whether a worker is said to apply what comes.
  public var isGoingOn: Bool {
    switch self {
    case .catchingUp, .streaming, .draining, .drained: true
    default: false
    }
  }

  /// Whether a worker would go on, and cannot.
  public var isHeldUp: Bool { self == .interrupted || self == .unreachable || self == .parked }
}

/// How many changes of a table were left out, because no server has it any more.
public struct GoneRows: Sendable, Codable, Equatable {
  public var table: String
  public var rows: UInt64

  public init(table: String, rows: UInt64) {
    self.table = table
    self.rows = rows
  }
}

/// One database's row in the report. Documented and versioned in docs/reference/status-json.md.
public struct DatabaseStatus: Sendable, Codable, Equatable {
  public var migration: String
  public var database: String
  public var phase: DatabasePhase
  /// Which way its changes travel; nil before the hand-off. In the other direction, "source" and "target" change places
  /// in what follows.
  public var direction: StreamDirection?
  /// WAL bytes between the source's position and what is durably applied; nil while there is no stream.
  public var lagBytes: UInt64?
  /// Seconds since the commit time of the oldest source transaction that is not applied yet, as far as the worker
  /// knows; 0 when caught up.
  public var lagSeconds: Double?
  /// Source transactions applied since the hand-off, as far as the worker counted (counts restart with the state
  /// directory, progress does not).
  public var transactionsApplied: UInt64
  /// Row changes applied.
  public var rowsApplied: UInt64
  /// Row changes a second, over the last seconds.
  public var rowsPerSecond: Double
  /// Updates and deletes that found no row on the target; more than 0 blocks the cutover.
  public var missedRows: UInt64
  /// Row changes that were left out: of tables that neither server has any more, since they were dropped on the source.
  /// Nil when there were none.
  public var goneRows: [GoneRows]?
  /// The hand-off position.
  public var handOffLSN: LSN?
  /// The target's replication origin: everything before it is on the target.
  public var appliedLSN: LSN?
  /// The slot's confirmed flush position.
  public var confirmedFlushLSN: LSN?
  /// The source's insert position when the row was made.
  public var sourceLSN: LSN?
  public var lastError: String?
  /// Since when nothing has been applied for the reason in `lastError`, milliseconds since 1970; nil while it goes on.
  public var interruptedAt: UInt64?
  /// For how long that is, when the row was made.
  public var interruptedSeconds: Double?
  /// The record that parked it; nil unless it is parked.
  public var parkedAt: LSN?
  /// What differs between the schemas of both sides, one line for each object; nil when nobody has looked.
  public var drift: [String]?

  public init(migration: String, database: String, phase: DatabasePhase) {
    self.migration = migration
    self.database = database
    self.phase = phase
    transactionsApplied = 0
    rowsApplied = 0
    rowsPerSecond = 0
    missedRows = 0
  }

  enum CodingKeys: String, CodingKey {
    case migration, database, phase, direction
    case lagBytes = "lag_bytes"
    case lagSeconds = "lag_seconds"
    case transactionsApplied = "transactions_applied"
    case rowsApplied = "rows_applied"
    case rowsPerSecond = "rows_per_second"
    case missedRows = "missed_rows"
    case goneRows = "gone_rows"
    case handOffLSN = "hand_off_lsn"
    case appliedLSN = "applied_lsn"
    case confirmedFlushLSN = "confirmed_flush_lsn"
    case sourceLSN = "source_lsn"
    case lastError = "last_error"
    case interruptedAt = "interrupted_at"
    case interruptedSeconds = "interrupted_seconds"
    case parkedAt = "parked_at"
    case drift
  }
}
