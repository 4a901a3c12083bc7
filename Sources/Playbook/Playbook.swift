public import Inventory

/// Every key that a play may hold; docs/reference/playbook.md describes each of them.
public enum PlaybookKeys {
  public static let play = ["name", "migrations", "serial", "max_failures", "vars", "on_failure", "tags", "steps"]
  /// What may stand beside a step's name.
  public static let step = ["when", "tags"]
}

/// How many migrations of a play are under way before the next ones may start.
public enum Serial: Sendable, Equatable {
  /// All of them in one batch.
  case all
  case count(Int)
  /// Of the play's migrations, rounded down, at least one.
  case percentage(Int)

  /// The size of a batch; at least 1.
  public func batchSize(of migrations: Int) -> Int {
    switch self {
    case .all: max(1, migrations)
    case .count(let count): max(1, count)
    case .percentage(let percent): max(1, migrations * percent / 100)
    }
  }
}

/// How many migrations of a play may fail before nothing further starts.
public enum FailureBudget: Sendable, Equatable {
  case count(Int)
  /// Of the play's migrations, rounded down.
  case percentage(Int)

  public func allowance(of migrations: Int) -> Int {
    switch self {
    case .count(let count): max(0, count)
    case .percentage(let percent): max(0, migrations * percent / 100)
    }
  }
}

/// What happens to a migration whose step failed.
public enum FailurePolicy: String, Sendable, CaseIterable {
  /// It stays as it is.
  case stop
  /// The steps that this run took for it are undone in reverse order, down to a point of no return.
  case undo
}

/// One step of a play as it is written: a name and parameters, not yet looked up.
public struct StepCall: Sendable, Equatable {
  public var name: String
  public var place: SourcePlace
  public var parameters: [YAMLEntry]
  /// `when`: the step is for the migrations that it holds for.
  public var when: YAMLEntry?
  public var tags: [String] = []
}

/// One play as it is written.
public struct Play: Sendable, Equatable {
  /// The play's name; `play 1` and so on where it has none.
  public var name: String
  public var place: SourcePlace
  /// A pattern over migrations, for `FleetInventory.migrations(matching:at:)`.
  public var pattern: String
  /// Where the pattern stands; nil when the play names none.
  public var patternPlace: SourcePlace?
  public var serial: Serial
  public var maxFailures: FailureBudget
  public var onFailure: FailurePolicy
  /// Every step of the play has these.
  public var tags: [String]
  /// In the order of the file.
  public var vars: [YAMLEntry]
  /// At least one.
  public var steps: [StepCall]
}

/// A playbook file whose shape is right. Its steps are looked up by `StepLibrary.bind(_:)`.
public struct Playbook: Sendable, Equatable {
  /// The path as it was given.
  public var path: String
  /// At least one.
  public var plays: [Play]

  /// Reads a playbook file. Throws every mistake in its shape, each with file, line and column.
  public static func load(path: String) throws(InputErrors) -> Playbook {
    try PlaybookReader(path: path).playbook(try YAMLDocument.read(path: path))
  }

  /// Reads a playbook that is at hand as text.
  public static func parse(_ text: String, path: String) throws(InputErrors) -> Playbook {
    try PlaybookReader(path: path).playbook(try YAMLDocument.parse(text, path: path))
  }
}

/// Turns a playbook's YAML into plays.
private struct PlaybookReader {
  let path: String
  let problems = YAMLProblems(area: "playbook")

  func playbook(_ root: YAMLValue) throws(InputErrors) -> Playbook {
    guard case .sequence(let elements) = root.content, !elements.isEmpty else {
      problems.add(
        "wrong-type", "a playbook must be a list of plays, not \(root.summary)", at: root.place,
        hint: "start each play with '- name: ...'")
      try problems.throwIfAny()
      return Playbook(path: path, plays: [])
    }
    let plays = elements.enumerated().compactMap { play($0.element, number: $0.offset + 1) }
    try problems.throwIfAny()
    return Playbook(path: path, plays: plays)
  }

