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
    /// The play's and its own.
    public var tags: [String] = []
    public var condition: Condition?
    public var step: any Step<Context>
  }

  public var play: Play
  public var steps: [BoundStep]
  var facts: [FactDefinition<Context>] = []

  /// Nil when the step is for this migration; else why not.
  func obstacle(_ index: Int, _ context: Context) async throws -> String? {
    guard let condition = steps[index].condition else { return nil }
    let obstacle = try await condition.obstacle { name in
      guard let fact = facts.first(where: { $0.name == name }) else { return .text("") }
      return try await fact.read(context)
    }
    return obstacle.map { "when \(condition.text): \($0)" }
  }
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
  /// What `when` may ask for.
  public private(set) var facts: [FactDefinition<Context>] = []

  /// Of two definitions with one name the first counts.
  public init(_ definitions: [StepDefinition<Context>]) {
    self.definitions = definitions
  }

  /// The same steps, with facts for their `when`.
  public func asking(_ facts: [FactDefinition<Context>]) -> StepLibrary {
    var library = self
    library.facts = facts
    return library
  }

  public subscript(name: String) -> StepDefinition<Context>? { definitions.first { $0.name == name } }

  /// Reads a playbook file and looks up its steps.
  public func load(path: String, variables: [String: String] = [:]) throws(InputErrors) -> BoundPlaybook<Context> {
    try bind(try Playbook.load(path: path), variables: variables)
  }

  /// Looks up every step, fills in variables, and checks parameters.
  ///
  /// Throws every mistake: `playbook.unknown-step`, `playbook.unknown-parameter`, `playbook.wrong-type`,
  /// `playbook.missing-parameter`, `playbook.undefined-variable`, `playbook.bad-condition`, each with file, line and
  /// column.
  ///
  /// - Parameter given: values in the place of those that the plays' `vars` have; a name that no play has is
  ///   `playbook.unknown-variable`.
  public func bind(
    _ playbook: Playbook, variables given: [String: String] = [:]
  ) throws(InputErrors) -> BoundPlaybook<Context> {
    let problems = YAMLProblems(area: "playbook")
    let known = Set(playbook.plays.flatMap(\.vars).map(\.key)).sorted()
    for name in given.keys.sorted() where !known.contains(name) {
      problems.add(
        ConvoyError(
          "playbook.unknown-variable", "no play has a variable '\(name)'", at: .path(playbook.path),
          hint: suggestion(for: name, among: known, what: "variables"), kind: .usage))
    }
    let plays = playbook.plays.map { play in
      let variables = Variables(play.vars, given: given, problems: problems)
      return BoundPlay(
        play: play, steps: play.steps.compactMap { bind($0, of: play, variables, problems) }, facts: facts)
    }
    try problems.throwIfAny()
    return BoundPlaybook(path: playbook.path, plays: plays)
  }

  private func bind(
    _ call: StepCall, of play: Play, _ variables: Variables, _ problems: YAMLProblems
  ) -> BoundPlay<Context>.BoundStep? {
    guard let definition = self[call.name] else {
      problems.add(
        "unknown-step", "unknown step '\(call.name)'", at: call.place,
        hint: suggestion(for: call.name, among: definitions.map(\.name), what: "steps"))
      return nil
    }
    let condition = call.when.flatMap { readCondition($0, variables, problems) }
    guard let parameters = parameters(call, definition, variables, problems) else { return nil }
    do {
      return .init(
        name: call.name, place: call.place, parameters: parameters, confirmation: definition.confirmation,
        tags: play.tags + call.tags, condition: condition, step: try definition.make(parameters))
    } catch var error as ConvoyError {
      error.kind = .usage
      problems.add(error.placed(at: call.place.errorPlace))
    } catch {
      problems.add("bad-step", "step \(call.name) cannot be made: \(error)", at: call.place)
    }
    return nil
  }

  private func readCondition(_ entry: YAMLEntry, _ variables: Variables, _ problems: YAMLProblems) -> Condition? {
    guard
      let text = variables.expand(entry.value).flatMap({ value in
        problems.string(YAMLEntry(key: entry.key, place: entry.place, value: value))
      })
    else { return nil }
    do throws(Condition.Mistake) {
      return try Condition(text, kinds: facts.map { ($0.name, $0.kind) })
    } catch {
      problems.add("bad-condition", error.words, at: entry.value.place, hint: error.hint)
      return nil
    }
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
