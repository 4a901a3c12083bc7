public import FoundationEssentials

/// The closing report of a cutover, rollback or verification: what was compared, what came out, how long it took.
///
/// A value to render and to keep. Nil means "not measured" everywhere; 0 means that zero was measured.
public struct MigrationReport: Sendable, Equatable {
  /// The version of the schema that this code writes.
  public static let currentVersion = 1

  /// How the command ended.
  public enum Outcome: String, Sendable, Codable, CaseIterable {
    case cutOver = "cut_over"
    /// The cutover was called off: the fence is lifted and nothing has changed.
    case calledOff = "called_off"
    case rolledBack = "rolled_back"
    /// Compared only, online or after the fact.
    case verified
    case finished
  }

  /// Who spoke to whom.
  public struct Versions: Sendable, Codable, Equatable {
    public var pgconvoy: String
    /// The source's server version: `15.20`.
    public var source: String
    public var target: String
    /// What the inventory's `version_check` printed on both hosts.
    public var application: String?

    public init(pgconvoy: String, source: String, target: String, application: String? = nil) {
      self.pgconvoy = pgconvoy
      self.source = source
      self.target = target
      self.application = application
    }
  }

  /// A stretch of the work and how long it took.
  public struct Phase: Sendable, Codable, Equatable {
    public var name: String
    public var milliseconds: UInt64

    public init(name: String, milliseconds: UInt64) {
      self.name = name
      self.milliseconds = milliseconds
    }

    enum CodingKeys: String, CodingKey {
      case name
      case milliseconds = "ms"
    }
  }

  /// What one side of a database holds.
  public struct Side: Sendable, Codable, Equatable {
    public var rows: UInt64
    /// A checksum over all compared tables, as hexadecimal text; nil when only rows were counted.
    public var checksum: String?

    public init(rows: UInt64, checksum: String? = nil) {
      self.rows = rows
      self.checksum = checksum
    }
  }

  /// One table as both sides hold it; a side without such a table is nil.
  public struct Table: Sendable, Codable, Equatable {
    public var name: RelationName
    public var source: Side?
    public var target: Side?
    /// Which rows differ, where they were looked for.
    public var differences: RowDifferences?
    /// True where the checksums are of a sample of the rows.
    public var isSample: Bool?

    enum CodingKeys: String, CodingKey {
      case name, source, target, differences
      case isSample = "sampled"
    }

    public init(name: RelationName, source: Side?, target: Side?) {
      self.name = name
      self.source = source
      self.target = target
    }

    public var isEqual: Bool { source == target && source != nil }
  }

  /// Where a sequence was set to stand on the side that was opened.
  public struct Sequence: Sendable, Codable, Equatable {
    public var name: RelationName
    public var lastValue: Int64
    /// Whether that value has been handed out.
    public var isCalled: Bool

    public init(name: RelationName, lastValue: Int64, isCalled: Bool) {
      self.name = name
      self.lastValue = lastValue
      self.isCalled = isCalled
    }

    enum CodingKeys: String, CodingKey {
      case name
      case lastValue = "last_value"
      case isCalled = "is_called"
    }
  }

  /// One database's line.
  public struct Database: Sendable, Codable, Equatable {
    public var name: String
    public var handOffLSN: LSN?
    public var transactionsApplied: UInt64?
    public var rowsApplied: UInt64?
    public var sequencesSet: UInt64?
    public var tablesVerified: UInt64?
    /// Nil when the database was not verified.
    public var source: Side?
    public var target: Side?
    /// Each table that was compared, by name; nil when none was.
    public var tables: [Table]?
    public var sequences: [Sequence]?

    public init(name: String) {
      self.name = name
    }

    /// Whether both sides hold the same; nil when a side is missing, or when only one side has a checksum.
    public var isEqual: Bool? {
      guard let source, let target else { return nil }
      if source.rows != target.rows { return false }
      guard (source.checksum == nil) == (target.checksum == nil) else { return nil }
      return source.checksum == target.checksum
    }

    enum CodingKeys: String, CodingKey {
      case name
      case handOffLSN = "hand_off_lsn"
      case transactionsApplied = "transactions_applied"
      case rowsApplied = "rows_applied"
      case sequencesSet = "sequences_set"
      case tablesVerified = "tables_verified"
      case source, target, tables, sequences
    }
  }

  /// A message emitted on the source and seen by a worker: the proof that a stream was read to there.
  public struct Marker: Sendable, Codable, Equatable {
    public var database: String
    /// `drain`, `proof`.
    public var name: String
    public var lsn: LSN
    /// The changes that came between the marker before this one and this one; anything but 0 behind a fence calls
    /// the cutover off.
    public var changesBefore: UInt64?