  private func play(_ value: YAMLValue, number: Int) -> Play? {
    guard let fields = problems.fields(value, of: "a play", keys: PlaybookKeys.play) else { return nil }
    let name = fields["name"].flatMap(problems.string)
    let pattern = fields["migrations"].flatMap(problems.string)
    let serial = fields["serial"].flatMap(serial)
    let maxFailures = fields["max_failures"].flatMap(budget)
    let tags = fields["tags"].flatMap(problems.strings)
    let onFailure: FailurePolicy? = fields["on_failure"].flatMap { problems.choice($0) }
    let vars = fields["vars"].flatMap(vars)
    guard let entry = fields.required("steps", problems), let elements = problems.list(entry) else { return nil }
    if elements.isEmpty {
      problems.add("empty", "steps is empty", at: entry.place, hint: "name at least one step")
    }
    return Play(
      name: name ?? "play \(number)", place: value.place, pattern: pattern ?? "all",
      patternPlace: fields["migrations"]?.value.place, serial: serial ?? .all,
      maxFailures: maxFailures ?? .count(0), onFailure: onFailure ?? .stop, tags: tags ?? [], vars: vars ?? [],
      steps: elements.compactMap { step($0.value) })
  }

  private func serial(_ entry: YAMLEntry) -> Serial? {
    if let text = entry.value.text {
      if let count = Int(text), count >= 1 { return .count(count) }
      if text.hasSuffix("%"), let percent = Int(text.dropLast()), (1...100).contains(percent) {
        return .percentage(percent)
      }
    }
    problems.add(
      "wrong-type", "serial must be a count of at least 1 or a percentage from 1% to 100%, not \(entry.value.summary)",
      at: entry.value.place)
    return nil
  }

  private func budget(_ entry: YAMLEntry) -> FailureBudget? {
    if let text = entry.value.text {
      if let count = Int(text), count >= 0 { return .count(count) }
      if text.hasSuffix("%"), let percent = Int(text.dropLast()), (0...100).contains(percent) {
        return .percentage(percent)
      }
    }
    problems.add(
      "wrong-type", "max_failures must be a count or a percentage from 0% to 100%, not \(entry.value.summary)",
      at: entry.value.place)
    return nil
  }

  private func vars(_ entry: YAMLEntry) -> [YAMLEntry]? {
    guard let entries = problems.entries(entry) else { return nil }
    return entries.filter { entry in
      guard Variables.isName(entry.key) else {
        problems.add(
          "bad-name", "'\(entry.key)' cannot be a variable's name", at: entry.place,
          hint: "letters, digits and '_', not a digit first")
        return false
      }
      guard entry.value.text == nil else { return true }
      problems.add(
        "wrong-type", "variable \(entry.key) must be text or a number, not \(entry.value.summary)",
        at: entry.value.place)
      return false
    }
  }

  /// `- name`, `- name:` or `- name: { parameter: value }`; the latter two with `when` and `tags` beside the name.
  private func step(_ value: YAMLValue) -> StepCall? {
    switch value.content {
    case .scalar:
      if let name = value.text, !name.isEmpty { return StepCall(name: name, place: value.place, parameters: []) }
    case .mapping(let entries):
      let names = entries.filter { !PlaybookKeys.step.contains($0.key) }
      if let second = names.dropFirst().first {
        problems.add(
          "wrong-type", "a step is one name with its parameters, but '\(second.key)' stands beside '\(names[0].key)'",
          at: second.place, hint: "indent a step's parameters under its name, or start another step with '-'")
        return nil
      }
      if let entry = names.first {
        let tags = entries.first { $0.key == "tags" }.flatMap(problems.strings)
        return problems.entries(entry).map {
          StepCall(
            name: entry.key, place: entry.place, parameters: $0, when: entries.first { $0.key == "when" },
            tags: tags ?? [])
        }
      }
    case .sequence:
      break
    }
    problems.add("wrong-type", "a step must be a name, not \(value.summary)", at: value.place)
    return nil
  }
}
