public import Inventory
import ReplicationModel

/// A step as playbooks know it: its name, its parameters, and how to make it.
public struct StepDefinition<Context: StepContext>: Sendable {
  public var name: String
  /// What it does, one line.
  public var summary: String
  public var parameters: [ParameterDefinition]
  /// What the step destroys; such a step needs `--yes` or an interactive yes. Nil: it runs without asking.
  public var confirmation: String?
  /// Makes the step. Throws when the parameters contradict each other.
  public var make: @Sendable (StepParameters) throws -> any Step<Context>

  public init(
    name: String, summary: String, parameters: [ParameterDefinition] = [], confirmation: String? = nil,
    make: @escaping @Sendable (StepParameters) throws -> any Step<Context>
  ) {
    self.name = name
    self.summary = summary
    self.parameters = parameters
    self.confirmation = confirmation
    self.make = make
  }
}

/// A play whose steps exist and whose parameters have been checked.
public struct BoundPlay<Context: StepContext>: Sendable {
  public struct BoundStep: Sendable {
    public var name: String
    public var place: SourcePlace
    public var parameters: StepParameters
    public var confirmation: String?
    public var step: any Step<Context>
  }

  public var play: Play
  public var steps: [BoundStep]
}

/// A playbook that can run.
public struct BoundPlaybook<Context: StepContext>: Sendable {
  public var path: String
  public var plays: [BoundPlay<Context>]
}

/// The steps that playbooks may name.
public struct StepLibrary<Context: StepContext>: Sendable {
  /// In the order in which the reference lists them.
  public let definitions: [StepDefinition<Context>]

  /// Of two definitions with one name the first counts.
  public init(_ definitions: [StepDefinition<Context>]) {
    self.definitions = definitions
  }

  public subscript(name: String) -> StepDefinition<Context>? { definitions.first { $0.name == name } }

  /// Reads a playbook file and looks up its steps.
  public func load(path: String) throws(InputErrors) -> BoundPlaybook<Context> {
    try bind(try Playbook.load(path: path))
  }

  /// Looks up every step, fills in variables, and checks parameters.
  ///
  /// Throws every mistake: `playbook.unknown-step`, `playbook.unknown-parameter`, `playbook.wrong-type`,
  /// `playbook.missing-parameter`, `playbook.undefined-variable`, each with file, line and column.
  public func bind(_ playbook: Playbook) throws(InputErrors) -> BoundPlaybook<Context> {
    let problems = YAMLProblems(area: "playbook")
    let plays = playbook.plays.map { play in
      let variables = Variables(play.vars, problems: problems)
      return BoundPlay(play: play, steps: play.steps.compactMap { bind($0, variables, problems) })
    }
    try problems.throwIfAny()
    return BoundPlaybook(path: playbook.path, plays: plays)
  }

  private func bind(
    _ call: StepCall, _ variables: Variables, _ problems: YAMLProblems
  ) -> BoundPlay<Context>.BoundStep? {
    guard let definition = self[call.name] else {
      problems.add(
        "unknown-step", "unknown step '\(call.name)'", at: call.place,
        hint: suggestion(for: call.name, among: definitions.map(\.name), what: "steps"))
      return nil
    }
    guard let parameters = parameters(call, definition, variables, problems) else { return nil }
    do {
      return .init(
        name: call.name, place: call.place, parameters: parameters, confirmation: definition.confirmation,
        step: try definition.make(parameters))
    } catch var error as ConvoyError {
      error.kind = .usage
      problems.add(error.placed(at: call.place.errorPlace))
    } catch {
      problems.add("bad-step", "step \(call.name) cannot be made: \(error)", at: call.place)
    }
    return nil
  }

  private func parameters(
    _ call: StepCall, _ definition: StepDefinition<Context>, _ variables: Variables, _ problems: YAMLProblems
  ) -> StepParameters? {
    var values: [String: ParameterValue] = [:]
    var isRight = true
    for parameter in definition.parameters { values[parameter.name] = parameter.defaultValue }
    for var entry in call.parameters {
      guard let parameter = definition.parameters.first(where: { $0.name == entry.key }) else {
        problems.add(
          "unknown-parameter", "step \(call.name) has no parameter '\(entry.key)'", at: entry.place,
          hint: suggestion(for: entry.key, among: definition.parameters.map(\.name), what: "parameters"))
        isRight = false
        continue
      }
      guard let expanded = variables.expand(entry.value) else {
        isRight = false
        continue
      }
      entry.value = expanded
      if let value = parameter.type.read(entry, problems) {
        values[parameter.name] = value
      } else {
        isRight = false
      }
    }
    for parameter in definition.parameters
    where parameter.isRequired && !call.parameters.contains(where: { $0.key == parameter.name }) {
      problems.add(
        "missing-parameter", "step \(call.name) needs '\(parameter.name)'", at: call.place,
        hint: "\(parameter.name): \(parameter.summary)")
      isRight = false
    }
    return isRight ? StepParameters(values) : nil
  }
}
