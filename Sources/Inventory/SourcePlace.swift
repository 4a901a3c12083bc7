public import ReplicationModel

/// A position in a file that a person wrote: line and column count from 1, columns in Unicode scalars.
public struct SourcePlace: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The path as it was given, for messages.
  public var path: String
  public var line: Int
  public var column: Int

  public init(path: String, line: Int, column: Int) {
    self.path = path
    self.line = line
    self.column = column
  }

  public var description: String { "\(path):\(line):\(column)" }

  /// The same position as an error carries it.
  public var errorPlace: ConvoyError.Place { .file(path: path, line: line, column: column) }

  public static func < (left: SourcePlace, right: SourcePlace) -> Bool {
    (left.path, left.line, left.column) < (right.path, right.line, right.column)
  }
}

/// Where a setting's value came from.
public enum Origin: Sendable, Equatable, CustomStringConvertible {
  /// Nobody wrote it: pgconvoy's own default.
  case builtIn
  /// The value stands there, in the host, the migration, or `defaults`.
  case file(SourcePlace)
  /// The user's ssh_config, as `ssh -G` prints it.
  case sshConfig

  public var description: String {
    switch self {
    case .builtIn: "built in"
    case .sshConfig: "ssh -G"
    case .file(let place): "\(place.path):\(place.line)"
    }
  }
}

/// All that is wrong with a file that a person wrote: at least one error, in the order of the file.
///
/// A single mistake gives a single error: checks that compare values run only when every value could be read.
public struct InputErrors: Error, Sendable, Equatable, CustomStringConvertible {
  public let errors: [ConvoyError]

  public init(_ first: ConvoyError, others: [ConvoyError] = []) {
    errors = [first] + others
  }

  /// Every error as a person reads it, one after the other.
  public var description: String { errors.map(\.description).joined(separator: "\n") }

  /// What the process should exit with: wrong input.
  public var exitStatus: Int32 { errors.map(\.exitStatus).max() ?? 2 }
}

/// Something in the inventory that works but should not stay as it is.
public struct InventoryWarning: Sendable, Equatable, CustomStringConvertible {
  /// A stable, dotted code.
  public var code: ConvoyError.Code
  /// One line, lowercase, without a full stop.
  public var message: String
  public var place: SourcePlace
  /// What to do about it.
  public var hint: String

  public init(_ code: ConvoyError.Code, _ message: String, at place: SourcePlace, hint: String) {
    self.code = code
    self.message = message
    self.place = place
    self.hint = hint
  }

  /// `warning: PLACE: MESSAGE [CODE]`, and the hint on a line of its own.
  public var description: String { "warning: \(place): \(message) [\(code)]\nhint: \(hint)" }
}
