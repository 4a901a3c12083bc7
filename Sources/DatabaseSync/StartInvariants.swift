import BlockingIO
public import LogicalDecoding
public import PostgresClient
public import ReplicationModel

/// What must hold before a worker may start, read from both servers.
///
/// The rules are pure; a thin query fills the value. Every one of them guards against losing or repeating rows:
/// `START_REPLICATION` behind the slot's confirmed position is silently moved forward, a re-created slot begins later,
/// a server that was moved or failed over may look like the one that was meant.
public struct StartInvariants: Sendable, Equatable {
  /// The slot as the source has it; nil when there is none of that name.
  public struct Slot: Sendable, Equatable {
    public var databaseOID: UInt32?
    public var confirmedFlush: LSN?
    public var isLost: Bool
    public var isTwoPhase: Bool
    /// What its records are written by, and so what reads them.
    public var plugin: String

    public init(
      databaseOID: UInt32?, confirmedFlush: LSN?, isLost: Bool, isTwoPhase: Bool,
      plugin: String = OutputPlugin.usual.name
    ) {
      self.plugin = plugin
      self.databaseOID = databaseOID
      self.confirmedFlush = confirmedFlush
      self.isLost = isLost
      self.isTwoPhase = isTwoPhase
    }
  }

  public struct Server: Sendable, Equatable {
    public var systemIdentifier: String
    /// 0 while it is in recovery.
    public var timeline: Int
    public var isInRecovery: Bool

    public init(systemIdentifier: String, timeline: Int, isInRecovery: Bool) {
      self.systemIdentifier = systemIdentifier
      self.timeline = timeline
      self.isInRecovery = isInRecovery
    }
  }

  public var source: Server
  public var target: Server
  public var slot: Slot?
  /// The oid that the source now has under the database's name.
  public var databaseOID: UInt32?
  /// The source's flush position.
  public var sourceFlush: LSN
  /// The target's origin; nil when it does not exist.
  public var progress: LSN?
  /// Whether the target has a slot of the forward stream's name: then it is the source.
  public var targetHasSourceSlot: Bool

  public init(
    source: Server, target: Server, slot: Slot?, databaseOID: UInt32?, sourceFlush: LSN, progress: LSN?,
    targetHasSourceSlot: Bool
  ) {
    self.source = source
    self.target = target
    self.slot = slot
    self.databaseOID = databaseOID
    self.sourceFlush = sourceFlush
    self.progress = progress
    self.targetHasSourceSlot = targetHasSourceSlot
  }

  /// Where the stream starts, or why it must not.
  public func startPosition(for assignment: WorkerAssignment) throws(ConvoyError) -> LSN {
    try checkServers(assignment)
    guard let slot else {
      throw broken(
        assignment, "sync.slot-missing", "slot \(assignment.slot) does not exist on the \(assignment.fromName)",
        hint: "what the \(assignment.fromName) committed since is out of reach: this database needs a new hand-off")
    }
    guard databaseOID == assignment.databaseOID else {
      throw broken(
        assignment, "sync.database-replaced",
        "the \(assignment.fromName)'s database is not the one that was handed off: its oid is \(databaseOID.map(String.init) ?? "none") "
          + "and was \(assignment.databaseOID)",
        hint: "it was dropped and made again: this database needs a new hand-off")
    }
    guard slot.databaseOID == assignment.databaseOID else {
      throw broken(
        assignment, "sync.database-replaced",
        "slot \(assignment.slot) belongs to the database with oid \(slot.databaseOID.map(String.init) ?? "none"), "
          + "not \(assignment.databaseOID)",
        hint: "it was dropped and made again: this database needs a new hand-off")
    }
    guard !slot.isLost else {
      throw broken(
        assignment, "sync.slot-lost", "slot \(assignment.slot) has lost its WAL",
        hint: "max_slot_wal_keep_size was too small: this database needs a new hand-off")
    }
    guard !slot.isTwoPhase else {
      throw broken(
        assignment, "sync.slot-two-phase", "slot \(assignment.slot) was made with two_phase",
        hint: "such a slot sends rows of prepared transactions twice or not at all: this database needs a new hand-off")
    }
    guard let progress else {
      throw broken(
        assignment, "sync.origin-missing",
        "replication origin \(assignment.origin) does not exist on the \(assignment.toName)",
        hint: "it is the only record of what was applied: this database needs a new hand-off")
    }
    guard progress >= assignment.handOff else {
      throw broken(
        assignment, "sync.origin-behind", "progress \(progress) lies before the hand-off at \(assignment.handOff)",
        hint: "the origin was changed by someone else: this database needs a new hand-off")
    }
    guard let confirmed = slot.confirmedFlush, confirmed <= progress else {
      throw broken(
        assignment, "sync.slot-ahead",
        "slot \(assignment.slot) is confirmed up to \(slot.confirmedFlush.map(\.description) ?? "nowhere"), "
          + "beyond the \(assignment.toName)'s progress \(progress)",
        hint: "changes between the two are lost for this \(assignment.toName): this database needs a new hand-off")
    }
    guard progress <= sourceFlush else {
      throw broken(
        assignment, "sync.source-behind",
        "progress \(progress) lies beyond the \(assignment.fromName)'s WAL, which ends at \(sourceFlush)",
        hint: "is this the same \(assignment.fromName), or one that was restored from a backup?")
    }
    return progress
  }

