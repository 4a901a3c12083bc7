import ClosingReports
import CopySteps
import Inventory
package import MigrationCore
package import Playbook
import ReplicationModel

extension StepLibrary where Context == MigrationContext {
  /// Every step that a playbook may name, and every fact.
  package static var migration: StepLibrary<MigrationContext> {
    StepLibrary(
      StepDefinition.copySteps + [
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
          parameters: [on, swept.definition], confirmation: "holds every writer up until the play is over"
        ) { parameters in
          FenceStep(side: parameters.choice("on") ?? .source, deadline: swept.limit(parameters))
        },
        StepDefinition(
          name: "unfence", summary: "lift a fence that was left standing, and enable what it had disabled",
          parameters: [onServing]
        ) { parameters in UnfenceStep(side: parameters.choice("on") ?? .serving) },
        StepDefinition(
          name: StepName.drain,
          summary: "wait until every database has applied all that the fenced side ever committed",
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
          name: "open_way_forward",
          summary: "start workers from the source, which is about to open again, to the target"
        ) { _ in OpenWayStep(direction: .reverse) },
        StepDefinition(
          name: "open_target",
          summary: "show that the source is closed, lift the quarantine: applications come in; drop the forward slots",
          confirmation:
            "makes the target the truth: the source stays fenced, and what was not carried over stays behind"
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
          parameters: [ParameterDefinition.goneHost]
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
      ]
    ).asking(FactDefinition.migration)
  }

  private static var on: ParameterDefinition {
    ParameterDefinition("on", .choice(["source", "target"]), isRequired: true, "which side of the migration")
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

  private static var closeEnough: StepDeadline {
    StepDeadline(.seconds(600), "until the lag is below the inventory's limits")
  }
  private static var swept: StepDeadline { StepDeadline(.seconds(30), "until no writer is left inside") }

  private static var optionalDeadline: ParameterDefinition {
    ParameterDefinition(
      "deadline", .duration, "until every marker is applied; the inventory's cutover.drain_deadline when not given")
  }
}