    public init(database: String, name: String, lsn: LSN, changesBefore: UInt64? = nil) {
      self.database = database
      self.name = name
      self.lsn = lsn
      self.changesBefore = changesBefore
    }

    enum CodingKeys: String, CodingKey {
      case database, name, lsn
      case changesBefore = "changes_before"
    }
  }

  /// Something that a person should read, among the document's `findings`; what preflight finds is a `Finding`.
  public struct Remark: Sendable, Codable, Equatable {
    public enum Severity: String, Sendable, Codable, CaseIterable {
      case note, warning, failure
    }

    public var severity: Severity
    public var database: String?
    /// One line, lowercase, without a full stop.
    public var text: String

    public init(_ severity: Severity, _ text: String, database: String? = nil) {
      self.severity = severity
      self.text = text
      self.database = database
    }
  }

  /// Whether every database was compared and is the same on both sides.
  public var isVerified: Bool {
    databases.allSatisfy { $0.isEqual == true && $0.tables?.allSatisfy(\.isEqual) == true }
  }

  public var version: Int
  public var generatedAt: Date
  /// Who ran it: `user@host`; nil when that was not recorded.
  public var by: String?
  public var migration: String
  public var source: String
  public var target: String
  public var outcome: Outcome
  public var versions: Versions
  /// Which way changes travelled until then: forward for a cutover, reverse for a rollback.
  public var direction = StreamDirection.forward
  public var handOffLSN: LSN?
  /// Where the streams the other way begin, from the side that was opened; nil when there are none.
  public var wayLSN: LSN?
  /// From the moment the first service was stopped (or the fence went up) until the other side was open.
  public var downtimeMilliseconds: UInt64?
  public var phases: [Phase] = []
  public var databases: [Database] = []
  public var markers: [Marker] = []
  public var findings: [Remark] = []

  public init(
    generatedAt: Date, migration: String, source: String, target: String, outcome: Outcome, versions: Versions
  ) {
    version = Self.currentVersion
    self.generatedAt = generatedAt
    self.migration = migration
    self.source = source
    self.target = target
    self.outcome = outcome
    self.versions = versions
  }
}

extension MigrationReport: Codable {
  enum CodingKeys: String, CodingKey {
    case version
    case generatedAt = "generated_at"
    case by, migration, source, target, outcome, versions, direction
    case handOffLSN = "hand_off_lsn"
    case wayLSN = "way_lsn"
    case downtimeMilliseconds = "downtime_ms"
    case phases, databases, markers, findings
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    version = try container.decode(Int.self, forKey: .version)
    generatedAt = try container.decodeISO8601(forKey: .generatedAt)
    by = try container.decodeIfPresent(String.self, forKey: .by)
    migration = try container.decode(String.self, forKey: .migration)
    source = try container.decode(String.self, forKey: .source)
    target = try container.decode(String.self, forKey: .target)
    outcome = try container.decode(Outcome.self, forKey: .outcome)
    versions = try container.decode(Versions.self, forKey: .versions)
    direction = try container.decodeIfPresent(StreamDirection.self, forKey: .direction) ?? .forward
    handOffLSN = try container.decodeIfPresent(LSN.self, forKey: .handOffLSN)
    wayLSN = try container.decodeIfPresent(LSN.self, forKey: .wayLSN)
    downtimeMilliseconds = try container.decodeIfPresent(UInt64.self, forKey: .downtimeMilliseconds)
    phases = try container.decode([Phase].self, forKey: .phases)
    databases = try container.decode([Database].self, forKey: .databases)
    markers = try container.decode([Marker].self, forKey: .markers)
    findings = try container.decode([Remark].self, forKey: .findings)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(version, forKey: .version)
    try container.encode(generatedAt.formatted(.iso8601), forKey: .generatedAt)
    try container.encodeIfPresent(by, forKey: .by)
    try container.encode(migration, forKey: .migration)
    try container.encode(source, forKey: .source)
    try container.encode(target, forKey: .target)
    try container.encode(outcome, forKey: .outcome)
    try container.encode(versions, forKey: .versions)
    try container.encode(direction, forKey: .direction)
    try container.encodeIfPresent(handOffLSN, forKey: .handOffLSN)
    try container.encodeIfPresent(wayLSN, forKey: .wayLSN)
    try container.encodeIfPresent(downtimeMilliseconds, forKey: .downtimeMilliseconds)
    try container.encode(phases, forKey: .phases)
    try container.encode(databases, forKey: .databases)
    try container.encode(markers, forKey: .markers)
    try container.encode(findings, forKey: .findings)
  }
}
