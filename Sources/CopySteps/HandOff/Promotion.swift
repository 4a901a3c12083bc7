import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel

/// Recovery on the target, up to the restore point and no further.
struct Promotion {
  let context: MigrationContext
  let record: HandOffRecord
  /// The step that it is part of, for errors.
  var step = "hand_off"

  func deeds() async throws -> [Deed] {
    let target = try await context.server(.target)
    // Before L is fixed the standby runs only until the slots are made.
    var runs = record.handOffLSN == nil ? false : try await target.isRunning()
    var deeds: [Deed] = []
    if runs, try await isEndless() {
      deeds = [.server(.target, .stop), .aside { _ in try await checkIsNotBeyond(target) }]
      runs = false
    }
    // It may have reached its end already, or be on its way there.
    if runs { return [promoted(target), .aside { _ in try await checkSwitchPoint(context.session(.target)) }] }
    return deeds + [
      .later(announced: { recovering(target, try await Quarantine.announced(context, target, stage(target))) }) { _ in
        let quarantine = try await Quarantine.assemble(context, target, directory: target.dataDirectory)
        let text = quarantine.configuration(for: stage(target)).rendered(comment: Quarantine.comment)
        return [.say("recovering to restore point \(record.restorePoint) at \(handOff)")]
          + recovering(target, FileText(text))
      },
      .aside { _ in try await checkSwitchPoint(context.session(.target)) },
    ]
  }

  private var handOff: LSN { record.handOffLSN ?? .invalid }

  private func stage(_ target: ServerControl) -> Quarantine.Stage {
    .recovery(
      context.upstream(target, record.names),
      restorePoint: record.handOffLSN == nil ? "\(record.names.restorePoint)_NONCE" : record.restorePoint)
  }

  private func recovering(_ target: ServerControl, _ text: FileText) -> [Deed] {
    [.write(.target, target.settingsFile, text), .server(.target, .start), promoted(target)]
  }

  private func promoted(_ target: ServerControl) -> Deed {
    .wait(.target, "until recovery has ended at the restore point, just there") { _ in
      let session = try await context.session(.target)
      try await waitUntil(
        within: context.migration.handOff.deadline, gettingOn: { try await context.replay(target, session, handOff) },
        orThrow: {
          ConvoyError(
            "handoff.not-promoted", "the target does not get on towards the restore point",
            at: context.place(step, .target),
            hint: "look at the target's log; running the playbook again goes on waiting")
        }
      ) {
        try await session.query("SELECT pg_catalog.pg_is_in_recovery()").first == "f"
      }
    }
  }

  /// A standby that was started since L was fixed (by a reboot, say) knows of no end, and is started anew with one,
  /// unless it has gone beyond.
  private func isEndless() async throws -> Bool {
    let row = try await context.session(.target).query(
      """
      SELECT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('recovery_target_name') <> $1
      """, [record.restorePoint]
    ).rows[0]
    return row.bool(0)
  }

  /// Asked of the files: it went on replaying until it had stopped.
  private func checkIsNotBeyond(_ target: ServerControl) async throws {
    let end = try await target.controlData().minimumRecoveryEnd
    guard let end, end <= handOff else {
      throw ConvoyError(
        "handoff.standby-beyond",
        "the standby has replayed up to \(end?.description ?? "an unknown position"), beyond the hand-off at \(handOff)",
        at: context.place(step, .target),
        hint: "this copy cannot be used: undo the migration and run it anew")
    }
  }

  /// The last line of the new timeline's history file says where it left the old one: that must be L.
  private func checkSwitchPoint(_ session: PostgresSession) async throws {
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
        at: context.place(step, .target),
        hint: "this copy cannot be used: undo the migration and run it anew")
    }
    try await context.updateHandOff { $0.targetTimeline = UInt32(timeline, radix: 16) }
  }
}

extension Quarantine {
  /// The file's text at a stage; before the standby is there, nobody knows it.
  static func announced(_ context: MigrationContext, _ target: ServerControl, _ stage: Stage) async throws -> FileText {
    guard try await target.exists(target.keptSettingsFile) else {
      return FileText(announced: nil) { "" }
    }
    let quarantine = try await assemble(context, target, directory: target.dataDirectory)
    return FileText(quarantine.configuration(for: stage).rendered(comment: comment))
  }
}
