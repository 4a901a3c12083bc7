import ReplicationModel

extension GroupMachine {
  /// Where a group is committed.
  enum Session: Equatable { case first, second }

  /// How a change goes in.
  enum Route: Equatable {
    /// Into its table's batch, if that can take it.
    case batch
    /// As a statement of its own, in the order of the stream.
    case single
  }

  /// What becomes of what waits in batches, when one more change does.
  enum Waiting: Equatable {
    /// It goes on waiting.
    case goesOn
    /// It goes to the target as a piece of its group, if the lanes have nothing to do.
    case goesIfIdle
    /// It goes as a piece.
    case goes
  }

  /// What is to be done next.
  enum Step: Equatable {
    /// Wait until the lanes have carried out all that they were given; then `drained()`.
    case awaitLanes
    /// Say whether the lanes have anything to do, by `lanes(areIdle:)`.
    case askLanes
    /// Commit the group as `end(now:)` says; then `committed(flushed:)`, or `handedOver(to:)`.
    case close
    /// Commit nothing but this progress in the first session, whose origin others look at; then `movedFirstOrigin()`.
    case moveFirstOrigin(LSN)
    /// Have the target flush its WAL; then `flushed(_:)`.
    case flush(reaching: LSN)
    /// One more transaction would be visible, or nothing more up to here; then `gateAnswered(stays:)`.
    case askBefore(LSN)
    /// All before this is visible, and nothing else is open; then `gateAnswered(stays:)`.
    case askBetween(LSN)
    /// Give up what only a backlog needs.
    case rest
  }

  // MARK: its own

  struct Group {
    var isOpen = false
    /// Whether its changes go in by set-based statements.
    var isBatching = false
    /// Whether it has sent something that no job says, in the first session.
    var isSending = false
    var isAnnounced = false
    var changes = 0
    var bytes = 0
    /// Empty ones too, and those before it was opened.
    var transactions: UInt64 = 0
  }

  enum Gate { case none, set, asked }

  /// A place that the stream has come to, until the gate has been asked.
  enum Arrival { case commit(LSN, settles: Bool), keepalive(LSN, record: Bool) }

  struct Due: OptionSet {
    let rawValue: UInt16
    static let closeIfIdle = Due(rawValue: 1)
    static let close = Due(rawValue: 2)
    static let drain = Due(rawValue: 4)
    static let firstOrigin = Due(rawValue: 8)
    static let record = Due(rawValue: 16)
    static let flush = Due(rawValue: 32)
    static let between = Due(rawValue: 64)
    static let rest = Due(rawValue: 128)
    /// Everything is committed, and the first origin says so.
    static let settled: Due = [.close, .drain, .firstOrigin]
  }
}

/// A group that is closed, until it is known to be committed.
struct ClosedGroup: Equatable {
  var progress: LSN
  var transactions: UInt64
  var changes: UInt64
}

/// How a group ends.
struct GroupEnd: Equatable {
  /// Where the origin stands then.
  var progress: LSN
  /// Whether its changes are in batches, which a lane carries out with the COMMIT.
  var isBatching: Bool
  /// Whether the target flushes it at once, and says so.
  var flushes: Bool
  /// Whether it has to be in the first session: what is told to somebody else (a marker's arrival to who waits for it,
  /// what is durable to the source) can be checked by that session's origin, and what was sent by itself was sent there.
  var isFirst: Bool
  /// Whether the next group may start beside it: everything that it changes is in its batches.
  var leavesKeys: Bool
}

/// Where a group goes that a lane commits.
enum GroupPlace: Equatable {
  /// The first session, behind what is under way there.
  case first
  /// The first session, which holds rows back until the second one has committed the group before.
  case firstBesideSecond
  /// The first session, once the lanes have been waited for.
  case firstAfterLanes
  /// The second session, which holds rows back until the first one has committed the group before. Where there is no
  /// second session, the first.
  case second
}
