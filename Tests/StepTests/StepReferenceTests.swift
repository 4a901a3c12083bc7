import Foundation
import Playbook
import TestSupport
import Testing

@testable import MigrationCore
@testable import MigrationSteps

/// docs/reference/steps.md is written from the step library: `PGCONVOY_WRITE_REFERENCE=1 swift test --filter
/// StepReferenceTests` writes it anew, any other run compares.
@Suite struct StepReferenceTests {
  private static let path = repositoryRoot + "/docs/reference/steps.md"

  @Test func theReferenceIsWhatTheLibrarySays() throws {
    let text = reference(StepLibrary<MigrationContext>.migration)
    if ProcessInfo.processInfo.environment["PGCONVOY_WRITE_REFERENCE"] == "1" {
      try text.write(toFile: Self.path, atomically: true, encoding: .utf8)
    }
    #expect(try String(contentsOfFile: Self.path, encoding: .utf8) == text)
  }

  private func reference(_ library: StepLibrary<MigrationContext>) -> String {
    var text = """
      # Steps

      What a [playbook](playbook.md) may name, and what its `when` may ask for. This page is written from the program itself.
      Every step knows what it would do (`--check`), whether it is done, and, where that can be, how to take it back.
      `direction` is `forward` (a cutover, the default) or `reverse` (a rollback); `on` is `source` or `target`, and where it may be
      left out, the side that serves applications by the journal. Deadlines are durations such as `30s`.


      """
    for step in library.definitions {
      text += "## `\(step.name)`\n\n\(sentence(step.summary))\n\n"
      if let confirmation = step.confirmation { text += "Asks first, unless `--yes` is given: it \(confirmation).\n\n" }
      guard !step.parameters.isEmpty else { continue }
      text += "| parameter | type | default | meaning |\n|---|---|---|---|\n"
      for parameter in step.parameters {
        let preset = parameter.isRequired ? "required" : parameter.defaultValue.map { "`\($0)`" } ?? "none"
        text += "| `\(parameter.name)` | \(parameter.type) | \(preset) | \(parameter.summary) |\n"
      }
      text += "\n"
    }
    text += "## Facts\n\n| fact | kind | what it says |\n|---|---|---|\n"
    for fact in library.facts { text += "| `\(fact.name)` | \(fact.kind.rawValue) | \(fact.summary) |\n" }
    return text + "\n## Errors of their own\n\n" + Self.codes
  }

  private static let codes = """
    | code | what happened |
    |---|---|
    | `migration.not-cut-over` | a rollback of a migration whose target was never opened |
    | `migration.cut-over` | a cutover while changes travel back: a rollback is in progress, or due first |
    | `migration.no-way-back` | the target was opened without a way back |
    | `migration.finished` | the migration is over; its target serves |
    | `cutover.not-drained`, `cutover.no-way` | a step out of its order |
    | `way.in-use`, `way.slot-beyond` | somebody else holds or has moved a slot or an origin of the migration |
    | `fence.target-is-open`, `fence.source-is-open` | `unfence` of the side that does not serve |
    | `fence.not-clean` | a writer could not be ended within the deadline: a prepared transaction, say |
    | `fence.rewritten` | something takes the fence out of pg_hba.conf faster than it can be loaded |
    | `fence.leaked` | others have committed behind the fence: the cutover is called off |
    | `fence.not-proven` | whether others have committed there cannot be told, and they could have |
    | `fence.written-behind` | others have committed on the side that was left while the other one was opened |
    | `finish.in-progress` | a cutover or rollback is in progress: who serves is not settled |
    | `finish.sync-wanted`, `finish.left-over` | `stop_sync` or `clean_up` was left out |
    | `report.changed` | the report was changed after it was written |

    """

  private func sentence(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() + "." }
}