  private func checkServers(_ assignment: WorkerAssignment) throws(ConvoyError) {
    for (server, role) in [(source, assignment.fromName), (target, assignment.toName)] {
      guard server.systemIdentifier == assignment.systemIdentifier else {
        throw broken(
          assignment, "sync.wrong-server",
          "the \(role) is another server: its system identifier is \(server.systemIdentifier) "
            + "and was \(assignment.systemIdentifier)",
          hint: "check the \(role)'s address in the inventory")
      }
      guard !server.isInRecovery else {
        throw broken(
          assignment, "sync.in-recovery", "the \(role) is in recovery", hint: "was it demoted to a standby?")
      }
    }
    guard !targetHasSourceSlot else {
      throw broken(
        assignment, "sync.same-server", "the \(assignment.toName)'s address leads to the \(assignment.fromName)",
        hint: "check the addresses of both hosts")
    }
    guard source.timeline == assignment.fromTimeline else {
      throw broken(
        assignment, "sync.source-timeline",
        "the \(assignment.fromName) is on timeline \(source.timeline) and was on \(assignment.fromTimeline)",
        hint: "a standby was promoted, or the \(assignment.fromName) restored: this migration needs a new hand-off")
    }
    guard target.timeline == assignment.toTimeline else {
      throw broken(
        assignment, "sync.target-timeline",
        "the \(assignment.toName) is on timeline \(target.timeline) and was on \(assignment.toTimeline)",
        hint: "is the \(assignment.toName)'s address right, and has nobody restored it?")
    }
  }

  private func broken(
    _ assignment: WorkerAssignment, _ code: ConvoyError.Code, _ message: String, hint: String
  ) -> ConvoyError {
    ConvoyError(code, message, at: assignment.place, hint: hint)
  }
}

extension StartInvariants {
  /// Asks both servers.
  public static func read(
    source: PostgresConnection, target: PostgresConnection, assignment: WorkerAssignment
  ) throws(PostgresError) -> StartInvariants {
    let deadline = Deadline.after(.seconds(30))
    let slotQuery =
      source.serverVersion >= 140000
      ? "SELECT datoid, confirmed_flush_lsn, coalesce(wal_status = 'lost', false), two_phase, plugin"
      : "SELECT datoid, confirmed_flush_lsn, \(source.serverVersion >= 130000 ? "coalesce(wal_status = 'lost', false)" : "false"), false, plugin"
    let slot = try source.query(
      slotQuery + " FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", [assignment.slot], until: deadline
    ).rows.first.map { row in
      Slot(
        databaseOID: row[0].flatMap { UInt32($0) }, confirmedFlush: row[1].flatMap { LSN($0) }, isLost: row.bool(2),
        isTwoPhase: row.bool(3), plugin: row.string(4))
    }
    let database = try source.query(
      "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()", until: deadline)
    let sourceServer = try server(source, until: deadline)
    let flush =
      sourceServer.isInRecovery
      ? nil : try source.query("SELECT pg_catalog.pg_current_wal_flush_lsn()", until: deadline).first
    let progress = try target.query(
      """
      SELECT pg_catalog.pg_replication_origin_progress(roname, true)
        FROM pg_catalog.pg_replication_origin WHERE roname = $1
      """, [assignment.origin], until: deadline)
    let foreignSlot = try target.query(
      "SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", [assignment.slot], until: deadline)
    return StartInvariants(
      source: sourceServer, target: try server(target, until: deadline), slot: slot,
      databaseOID: database.first.flatMap { UInt32($0) }, sourceFlush: flush.flatMap { LSN($0) } ?? .invalid,
      progress: progress.rowCount == 0 ? nil : progress.first.flatMap { LSN($0) } ?? .invalid,
      targetHasSourceSlot: foreignSlot.rowCount > 0)
  }

  /// The timeline comes from the name of the WAL segment being written: the control file's follows only at the first
  /// checkpoint after a promotion.
  private static func server(
    _ connection: PostgresConnection, until deadline: Deadline
  ) throws(PostgresError) -> Server {
    let row = try connection.query(
      """
      SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), pg_catalog.pg_is_in_recovery(),
             CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
                  ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END
      """, until: deadline
    ).rows[0]
    return Server(
      systemIdentifier: row.string(0), timeline: row[2].flatMap { Int($0, radix: 16) } ?? 0, isInRecovery: row.bool(1))
  }
}
