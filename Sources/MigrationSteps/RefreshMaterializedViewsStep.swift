import Playbook

struct RefreshMaterializedViewsStep: Step {
  func plan(_ context: MigrationContext) async throws -> [PlannedAction] { [] }
  func isDone(_ context: MigrationContext) async throws -> Bool { false }
  func run(_ context: MigrationContext) async throws -> StepResult { StepResult(changed: false, "") }
}
