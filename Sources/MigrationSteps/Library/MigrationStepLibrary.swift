import ClosingReports
import Inventory
package import MigrationCore
package import Playbook
import ReplicationModel

extension StepLibrary where Context == MigrationContext {
  /// Every step that a playbook may name, and every fact.
  package static var migration: StepLibrary<MigrationContext> {
    StepLibrary([
      StepDefinition(
        name: "preflight", summary: "check everything that would fail or lose data; changes nothing"
      ) { _ in PreflightStep() },
      StepDefinition(
        name: "prepare_source",
        summary:
          "set what the source lacks: pgconvoy's role, wal_level, slots, walsenders, the target's entry in pg_hba.conf",
        confirmation:
          "makes pgconvoy's role, changes settings of the source and, where the inventory allows it, restarts its PostgreSQL"
      ) { _ in PrepareSourceStep() },
      StepDefinition(
        name: "set_replica_identity",
        summary: "set REPLICA IDENTITY FULL on the source's tables whose updates and deletes would name no row",
        confirmation: "alters tables of the source"
      ) { _ in ReplicaIdentityStep() },
      StepDefinition(
        name: "base_backup", summary: "copy the source's data directory to the target, next to the old one"
      ) { _ in BaseBackupStep() },
      StepDefinition(
        name: "start_standby",
        summary: "put the copy in the place of the target's data directory, quarantined, and let it follow the source",
        confirmation: "stops the target's PostgreSQL and moves its data directory aside"
      ) { _ in StandbyStep() },
      StepDefinition(
        name: "hand_off", summary: "make the logical slots and promote the target, at one LSN for all databases"
      ) { _ in HandOffStep() },
      StepDefinition(
        name: "make_slots", summary: "stop the standby and make a logical slot in every database; hand_off's first part"
      ) { _ in MakeSlotsStep() },
      StepDefinition(
        name: "set_restore_point", summary: "fix the hand-off's LSN behind all slots; hand_off's second part"
      ) { _ in SetRestorePointStep() },
      StepDefinition(
        name: "promote_target", summary: "end the target's recovery at that LSN; hand_off's third part"
      ) { _ in PromoteTargetStep() },
      StepDefinition(
        name: "seal_target",
        summary: "set the replication origins to that LSN and make the slots for the way back; hand_off's last part"
      ) { _ in SealTargetStep() },
      StepDefinition(
        name: "start_sync",
        summary: "start the sync workers in a process of their own, where the inventory's sync.on says",
        parameters: [streaming.definition, goneHost]
      ) { parameters in
        StartSyncStep(deadline: streaming.limit(parameters), gone: parameters.string("gone"))
      },
      StepDefinition(
        name: "wait_for_lag", summary: "wait until every database is close enough for a cutover or rollback",
        parameters: [direction, closeEnough.definition]
      ) { parameters in WaitForLagStep(direction: way(parameters), deadline: closeEnough.limit(parameters)) },
      StepDefinition(
        name: "analyze", summary: "analyze the tables that changed much on the side to be opened",
        parameters: [direction]
      ) { parameters in AnalyzeStep(direction: way(parameters)) },
      StepDefinition(
        name: "stop_services", summary: "stop the services of one side, in order, and remember which were running",
        parameters: [on]
      ) { parameters in StopServicesStep(side: parameters.choice("on") ?? .source) },
      StepDefinition(
        name: "fence", summary: "keep every writer but pgconvoy out of one side",
        parameters: [on, swept.definition]
      ) { parameters in
        FenceStep(side: parameters.choice("on") ?? .source, deadline: swept.limit(parameters))
      },
      StepDefinition(
        name: "unfence", summary: "lift a fence that was left standing, and enable what it had disabled",
        parameters: [onServing]
      ) { parameters in UnfenceStep(side: parameters.choice("on") ?? .serving) },
      StepDefinition(
        name: StepName.drain, summary: "wait until every database has applied all that the fenced side ever committed",
        parameters: [direction, optionalDeadline]
      ) { parameters in DrainStep(direction: way(parameters), deadline: parameters.duration("deadline")) },
      StepDefinition(
        name: "copy_sequences", summary: "set every sequence of the side to be opened to the fenced side's position",
        parameters: [direction]
      ) { parameters in CopySequencesStep(direction: way(parameters)) },
      StepDefinition(
        name: "copy_large_objects",
        summary: "carry large objects over that are not the fenced side's, with owners and privileges",
        parameters: [direction]
      ) { parameters in CopyLargeObjectsStep(direction: way(parameters)) },
      StepDefinition(
        name: "copy_unlogged_tables",
        summary: "carry the rows of unlogged tables over, where cutover.copy_unlogged says so",
        parameters: [direction]
      ) { parameters in CopyUnloggedStep(direction: way(parameters)) },
      StepDefinition(
        name: "refresh_materialized_views",
        summary: "rebuild the materialized views that differ from the fenced side's",
        parameters: [direction]
      ) { parameters in RefreshMaterializedViewsStep(direction: way(parameters)) },
      StepDefinition(
        name: "verify", summary: "compare rows and checksums of every table on both sides of a drained migration",
        parameters: [direction]
      ) { parameters in VerifyStep(direction: way(parameters)) },
      StepDefinition(
        name: "confirm_fence", summary: "prove by a second marker that nothing came through behind the fence",
        parameters: [direction, optionalDeadline]
      ) { parameters in ConfirmFenceStep(direction: way(parameters), deadline: parameters.duration("deadline")) },
      StepDefinition(
        name: "close_forward", summary: "end the workers that carry changes from the source to the target"
      ) { _ in CloseStep(direction: .forward) },
      StepDefinition(
        name: "close_reverse", summary: "end the workers that carry changes from the target back to the source"
      ) { _ in CloseStep(direction: .reverse) },
      StepDefinition(
        name: "open_way_back", summary: "start workers from the target, which is about to open, to the old source"
      ) { _ in OpenWayStep(direction: .forward) },
      StepDefinition(
        name: "open_way_forward", summary: "start workers from the source, which is about to open again, to the target"
      ) { _ in OpenWayStep(direction: .reverse) },
      StepDefinition(
        name: "open_target",
        summary: "show that the source is closed, lift the quarantine: applications come in; drop the forward slots",
        confirmation: "makes the target the truth: the source stays fenced, and what was not carried over stays behind"
      ) { _ in OpenStep(direction: .forward) },
      StepDefinition(
        name: "open_source",
        summary: "show that the target is closed, lift the source's fence: applications come in; drop its slots",
        confirmation: "makes the source the truth again: the target stays fenced"
      ) { _ in OpenStep(direction: .reverse) },
      StepDefinition(
        name: "start_services", summary: "start the services of one side, in the reverse order",
        parameters: [onServing]
      ) { parameters in StartServicesStep(side: parameters.choice("on") ?? .serving) },
      StepDefinition(
        name: StepName.report, summary: "write the proof of a cutover or rollback, and print it",
        parameters: [direction]
      ) { parameters in ReportStep(direction: way(parameters)) },
      StepDefinition(
        name: "stop_sync",
        summary:
          "end the migration's workers, in whichever direction they stream, and remove what was put on a host for them",
        parameters: [goneHost]
      ) { parameters in StopSyncStep(gone: parameters.string("gone")) },
      StepDefinition(
        name: "clean_up", summary: "remove what the migration has put on one side",
        parameters: [
          on,
          ParameterDefinition(
            "old_data", .choice(["keep", "remove"]), default: .string("keep"),
            "the target's former data directory, or the copy that is given up"),
        ],
        confirmation: "ends every way between the two servers and lifts the fence of the one that was left; "
          + "a target that does not serve gets its old data directory back"
      ) { parameters in
        CleanUpStep(side: parameters.choice("on") ?? .source, oldData: parameters.choice("old_data") ?? .keep)
      },
      StepDefinition(
        name: "finish", summary: "make sure that nothing of pgconvoy's is left, and close the migration",
        parameters: [
          ParameterDefinition("gone", .choice(["source", "target"]), "a side that is not there any more")
        ]
      ) { parameters in FinishStep(gone: parameters.choice("gone")) },
    ]).asking(FactDefinition.migration)
  }

