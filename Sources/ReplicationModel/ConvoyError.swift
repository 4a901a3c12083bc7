/// What a person reads when something went wrong: one lowercase line, its place, a stable code and a hint.
///
/// Leaf rooms throw typed errors of their own where a caller decides by them; whatever reaches a person is one of
/// these. The code is a contract (scripts match on it), the words are not.
public struct ConvoyError: Error, Sendable, Equatable {
  /// A stable, dotted code: `inventory.unknown-key`, `ssh.host-key-changed`.
  public struct Code: Hashable, Sendable, RawRepresentable, ExpressibleByStringLiteral, CustomStringConvertible {
    public var rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public init(stringLiteral value: String) { rawValue = value }
    public var description: String { rawValue }
  }

  /// Where it went wrong.
  public enum Place: Sendable, Equatable {
    /// Line and column count from 1.
    case file(path: String, line: Int, column: Int)
    case path(String)
    case host(String)
    case step(migration: String, host: String?, step: String)
    case database(migration: String?, name: String)
    /// A stream's line, from 1, and byte offset, from 0.
    case input(line: Int, byteOffset: Int)
  }

  /// What the process should exit with.
  public enum Kind: Sendable, Equatable {
    /// A migration or check failed: exit status 1.
    case failure
    /// Wrong usage or unreadable input: exit status 2.
    case usage
    /// Interrupted, safe to run again: exit status 3.
    case interrupted
  }

  public var code: Code
  /// One line, lowercase, without a full stop.
  public var message: String
  public var place: Place?
  /// What to do about it; a sentence fragment.
  public var hint: String?
  /// What lay underneath, for `-v` and the log.
  public var cause: String?
  public var kind: Kind

  public init(
    _ code: Code, _ message: String, at place: Place? = nil, hint: String? = nil, cause: String? = nil,
    kind: Kind = .failure
  ) {
    self.code = code
    self.message = message
    self.place = place
    self.hint = hint
    self.cause = cause
    self.kind = kind
  }

  /// The same error with a place, unless it has one already.
  public func placed(at place: Place) -> ConvoyError {
    var copy = self
    copy.place = copy.place ?? place
    return copy
  }

  public var exitStatus: Int32 {
    switch kind {
    case .failure: 1
    case .usage: 2
    case .interrupted: 3
    }
  }
}

extension ConvoyError: CustomStringConvertible {
  /// `error: PLACE: MESSAGE [CODE]`, and the hint on a line of its own.
  public var description: String {
    var text = "error: "
    if let place { text += "\(place): " }
    text += "\(message) [\(code)]"
    if let hint { text += "\nhint: \(hint)" }
    return text
  }
}

extension ConvoyError.Place: CustomStringConvertible {
  public var description: String {
    switch self {
    case .file(let path, let line, let column): "\(path):\(line):\(column)"
    case .path(let path): path
    case .host(let host): "host \(host)"
    case .step(let migration, let host?, let step): "migration \(migration), host \(host), step \(step)"
    case .step(let migration, nil, let step): "migration \(migration), step \(step)"
    case .database(let migration?, let name): "migration \(migration), database \(name)"
    case .database(nil, let name): "database \(name)"
    case .input(let line, let byteOffset): "line \(line), byte \(byteOffset)"
    }
  }
}

/// An error of a leaf room that knows how a person should read it.
public protocol ConvoyErrorConvertible: Error {
  func convoyError(at place: ConvoyError.Place?) -> ConvoyError
}
