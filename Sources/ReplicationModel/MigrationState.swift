/// Where a migration stands: its phases, in their order. Recorded by the steps that bring it there; a step asks the
/// servers, not this, whether its work is done.
///
/// The order is that of the cases below, and says how far the migration has come. Behind a cutover the same phases come
/// again the other way: a rollback fences, drains and opens as well, and a migration that is rolled back stands as one
/// that is handed off. What holds in which phase is asked by the predicates, and which phase may follow which is said
/// by `follows`; nobody keeps a list of phases of their own.
public enum MigrationState: String, Sendable, Codable, CaseIterable {
  /// Known to the inventory, nothing done yet.
  case none
  /// The source has its settings, role and entries in pg_hba.conf.
  case prepared
  /// The base backup is under way.
  case copying
  /// The target runs as a standby of the source.
  case standby
  /// The target was promoted at the hand-off; changes travel by logical replication.
  case handedOff = "handed_off"
  /// Every writer is kept out of the side that serves.
  case fenced
  /// Every database has applied its marker behind the fence.
  case drained
  /// The target is open.
  case cutOver = "cut_over"
  /// The source is open again after a cutover.
  case rolledBack = "rolled_back"
  /// Slots, origins, markers, fences and kept data are gone.
  case finished
}

extension MigrationState: Comparable {
  public static func < (left: MigrationState, right: MigrationState) -> Bool {
    (allCases.firstIndex(of: left) ?? 0) < (allCases.firstIndex(of: right) ?? 0)
  }
}

// What holds in a phase. A finished migration has been through those before it, or was given up.
extension MigrationState {
  /// Whether a base backup has begun: what it needs of the source was there.
  public var hasBegunToCopy: Bool { self >= .copying }

  /// Whether the copy has taken the target's place. Until then the target is the server that it was before.
  public var hasCopyInPlace: Bool { self >= .standby }

  /// Whether the hand-off is over: from here on the copy is a server of its own.
  public var hasHandedOff: Bool { self >= .handedOff }

  /// Whether two servers stand between which changes travel by logical replication, one way or the other.
  public var isReplicating: Bool { hasHandedOff && self != .finished }

  /// Whether writers are kept out by the fence of a cutover or rollback that is in progress: who serves is not settled.
  public var isHeldUp: Bool { self == .fenced || self == .drained }

  /// Whether nothing of the migration stands on either server: it has not begun, or is finished.
  public var hasNothingStanding: Bool { self == .none || self == .finished }

  /// Whether the migration may come to this phase from another, or from the same one by a run that is repeated.
  public func follows(_ other: MigrationState) -> Bool { predecessors.contains(other) }

  private var predecessors: Set<MigrationState> {
    switch self {
    case .none: []
    // No step records it; it is known from journals only.
    case .prepared: []
    // A base backup that begins, also anew after the end; or a copy that is given up, whose place the target's old data
    // takes again. Not in the middle of a cutover, and not once the target is the truth.
    case .copying: [.none, .prepared, .copying, .standby, .handedOff, .rolledBack, .finished]
    case .standby: [.copying, .standby]
    // The hand-off, which a standby precedes that may not have been recorded; or a cutover's fence that is lifted.
    case .handedOff: [.copying, .standby, .fenced, .drained]
    // A fence that was lifted from elsewhere goes up again.
    case .fenced: [.handedOff, .fenced, .drained, .cutOver, .rolledBack]
    // A playbook may drain without a fence of ours.
    case .drained: [.handedOff, .fenced, .drained, .cutOver, .rolledBack]
    // Opened, or a rollback's fence is lifted.
    case .cutOver: [.fenced, .drained]
    // Opened, or the fence of a cutover that comes after a rollback is lifted.
    case .rolledBack: [.fenced, .drained]
    case .finished: [.prepared, .copying, .standby, .handedOff, .cutOver, .rolledBack]
    }
  }
}
