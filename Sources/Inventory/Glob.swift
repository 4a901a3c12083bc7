/// A shell-like pattern for names: `*`, `?`, `[a-c]`, `[!a]`, and `\` before a character that stands for itself.
///
/// It matches the whole name, case-sensitively, Unicode scalar by Unicode scalar. Nothing is special about dots or
/// slashes. A `[` without its `]` stands for itself, as in the shell.
public struct Glob: Sendable, Equatable, CustomStringConvertible {
  private enum Token: Sendable, Equatable {
    case literal(Unicode.Scalar)
    case any
    case anything
    case set(ranges: [ClosedRange<Unicode.Scalar>], negated: Bool)

    func matches(_ scalar: Unicode.Scalar) -> Bool {
      switch self {
      case .literal(let own): own == scalar
      case .any, .anything: true
      case .set(let ranges, let negated): ranges.contains { $0.contains(scalar) } != negated
      }
    }
  }

  /// The pattern as it was written.
  public let text: String
  private let tokens: [Token]

  public init(_ text: String) {
    self.text = text
    let scalars = Array(text.unicodeScalars)
    var tokens: [Token] = []
    var index = 0
    while index < scalars.count {
      switch scalars[index] {
      case "*":
        if tokens.last != .anything { tokens.append(.anything) }
      case "?":
        tokens.append(.any)
      case "\\" where index + 1 < scalars.count:
        index += 1
        tokens.append(.literal(scalars[index]))
      case "[":
        if let (token, end) = Self.bracket(scalars, after: index) {
          tokens.append(token)
          index = end
        } else {
          tokens.append(.literal("["))
        }
      case let scalar:
        tokens.append(.literal(scalar))
      }
      index += 1
    }
    self.tokens = tokens
  }

  public var description: String { text }

  /// Whether the pattern can match more than its own text.
  public var hasWildcards: Bool {
    tokens.contains { if case .literal = $0 { false } else { true } }
  }

  public func matches(_ name: String) -> Bool {
    let scalars = Array(name.unicodeScalars)
    var token = 0
    var index = 0
    // Where to go back to: the token after the last `*`, and the next position for it to swallow.
    var retry: (token: Int, index: Int)?
    while true {
      if token < tokens.count, tokens[token] == .anything {
        token += 1
        retry = (token, index)
      } else if index == scalars.count, token == tokens.count {
        return true
      } else if token < tokens.count, index < scalars.count, tokens[token].matches(scalars[index]) {
        token += 1
        index += 1
      } else if let again = retry, again.index < scalars.count {
        retry = (again.token, again.index + 1)
        token = again.token
        index = again.index + 1
      } else {
        return false
      }
    }
  }

  /// The bracket expression that opens at `start`, and the position of its `]`; nil when it is not closed.
  private static func bracket(_ scalars: [Unicode.Scalar], after start: Int) -> (Token, Int)? {
    var index = start + 1
    var negated = false
    if index < scalars.count, scalars[index] == "!" || scalars[index] == "^" {
      negated = true
      index += 1
    }
    var ranges: [ClosedRange<Unicode.Scalar>] = []
    let first = index
    while index < scalars.count {
      if scalars[index] == "]", index > first {
        return (.set(ranges: ranges, negated: negated), index)
      }
      let low = scalars[index]
      if index + 2 < scalars.count, scalars[index + 1] == "-", scalars[index + 2] != "]" {
        // A range that runs backwards matches nothing, as in the shell.
        if low <= scalars[index + 2] { ranges.append(low...scalars[index + 2]) }
        index += 3
      } else {
        ranges.append(low...low)
        index += 1
      }
    }
    return nil
  }
}
