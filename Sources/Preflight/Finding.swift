/// One thing that preflight found: what is so, what would come of it, and what mends it.
///
/// The code is a contract (scripts match on it, docs/reference/preflight.md lists them), the words are not.
package struct Finding: Sendable, Equatable, Codable {
  package enum Severity: String, Sendable, Codable, CaseIterable, Comparable {
    /// The migration would fail or lose data: it does not start.
    case error
    /// It can go on, but somebody should have decided so.
    case warning
    /// Good to know.
    case note

    /// The graver first.
    package static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

    private var rank: Int {
      switch self {
      case .error: 0
      case .warning: 1
      case .note: 2
      }
    }
  }

  package var severity: Severity
  /// Stable and dotted: `preflight.wal-level`, or the code of the error that a check met: `ssh.host-key-changed`.
  package var code: String
  /// A host's name in the inventory; nil where it concerns the migration as a whole.
  package var host: String?
  /// As it stands in the catalog.
  package var database: String?
  /// What in the database or on the host: a table, a path, a role.
  package var object: String?
  /// What is so. One line.
  package var problem: String
  /// What would happen if the migration went on. One line.
  package var consequence: String
  /// The command or the edit that mends it; nil where nothing needs mending.
  package var remedy: String?

  package init(
    _ severity: Severity, _ code: String, host: String? = nil, database: String? = nil, object: String? = nil,
    _ problem: String, consequence: String, remedy: String? = nil
  ) {
    self.severity = severity
    self.code = code
    self.host = host
    self.database = database
    self.object = object
    self.problem = problem
    self.consequence = consequence
    self.remedy = remedy
  }

  private enum CodingKeys: String, CodingKey {
    case severity, code, host, database, object, problem, consequence, remedy
  }

  /// Every key is always there; what does not apply is null.
  package func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(severity, forKey: .severity)
    try container.encode(code, forKey: .code)
    try container.encode(host, forKey: .host)
    try container.encode(database, forKey: .database)
    try container.encode(object, forKey: .object)
    try container.encode(problem, forKey: .problem)
    try container.encode(consequence, forKey: .consequence)
    try container.encode(remedy, forKey: .remedy)
  }
}
