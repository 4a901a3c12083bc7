import Inventory
import Journal
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// `hand_off`: one LSN for all databases, where the physical copy ends and the streams begin.
///
/// The standby is stopped, a logical slot is made in every database, a restore point is written behind them all, and
/// recovery on the target ends right there. Every transaction that committed before is in the copy, every later one
/// is in its database's stream, none is in both.
struct HandOffStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let source = context.migration.source.name
    let target = context.migration.target.name
    var actions: [PlannedAction] = [
      .init(host: target, .command, "stop the standby")
    ]
    let plugin = context.migration.plugin
    for database in try await context.selectedDatabases() {
      let slot = "pgconvoy_<nonce>_\(database.oid)"
      if plugin == .pgoutput {
        actions.append(
          .init(
            host: source, .sql(database: database.name), "CREATE PUBLICATION \(quotedIdentifier(slot)) FOR ALL TABLES"))
      }
      actions.append(
        .init(
          host: source, .sql(database: database.name),
          "SELECT pg_create_logical_replication_slot('\(slot)', '\(plugin.rawValue)')"))
    }
    let maintenance = context.migration.source.postgres.maintenanceDatabase
    actions += [
      .init(
        host: source, .sql(database: maintenance),
        "SELECT pg_create_restore_point('pgconvoy_<nonce>_<attempt>')"),
      .init(
        host: source, .sql(database: maintenance),
        "SELECT pg_logical_emit_message(true, 'pgconvoy.flush', '')"),
      .init(
        host: target, .file(old: nil, new: nil),
        "write postgresql.auto.conf: recover to that restore point, then promote"),
      .init(host: target, .command, "start PostgreSQL and wait for its promotion"),
      .init(host: target, .note, "stop unless the new timeline begins just at the restore point"),
      .init(
        host: target, .sql(database: maintenance),
        "roll back prepared transactions, drop inherited replication origins, create one origin per database"),
      .init(
        host: source, .sql(database: maintenance), "SELECT pg_drop_replication_slot('pgconvoy_<nonce>_physical')"),
      .init(host: target, .command, "restart PostgreSQL, then create the slots for the way back"),
    ]
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    ![.none, .prepared, .copying, .standby].contains(try await context.state())
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let target = try await context.server(.target)
    var record = try await context.handOff()
    if record.handOffLSN == nil {
      await context.closeSessions(.target)
      context.progress("stopping the standby")
      try await target.stop()
      do {
        record = try await SlotCreation(context: context, record: record).run()
      } catch {
        // The source must not keep WAL for slots that nobody will read; the standby goes on as before.
        let databases = record.databases
        let cleanUp = Task {
          try? await dropSlots(context, .source, names: databases.map(\.slotName))
          try? await dropPublications(context, .source, of: databases)
          try? await target.start()
        }
        await cleanUp.value
        throw error
      }
    }
    guard let handOff = record.handOffLSN else { return StepResult(changed: false, "nothing to hand off") }
    try await promote(context, target, record, handOff)
    try await Sealing(context: context, target: target, record: record, handOff: handOff).run()
    return StepResult(
      changed: true, "handed off at \(handOff)",
      figures: [.init("databases", UInt64(record.databases.count))])
  }

  // MARK: recovery to the restore point

  private func promote(
    _ context: MigrationContext, _ target: ServerControl, _ record: HandOffRecord, _ handOff: LSN
  ) async throws {
    try await stopEndlessStandby(context, target, record, handOff)
    if try await !target.isRunning() {
      let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
      let stage = Quarantine.Stage.recovery(
        context.upstream(target, record.names), restorePoint: record.restorePoint)
      try await target.upload(
        quarantine.configuration(for: stage).rendered(comment: Quarantine.comment),
        to: target.dataDirectory + "/postgresql.auto.conf")
      context.progress("recovering to restore point \(record.restorePoint) at \(handOff)")
      try await target.start()
    }
    let session = try await context.session(.target)
    try await waitUntil(
      within: context.migration.handOff.deadline,
      orThrow: {
        ConvoyError(
          "handoff.not-promoted", "the target has not reached the restore point before the deadline",
          at: context.place("hand_off", .target),
          hint: "look at the target's log; running the playbook again goes on waiting")
      }
    ) {
      try await session.query("SELECT pg_catalog.pg_is_in_recovery()").first == "f"
    }
    try await checkSwitchPoint(context, session, record, handOff)
  }

  /// A standby that was started since L was fixed (by a reboot, say) knows of no end, and is started anew with one,
  /// unless it has gone beyond.
  private func stopEndlessStandby(
    _ context: MigrationContext, _ target: ServerControl, _ record: HandOffRecord, _ handOff: LSN
  ) async throws {
    guard try await target.isRunning() else { return }
    let row = try await context.session(.target).query(
      """
      SELECT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('recovery_target_name') <> $1
      """, [record.restorePoint]
    ).rows[0]
    guard row.bool(0) else { return }
    await context.closeSessions(.target)
    try await target.stop()
    // Asked of the files: it went on replaying until it had stopped.
    let control = try await target.check(
      "LC_ALL=C \"$1\" -D \"$2\"", [target.program("pg_controldata"), target.dataDirectory],
      label: "reading the control file")
    let end = ControlData(control).minimumRecoveryEnd
    guard let end, end <= handOff else {
      throw ConvoyError(
        "handoff.standby-beyond",
        "the standby has replayed up to \(end?.description ?? "an unknown position"), beyond the hand-off at \(handOff)",
        at: context.place("hand_off", .target),
        hint: "this copy cannot be used: undo the migration and run it anew")
    }
  }

  /// The last line of the new timeline's history file says where it left the old one: that must be L.
  private func checkSwitchPoint(
    _ context: MigrationContext, _ session: PostgresSession, _ record: HandOffRecord, _ handOff: LSN
  ) async throws {
    let timeline = try await currentTimeline(session)
    let history = try await session.query(
      "SELECT pg_catalog.pg_read_file('pg_wal/' || $1 || '.history')", [timeline]
    ).first
    let switchPoint = history.flatMap { TimelineHistory.lastSwitchPoint($0) }
    guard let switchPoint, switchPoint.lsn == handOff, switchPoint.timeline == record.sourceTimeline else {
      throw ConvoyError(
        "handoff.wrong-switch-point",
        "the target left timeline \(switchPoint.map { "\($0.timeline)" } ?? "?") at "
          + "\(switchPoint?.lsn.description ?? "an unknown position"), not timeline \(record.sourceTimeline) at \(handOff)",
        at: context.place("hand_off", .target),
        hint: "this copy cannot be used: undo the migration and run it anew")
    }
    try await context.updateHandOff { $0.targetTimeline = UInt32(timeline, radix: 16) }
  }
}

/// The current timeline as the eight digits of file names.
func currentTimeline(_ session: PostgresSession) async throws -> String {
  try await session.query(
    "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)"
  ).first ?? ""
}

/// What pg_controldata prints in the C locale.
struct ControlData {
  let text: String

  init(_ text: String) { self.text = text }

  /// Recovery of a standby cannot end before it; 0/0 for a server that was no standby.
  var minimumRecoveryEnd: LSN? { value("Minimum recovery ending location").flatMap { LSN($0) } }

  private func value(_ name: String) -> String? {
    for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
      return String(line.dropFirst(name.count + 1).drop { $0 == " " })
    }
    return nil
  }
}

/// A `.history` file: parent timeline, switch point and reason on each line.
/// <https://www.postgresql.org/docs/15/continuous-archiving.html#BACKUP-TIMELINES>
enum TimelineHistory {
  static func lastSwitchPoint(_ text: String) -> (timeline: UInt32, lsn: LSN)? {
    for line in text.split(separator: "\n").reversed() where !line.hasPrefix("#") {
      let fields = line.split(separator: "\t")
      if fields.count >= 2, let timeline = UInt32(fields[0]), let lsn = LSN(fields[1]) { return (timeline, lsn) }
    }
    return nil
  }
}
