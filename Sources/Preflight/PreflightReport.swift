package import FoundationEssentials

/// What preflight found out about one migration.
package struct PreflightReport: Sendable, Equatable, Encodable {
  /// One check, and whether it could be made.
  package struct Check: Sendable, Equatable, Encodable {
    /// Stable: `source.wal-level`.
    package var name: String
    /// What it looks at.
    package var summary: String
    /// Why it could not be made; nil when it was.
    package var notMade: String?

    private enum CodingKeys: String, CodingKey {
      case name, summary, made
      case notMade = "not_made"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(name, forKey: .name)
      try container.encode(summary, forKey: .summary)
      try container.encode(notMade == nil, forKey: .made)
      try container.encode(notMade, forKey: .notMade)
    }
  }

  package var migration: String
  /// The hosts' names in the inventory.
  package var source: String
  package var target: String
  /// The gravest first; among equals in the order of the checks.
  package var findings: [Finding]
  /// In the order in which they are documented.
  package var checks: [Check]

  package func count(_ severity: Finding.Severity) -> Int { findings.count { $0.severity == severity } }

  /// Whether the migration may begin.
  package var passed: Bool { count(.error) == 0 }

  private enum CodingKeys: String, CodingKey {
    case migration, source, target, passed, findings, checks
  }

  package func encode(to encoder: any Encoder) throws {
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
package enum PreflightJSON {
  /// Of the document's schema.
  package static let version = 1

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
  package static func render(_ reports: [PreflightReport], at moment: Date) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let document = Document(generatedAt: moment.formatted(.iso8601), migrations: reports)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
