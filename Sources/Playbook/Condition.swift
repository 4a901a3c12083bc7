import Inventory

/// What a step's `when` may ask for.
public enum FactValue: Sendable, Equatable, CustomStringConvertible {
  case text(String)
  case number(Int64)
  case flag(Bool)

  public var description: String {
    switch self {
    case .text(let text): text
    case .number(let number): String(number)
    case .flag(let flag): flag ? "true" : "false"
    }
  }
}

public enum FactKind: String, Sendable, CaseIterable {
  case text
  case number
  /// True or false.
  case flag
}

/// A fact about a migration, as `when` knows it.
public struct FactDefinition<Context: StepContext>: Sendable {
  public var name: String
  public var kind: FactKind
  /// What it says; a sentence fragment.
  public var summary: String
  /// Asked just before the step. Changes nothing.
  public var read: @Sendable (Context) async throws -> FactValue

  public init(
    _ name: String, _ kind: FactKind, _ summary: String, read: @escaping @Sendable (Context) async throws -> FactValue
  ) {
    self.name = name
    self.kind = kind
    self.summary = summary
    self.read = read
  }
}

/// A step's `when`: comparisons with facts, joined by `and`. Kept small on purpose: what needs more is a playbook of
/// its own.
public struct Condition: Sendable, Equatable {
  enum Comparison: String, Sendable {
    case equal = "=="
    case different = "!="
    case less = "<"
    case notMore = "<="
    case more = ">"
    case notLess = ">="
  }

  struct Term: Sendable, Equatable {
    var fact: String
    var comparison: Comparison
    var value: FactValue
  }

  /// As it is written.
  public let text: String
  let terms: [Term]

  /// Reads `fact`, `not fact` and `fact OPERATOR value`, joined by `and`.
  ///
  /// - Parameter kinds: the facts that there are.
  /// - Throws: `Mistake`.
  init(_ text: String, kinds: [(name: String, kind: FactKind)]) throws(Mistake) {
    self.text = text
    var terms: [Term] = []
    for part in Self.words(text).split(separator: "and", omittingEmptySubsequences: false) {
      terms.append(try Self.term(Array(part), kinds))
    }
    self.terms = terms
  }

  /// What is wrong with a condition.
  struct Mistake: Error {
    var words: String
    var hint: String
  }

  private static let form = "write 'fact', 'not fact' or 'fact == value', joined by 'and'"

  private static func term(
    _ words: [String], _ kinds: [(name: String, kind: FactKind)]
  ) throws(Mistake) -> Term {
    let isNegated = words.first == "not"
    let rest = Array(words.dropFirst(isNegated ? 1 : 0))
    guard let name = rest.first else { throw Mistake(words: "a comparison is missing", hint: form) }
    guard let kind = kinds.first(where: { $0.name == name })?.kind else {
      throw Mistake(
        words: "unknown fact '\(name)'", hint: suggestion(for: name, among: kinds.map(\.name), what: "facts"))
    }
    if rest.count == 1 {
      guard kind == .flag else {
        throw Mistake(words: "'\(name)' is a \(kind.rawValue) and needs a comparison", hint: form)
      }
      return Term(fact: name, comparison: .equal, value: .flag(!isNegated))
    }
    guard rest.count == 3, !isNegated, let comparison = Comparison(rawValue: rest[1]) else {
      throw Mistake(words: "'\(words.joined(separator: " "))' is no comparison", hint: form)
    }
    let isOrder = comparison != .equal && comparison != .different
    switch kind {
    case .number:
      guard let number = Int64(rest[2]) ?? Quantities.size(rest[2]).flatMap({ Int64(exactly: $0) }) else {
        throw Mistake(words: "'\(name)' is a number, not '\(rest[2])'", hint: "such as 4 or 10GB")
      }
      return Term(fact: name, comparison: comparison, value: .number(number))
    case .flag:
      guard !isOrder, let flag = Quantities.boolean(rest[2]) else {
        throw Mistake(words: "'\(name)' is true or false", hint: form)
      }
      return Term(fact: name, comparison: comparison, value: .flag(flag))
    case .text:
      guard !isOrder else { throw Mistake(words: "'\(name)' is a text and has no order", hint: "compare it with ==") }
      return Term(fact: name, comparison: comparison, value: .text(rest[2]))
    }
  }

  /// Split at white space, quoted texts kept whole, operators found without spaces around them too.
  private static func words(_ text: String) -> [String] {
    var words: [String] = []
    var current = ""
    var quote: Character?
    func isOperator(_ character: Character) -> Bool { "=!<>".contains(character) }
    for character in text {
      if let open = quote {
        if character == open { quote = nil } else { current.append(character) }
        continue
      }
      if character == "'" || character == "\"" {
        quote = character
        continue
      }
      let breaks =
        character.isWhitespace || (current.last.map { isOperator($0) != isOperator(character) } ?? false)
      if breaks, !current.isEmpty {
        words.append(current)
        current = ""
      }
      if !character.isWhitespace { current.append(character) }
    }
    if !current.isEmpty { words.append(current) }
    return words
  }

  /// Nil when the condition holds; else which fact is in the way: `source_version is 14`.
  func obstacle(_ fact: (String) async throws -> FactValue) async throws -> String? {
    for term in terms {
      let value = try await fact(term.fact)
      if !Self.holds(value, term.comparison, term.value) { return "\(term.fact) is \(value)" }
    }
    return nil
  }

  private static func holds(_ left: FactValue, _ comparison: Comparison, _ right: FactValue) -> Bool {
    switch comparison {
    case .equal: return left == right
    case .different: return left != right
    case .less, .notMore, .more, .notLess:
      guard case .number(let left) = left, case .number(let right) = right else { return false }
      switch comparison {
      case .less: return left < right
      case .notMore: return left <= right
      case .more: return left > right
      default: return left >= right
      }
    }
  }
}
