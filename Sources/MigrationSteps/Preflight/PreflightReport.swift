public import FoundationEssentials

/// What preflight found out about one migration.
public struct PreflightReport: Sendable, Equatable, Encodable {
  /// One check, and whether it could be made.
  public struct Check: Sendable, Equatable, Encodable {
    /// Stable: `source.wal-level`.
    public var name: String
    /// What it looks at.
    public var summary: String
    /// Why it could not be made; nil when it was.
    public var notMade: String?

    private enum CodingKeys: String, CodingKey {
      case name, summary, made
      case notMade = "not_made"
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(name, forKey: .name)
      try container.encode(summary, forKey: .summary)
      try container.encode(notMade == nil, forKey: .made)
      try container.encode(notMade, forKey: .notMade)
    }
  }

  public var migration: String
  /// The hosts' names in the inventory.
  public var source: String
  public var target: String
  /// The gravest first; among equals in the order of the checks.
  public var findings: [Finding]
  /// In the order in which they are documented.
  public var checks: [Check]

  public func count(_ severity: Finding.Severity) -> Int { findings.count { $0.severity == severity } }

  /// Whether the migration may begin.
  public var passed: Bool { count(.error) == 0 }

  private enum CodingKeys: String, CodingKey {
    case migration, source, target, passed, findings, checks
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(migration, forKey: .migration)
    try container.encode(source, forKey: .source)
    try container.encode(target, forKey: .target)
    try container.encode(passed, forKey: .passed)
    try container.encode(findings, forKey: .findings)
    try container.encode(checks, forKey: .checks)
  }
}

/// `pgconvoy check --format json`. The keys are described in docs/reference/preflight.md.
public enum PreflightJSON {
  /// Of the document's schema.
  public static let version = 1

  private struct Document: Encodable {
    var version = PreflightJSON.version
    var generatedAt: String
    var migrations: [PreflightReport]

    private enum CodingKeys: String, CodingKey {
      case version, migrations
      case generatedAt = "generated_at"
    }
  }

  /// - Returns: one document for all migrations, ended by a newline.
  public static func render(_ reports: [PreflightReport], at moment: Date) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let document = Document(generatedAt: moment.formatted(.iso8601), migrations: reports)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
