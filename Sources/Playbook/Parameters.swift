import Inventory

/// What a step's parameter takes.
public enum ParameterType: Sendable, Equatable, CustomStringConvertible {
  case string
  case integer(ClosedRange<Int>)
  case boolean
  /// `30s`, `5m`.
  case duration
  /// `16MB`.
  case size
  /// One of these words.
  case choice([String])
  /// A list of texts.
  case strings

  /// As the reference has it.
  public var description: String {
    switch self {
    case .string: "text"
    case .integer(let range):
      range.upperBound == .max
        ? "number, at least \(range.lowerBound)" : "number, \(range.lowerBound) to \(range.upperBound)"
    case .boolean: "true or false"
    case .duration: "duration"
    case .size: "size"
    case .choice(let words): words.joined(separator: " or ")
    case .strings: "list of texts"
    }
  }

  /// Reads a value of this type; records one error and returns nil when it is anything else.
  func read(_ entry: YAMLEntry, _ problems: YAMLProblems) -> ParameterValue? {
    switch self {
    case .string: problems.string(entry).map { .string($0) }
    case .integer(let range): problems.integer(entry, in: range).map { .integer($0) }
    case .boolean: problems.boolean(entry).map { .boolean($0) }
    case .duration: problems.duration(entry).map { .duration($0) }
    case .size: problems.size(entry).map { .size($0) }
    case .choice(let words): problems.word(entry, of: words).map { .string($0) }
    case .strings: problems.strings(entry).map { .strings($0) }
    }
  }
}

/// A parameter's value, of the type that its definition declares.
public enum ParameterValue: Sendable, Equatable, CustomStringConvertible {
  case string(String)
  case integer(Int)
  case boolean(Bool)
  case duration(Duration)
  case size(UInt64)
  case strings([String])

  public var description: String {
    switch self {
    case .string(let text): text
    case .integer(let number): String(number)
    case .boolean(let flag): flag ? "true" : "false"
    case .duration(let duration): Quantities.text(duration)
    case .size(let bytes): Quantities.text(bytes: bytes)
    case .strings(let texts): "[\(texts.joined(separator: ", "))]"
    }
  }
}

/// One parameter of a step.
public struct ParameterDefinition: Sendable, Equatable {
  public var name: String
  public var type: ParameterType
  /// Nil: unset unless the playbook sets it.
  public var defaultValue: ParameterValue?
  public var isRequired: Bool
  /// What it means; a sentence fragment.
  public var summary: String

  public init(
    _ name: String, _ type: ParameterType, default defaultValue: ParameterValue? = nil, isRequired: Bool = false,
    _ summary: String
  ) {
    self.name = name
    self.type = type
    self.defaultValue = defaultValue
    self.isRequired = isRequired
    self.summary = summary
  }
}

/// A step's parameters, checked against its definition, defaults filled in.
///
/// The readers return nil for a parameter that is unset, and for a name or type that the definition doesn't have.
public struct StepParameters: Sendable, Equatable {
  public private(set) var values: [String: ParameterValue]

  public init(_ values: [String: ParameterValue] = [:]) {
    self.values = values
  }

  public func string(_ name: String) -> String? {
    if case .string(let text) = values[name] { text } else { nil }
  }

  public func integer(_ name: String) -> Int? {
    if case .integer(let number) = values[name] { number } else { nil }
  }

  public func boolean(_ name: String) -> Bool? {
    if case .boolean(let flag) = values[name] { flag } else { nil }
  }

  public func duration(_ name: String) -> Duration? {
    if case .duration(let duration) = values[name] { duration } else { nil }
  }

  public func size(_ name: String) -> UInt64? {
    if case .size(let bytes) = values[name] { bytes } else { nil }
  }

  public func strings(_ name: String) -> [String]? {
    if case .strings(let texts) = values[name] { texts } else { nil }
  }

  /// One of an enumeration's words.
  public func choice<Choice: RawRepresentable<String>>(_ name: String, _: Choice.Type = Choice.self) -> Choice? {
    string(name).flatMap(Choice.init(rawValue:))
  }
}
