import HostAdmin
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel

/// `hand_off`: one LSN for all databases, where the physical copy ends and the streams begin.
///
/// The standby is stopped, a logical slot is made in every database, a restore point is written behind them all, and
/// recovery on the target ends right there. Every transaction that committed before is in the copy, every later one
/// is in its database's stream, none is in both.
struct HandOffStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let target = try await context.server(.target)
    let record = try await context.record()?.handOff
    let names = try await context.plannedNames()
    let oids = try await databases(context)
    var actions: [PlannedAction] = []
    if record?.handOffLSN == nil { actions += slotCreation(context, target, names, oids) }
    let position = record?.handOffLSN?.description ?? "<hand-off>"
    actions += try await recovery(context, target, names, restorePoint: record?.restorePoint)
    actions += try await sealing(context, target, names, oids, position)
    return actions
  }

  private struct PlannedDatabase {
    var name: String
    var oid: UInt32
  }

  private func databases(_ context: MigrationContext) async throws -> [PlannedDatabase] {
    if let record = try await context.record()?.handOff {
      return record.databases.map { PlannedDatabase(name: $0.name, oid: $0.oid) }
    }
    return try await context.selectedDatabases().map { PlannedDatabase(name: $0.name, oid: $0.oid) }
  }

  private func slotCreation(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames, _ databases: [PlannedDatabase]
  ) -> [PlannedAction] {
    let source = context.migration.source
    let maintenance = source.postgres.maintenanceDatabase
    let triggers = DDLTriggers.statements(context.migration.ddl, names, role: source.postgres.user)
    return [.init(host: target.host.name, target.stopCommand())]
      + databases.flatMap { database in
        triggers.map { PlannedAction(host: source.name, database: database.name, $0) }
      }
      + databases.flatMap { database in
        let slot = names.slot(databaseOID: database.oid)
        let plugin = context.migration.plugin
        let publication = plugin == .pgoutput ? HandOffSQL.makePublication(slot) : []
        return publication.map { PlannedAction(host: source.name, database: database.name, $0) } + [
          PlannedAction(
            host: source.name, database: database.name, HandOffSQL.createSlot, [slot, plugin.rawValue])
        ]
      } + [
        .init(
          host: source.name, database: maintenance, HandOffSQL.restorePoint, ["\(names.restorePoint)_NONCE"]),
        .init(host: source.name, database: maintenance, HandOffSQL.flush),
      ]
  }

  private func recovery(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames, restorePoint: String?
  ) async throws -> [PlannedAction] {
    let path = target.dataDirectory + "/postgresql.auto.conf"
    let stage = Quarantine.Stage.recovery(
      context.upstream(target, names), restorePoint: restorePoint ?? "\(names.restorePoint)_NONCE")
    return [
      .init(host: target.host.name, try await quarantine(context, target, stage), path),
      .init(host: target.host.name, target.startCommand()),
      .init(host: target.host.name, .wait, "until recovery has ended at the restore point, just there"),
    ]
  }

  /// The quarantine's file at a stage; before the standby is there, nobody knows its text.
  private func quarantine(
    _ context: MigrationContext, _ target: ServerControl, _ stage: Quarantine.Stage
  ) async throws -> PlannedAction.Kind {
    guard try await target.exists("\(target.dataDirectory)/\(ServerControl.keptSettings)") else {
      return .file(old: nil, new: nil)
    }
    let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
    return .file(
      old: try await target.download(target.dataDirectory + "/postgresql.auto.conf"),
      new: quarantine.configuration(for: stage).rendered(comment: Quarantine.comment))
  }

  /// What the copy has inherited is asked of the source, as it is now.
  private func sealing(
    _ context: MigrationContext, _ target: ServerControl, _ names: HandOffNames, _ databases: [PlannedDatabase],
    _ position: String
  ) async throws -> [PlannedAction] {
    let host = target.host.name
    let maintenance = context.migration.target.postgres.maintenanceDatabase
    let source = try await context.session(.source)
    var actions: [PlannedAction] = []
    for row in try await source.query(HandOffSQL.enabledSubscriptions).rows {
      actions.append(
        .init(
          host: host, database: row.string(0), HandOffSQL.disable(subscription: quotedIdentifier(row.string(1)))))
    }
    for row in try await source.query(HandOffSQL.prepared).rows {
      actions.append(
        .init(host: host, database: row.string(1), HandOffSQL.rollBack(prepared: quotedLiteral(row.string(0)))))
    }
    for row in try await source.query(HandOffSQL.origins).rows {
      actions.append(.init(host: host, database: maintenance, HandOffSQL.dropOrigin, [row.string(0)]))
    }
    for database in databases {
      let origin = names.origin(databaseOID: database.oid)
      actions.append(.init(host: host, database: maintenance, HandOffSQL.makeOrigin, [origin, position]))
    }
    actions += [
      .init(host: host, target.stopCommand()),
      .init(
        host: host, try await quarantine(context, target, .synchronising),
        target.dataDirectory + "/postgresql.auto.conf"),
      .init(host: host, target.startCommand()),
      .init(
        host: context.migration.source.name, database: context.migration.source.postgres.maintenanceDatabase,
        dropSlotSQL, [names.physicalSlot]),
      .init(host: host, target.passfileRemoval),
    ]
    if context.migration.plugin == .pgoutput {
      for database in databases {
        let statement = HandOffSQL.dropPublication(names.slot(databaseOID: database.oid))
        actions.append(.init(host: host, database: database.name, statement))
      }
    }
    if let schema = DDLTriggers.schema(context.migration.ddl, names) {
      for database in databases {
        actions += DDLTriggers.removal(schema)
          .map { PlannedAction(host: host, database: database.name, $0) }
      }
    }
    let plugin = context.migration.plugin
    for database in databases {
      let slot = names.reverseSlot(databaseOID: database.oid)
      let publication = plugin == .pgoutput ? HandOffSQL.makePublication(slot) : []
      actions += publication.map { PlannedAction(host: host, database: database.name, $0) }
      actions.append(.init(host: host, database: database.name, HandOffSQL.createSlot, [slot, plugin.rawValue]))
    }
    return actions
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    ![.none, .prepared, .copying, .standby].contains(try await context.state())
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let target = try await context.server(.target)
    var record = try await context.handOff()
    var times: [DatabaseRecord] = []
    if record.handOffLSN == nil {
      await context.closeSessions(.target)
      context.progress("stopping the standby")
      try await target.stop()
      do {
        (record, times) = try await SlotCreation(context: context, record: record).run()
      } catch {
        // The source must not keep WAL for slots that nobody will read; the standby goes on as before.
        let failed = record
        let databases = record.databases
        let cleanUp = Task {
          try? await DDLTriggers.lift(context, .source, failed)
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
      figures: [.init("databases", UInt64(record.databases.count))], databases: times)
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
    let end = try await target.controlData().minimumRecoveryEnd
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