  private static var on: ParameterDefinition {
    ParameterDefinition("on", .choice(["source", "target"]), isRequired: true, "which side of the migration")
  }

  private static var goneHost: ParameterDefinition {
    ParameterDefinition("gone", .string, "a host that had the sync process and will not come back")
  }

  private static var onServing: ParameterDefinition {
    ParameterDefinition(
      "on", .choice(["source", "target", "serving"]),
      "which side of the migration; the one that serves applications, by the journal, when not given")
  }

  private static var direction: ParameterDefinition {
    ParameterDefinition(
      "direction", .choice(StreamDirection.allCases.map(\.rawValue)), default: .string("forward"),
      "forward for a cutover, reverse for a rollback")
  }

  private static func way(_ parameters: StepParameters) -> StreamDirection {
    parameters.choice("direction") ?? .forward
  }

  private static var streaming: StepDeadline { StepDeadline(.seconds(60), "until every worker streams") }
  private static var closeEnough: StepDeadline {
    StepDeadline(.seconds(600), "until the lag is below the inventory's limits")
  }
  private static var swept: StepDeadline { StepDeadline(.seconds(30), "until no writer is left inside") }

  private static var optionalDeadline: ParameterDefinition {
    ParameterDefinition(
      "deadline", .duration, "until every marker is applied; the inventory's cutover.drain_deadline when not given")
  }
}

/// How long a step waits where the playbook does not say it.
private struct StepDeadline {
  private let preset: Duration
  private let summary: String

  /// - Parameter summary: until what: a sentence fragment.
  init(_ preset: Duration, _ summary: String) {
    self.preset = preset
    self.summary = summary
  }

  var definition: ParameterDefinition {
    ParameterDefinition("deadline", .duration, default: .duration(preset), summary)
  }

  func limit(_ parameters: StepParameters) -> Duration { parameters.duration("deadline") ?? preset }
}
