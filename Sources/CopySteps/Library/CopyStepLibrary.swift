package import MigrationCore
package import Playbook

extension StepDefinition where Context == MigrationContext {
  /// The steps up to a stream that runs, in the order of `migrate.yml`.
  package static var copySteps: [StepDefinition<MigrationContext>] {
    [
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
        parameters: [streaming.definition, ParameterDefinition.goneHost]
      ) { parameters in
        StartSyncStep(deadline: streaming.limit(parameters), gone: parameters.string("gone"))
      },
    ]
  }

  private static var streaming: StepDeadline { StepDeadline(.seconds(60), "until every worker streams") }
}

extension ParameterDefinition {
  package static var goneHost: ParameterDefinition {
    ParameterDefinition("gone", .string, "a host that had the sync process and will not come back")
  }
}
