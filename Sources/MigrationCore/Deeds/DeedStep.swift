package import Playbook

/// A step that is a list of deeds: check mode announces them, a run performs them.
package protocol DeedStep: Step where Context == MigrationContext {
  /// As a playbook names it.
  var name: String { get }

  /// Refuses what must not be done now, and writes down what is about to be done, before the first deed of a run. Not
  /// called in check mode: no server is different afterwards.
  func begin(_ context: MigrationContext) async throws

  /// Everything that is left to do, in order. Reads and changes nothing. In check mode the steps before this one have not
  /// run: what depends on them is told as far as it can be.
  func deeds(_ context: MigrationContext) async throws -> [Deed]

  /// What is told of it, when all deeds are done.
  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult

  /// After a deed has failed, or the play was interrupted: what takes back at once what must not stay half done. The
  /// error that is thrown on, with what a person should know besides.
  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error

  /// What takes the step back; nil: there is nothing to take back.
  func undoing(_ context: MigrationContext) async throws -> Undoing?
}

/// How a step is taken back.
package struct Undoing: Sendable {
  package var deeds: [Deed]
  /// One line: what was taken back; nil: nothing that a person would call so.
  package var summary: String?

  package init(_ summary: String?, _ deeds: [Deed]) {
    self.summary = summary
    self.deeds = deeds
  }
}

extension DeedStep {
  package func begin(_ context: MigrationContext) async throws {}
  package func fail(_ context: MigrationContext, _ error: any Error) async -> any Error { error }
  package func undoing(_ context: MigrationContext) async throws -> Undoing? { nil }

  public func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    try await DeedAnnouncer(context).announce(deeds(context))
  }

  public func run(_ context: MigrationContext) async throws -> StepResult {
    try await begin(context)
    let performer = DeedPerformer(context, step: name)
    do {
      try await performer.perform(deeds(context))
    } catch {
      // Also when the play was interrupted: in a task that no cancellation reaches.
      throw await Task { await fail(context, error) }.value
    }
    return try await result(context, performer.found)
  }

  public func undo(_ context: MigrationContext) async throws -> UndoResult {
    guard let undoing = try await undoing(context) else { return .nothingToUndo }
    try await DeedPerformer(context, step: name, isUndo: true).perform(undoing.deeds)
    return undoing.summary.map(UndoResult.undone) ?? .nothingToUndo
  }
}
