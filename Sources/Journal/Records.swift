public import FoundationEssentials
public import ReplicationModel

/// A run's number in this journal.
public struct RunID: Hashable, Sendable, Codable, RawRepresentable, CustomStringConvertible {
  public var rawValue: Int64
  public init(rawValue: Int64) { self.rawValue = rawValue }
  public var description: String { String(rawValue) }
}

/// A step's number in this journal, rising with time.
public struct StepID: Hashable, Sendable, Codable, RawRepresentable, CustomStringConvertible {
  public var rawValue: Int64
  public init(rawValue: Int64) { self.rawValue = rawValue }
  public var description: String { String(rawValue) }
}

public enum RunOutcome: String, Sendable, Codable, CaseIterable {
  case done, failed, interrupted
}

/// One command that worked on migrations.
public struct RunRecord: Sendable, Codable, Equatable, Identifiable {
  public var id: RunID
  /// The command line, passwords taken out.
  public var command: String
  public var user: String
  public var host: String
  public var pid: Int32
  public var started: Date
  public var ended: Date?
  /// Nil while it runs.
  public var outcome: RunOutcome?
}

/// What became of a step, or of its undoing. Every row of a run that has ended has one.
public enum StepOutcome: String, Sendable, Codable, CaseIterable {
  case changed
  /// It ran, and nothing is different; of an undoing: there was nothing to take back.
  case ok
  case alreadyDone = "already_done"
  /// Its `when` does not hold for the migration; the summary is the reason.
  case notMeant = "not_meant"
  case failed
  /// The migration failed before this step, the first that was to run, could begin.
  case notBegun = "not_begun"
  /// Also of a run whose process is gone.
  case interrupted
  case undone
  case undoFailed = "undo_failed"
}

/// One step of one run on one migration, or its undoing, which has a row of its own.
public struct StepRecord: Sendable, Codable, Equatable, Identifiable {
  public var id: StepID
  public var run: RunID
  public var migration: String
  public var name: String
  /// Whether this is the step's undoing.
  public var isUndo: Bool
  public var host: String?
  public var started: Date
  public var ended: Date?
  /// Nil while it runs.
  public var outcome: StepOutcome?
  public var summary: String?
  public var error: String?
}

/// Which sync workers should run for a migration. What does run is the sync process's own affair.
public enum DesiredSync: String, Sendable, Codable, CaseIterable {
  case stopped
  /// From the source to the target, from L.
  case forward
  /// From the target back to the old source, from R, after the cutover.
  case reverse

  public init(_ direction: StreamDirection) { self = direction == .forward ? .forward : .reverse }
}

extension StreamDirection {
  /// Nil when no worker should run.
  public init?(_ desired: DesiredSync) {
    switch desired {
    case .stopped: return nil
    case .forward: self = .forward
    case .reverse: self = .reverse
    }
  }
}

/// What is kept about a migration.
public struct MigrationRecord: Sendable, Codable, Equatable {
  public var name: String
  /// Host names in the inventory.
  public var source: String
  public var target: String
  public var state: MigrationState
  /// The current hand-off; nil before the first one and after it was given up.
  public var handOff: HandOffRecord?
  public var desiredSync: DesiredSync
  /// Which way changes travel now; forward until the target opens, reverse until the source does.
  public var direction: StreamDirection
  /// Rises whenever what the sync process should do changes; never falls.
  public var generation: Int64
  public var updated: Date
}

/// The facts of one hand-off, as they were found when it was made. Progress is not among them: that is the target's
/// replication origins.
public struct HandOffRecord: Sendable, Codable, Equatable {
  public var names: HandOffNames
  public var began: Date
  public var restorePoint: String
  /// L, where the physical copy ends and the stream begins; nil until the restore point is made.
  public var handOffLSN: LSN?
  /// R, where the way back begins: the closed target's position; nil until a cutover has opened it.
  public var reverseLSN: LSN?
  /// Where the way forward begins since a rollback: the closed source's position; nil before one, when it is L.
  public var forwardLSN: LSN?
  public var sourceSystemIdentifier: UInt64
  public var sourceTimeline: UInt32
  /// Nil until the copy runs.
  public var targetSystemIdentifier: UInt64?
  /// Nil until the target is promoted.
  public var targetTimeline: UInt32?
  public var databases: [HandOffDatabase]

  public init(
    names: HandOffNames, began: Date = Date(), sourceSystemIdentifier: UInt64, sourceTimeline: UInt32,
    databases: [HandOffDatabase] = []
  ) {
    self.names = names
    self.began = began
    restorePoint = names.restorePoint
    self.sourceSystemIdentifier = sourceSystemIdentifier
    self.sourceTimeline = sourceTimeline
    self.databases = databases
  }
}

/// One database of a hand-off.
public struct HandOffDatabase: Sendable, Codable, Equatable {
  public enum State: String, Sendable, Codable, CaseIterable {
    /// Its slot is about to be made.
    case pending
    /// Its slot stands; its worker may run.
    case active
    /// Its worker stopped at a change that it could not apply.
    case parked
    /// Its slot, and with it its way to the target, is gone.
    case dropped
  }

  public var name: String
  /// The database's oid on the source when the slot was made: a database made anew under the same name has another.
  public var oid: UInt32
  public var slotName: String
  public var originName: String
  public var state: State
  /// Why it is parked or dropped.
  public var reason: String?

  public init(name: String, oid: UInt32, names: HandOffNames, state: State = .pending, reason: String? = nil) {
    self.name = name
    self.oid = oid
    slotName = names.slot(databaseOID: oid)
    originName = names.origin(databaseOID: oid)
    self.state = state
    self.reason = reason
  }
}

/// A service that was stopped, or is about to be.
public struct ServiceRecord: Sendable, Codable, Equatable {
  public var migration: String
  public var host: String
  public var name: String
  /// `systemd`, `runit`, …
  public var manager: String
  /// Whether it ran before; only then may it be started again.
  public var wasRunning: Bool
  public var stopBegan: Date
  /// Nil while it is not known to have stopped.
  public var stopped: Date?
}

/// An operator's order to step over one parked transaction.
public struct SkipRecord: Sendable, Codable, Equatable, Identifiable {
  public var id: Int64
  public var migration: String
  public var database: String
  /// The transaction's record that could not be applied, as the parked database's error names it.
  public var lsn: LSN
  public var requestedBy: String
  public var requested: Date
  /// Nil until the worker has stepped over it.
  public var done: Date?
  /// What was left out.
  public var outcome: String?
}

/// A database's status as the sync process last recorded it.
public struct RecordedStatus: Sendable, Codable, Equatable {
  public var status: DatabaseStatus
  public var recorded: Date
}

/// Who holds a migration.
public struct LockHolder: Sendable, Codable, Equatable {
  public var migration: String
  public var run: RunID
  public var command: String
  public var user: String
  public var host: String
  public var pid: Int32
  public var since: Date
}
