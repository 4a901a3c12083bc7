package import Playbook

/// How long a step waits where the playbook does not say it.
package struct StepDeadline {
  private let preset: Duration
  private let summary: String

  /// - Parameter summary: until what: a sentence fragment.
  package init(_ preset: Duration, _ summary: String) {
    self.preset = preset
    self.summary = summary
  }

  package var definition: ParameterDefinition {
    ParameterDefinition("deadline", .duration, default: .duration(preset), summary)
  }

  package func limit(_ parameters: StepParameters) -> Duration { parameters.duration("deadline") ?? preset }
}
