import FoundationEssentials
import GRDB
public import ReplicationModel

/// All that is on record of a migration and that its next step needs: what the servers keep, so that a journal can be made
/// anew from it. Progress is not in it, nor what became of steps.
public struct MigrationDocument: Sendable, Codable, Equatable {
  /// Host names in the inventory.
  public var source: String
  public var target: String
  public var state: MigrationState
  public var direction: StreamDirection
  /// Of the hand-off that is in hand.
  public var nonce: String?
  public var desiredSync: DesiredSync
  /// Every one that was ever begun, oldest first.
  public var handOffs: [HandOffRecord]
  /// JSON texts by key.
  public var facts: [String: String]
  /// Those that were not started again since.
  public var services: [ServiceRecord]
  public var skips: [SkipRecord]

  public init(source: String, target: String, state: MigrationState = .none) {
    self.source = source
    self.target = target
    self.state = state
    direction = .forward
    desiredSync = .stopped
    handOffs = []
    facts = [:]
    services = []
    skips = []
  }
}

/// Which of the servers' records a journal agrees with.
public struct JournalStanding: Sendable, Equatable {
  /// The number of that record; 0: the servers never had one of this journal's.
  public var epoch: Int
  /// What tells it from another record of the same number.
  public var token: String
  /// The tokens before, by their epochs: the latest of them.
  public var lineage: [Int: String]
  /// Whether the journal holds something that the servers do not have yet.
  public var isAhead: Bool

  public init(epoch: Int = 0, token: String = "", lineage: [Int: String] = [:], isAhead: Bool = false) {
    self.epoch = epoch
    self.token = token
    self.lineage = lineage
    self.isAhead = isAhead
  }

  /// How many earlier tokens are kept.
  public static let lineageLength = 64

  /// The standing behind one more record.
  public func next(token: String) -> JournalStanding {
    var next = self
    if epoch > 0 { next.lineage[epoch] = self.token }
    next.epoch = epoch + 1
    next.token = token
    next.isAhead = false
    for old in next.lineage.keys.sorted().dropLast(Self.lineageLength) { next.lineage[old] = nil }
    return next
  }
}

/// What a journal holds of a migration for the servers' record, read in one transaction.
public struct JournalView: Sendable, Equatable {
  public var document: MigrationDocument
  public var standing: JournalStanding

  public init(document: MigrationDocument, standing: JournalStanding) {
    self.document = document
    self.standing = standing
  }
}

extension JournalFile {
  /// Facts about this journal itself, which another one does not take over: its name, and whose orders it follows.
  static let ownFacts: Set<String> = [ownNameKey, followedKey]

  /// Nil when the migration was never registered.
  public func view(migration name: String) throws(ConvoyError) -> JournalView? {
    try read { try Self.view(name, $0) }
  }

  /// The servers have a record of this journal's content.
  ///
  /// - Parameter published: the content that they have; what has changed since keeps the journal ahead.
  public func published(
    _ document: MigrationDocument, as standing: JournalStanding, migration name: String
  ) throws(ConvoyError) {
    try write { database in
      guard let now = try Self.view(name, database) else { return }
      var standing = standing
      standing.isAhead = now.document != document
      try Self.write(standing, name, database)
    }
  }

  /// Puts what the servers have on record in the place of what the journal knows of a migration, which may be nothing.
  /// The log of runs, steps and deeds stays, and so do the statuses.
  public func takeOver(
    _ document: MigrationDocument, as standing: JournalStanding, migration name: String
  ) throws(ConvoyError) {
    try write { database in
      let done = try SkipRecord.fetchAll(
        database, sql: "SELECT * FROM skips WHERE migration = ? AND done IS NOT NULL", arguments: [name])
      try database.execute(
        sql: """
          INSERT INTO migrations (name, source, target, state, desired_sync, generation, updated)
          VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)
          ON CONFLICT (name) DO UPDATE SET nonce = NULL
          """,
        arguments: [
          name, document.source, document.target, document.state.rawValue, document.desiredSync.rawValue, Moment.now,
        ])
      try database.execute(
        sql: "DELETE FROM hand_off_databases WHERE nonce IN (SELECT nonce FROM hand_offs WHERE migration = ?)",
        arguments: [name])
      for table in ["hand_offs", "skips"] {
        try database.execute(sql: "DELETE FROM \(table) WHERE migration = ?", arguments: [name])
      }
      try database.execute(
        sql: "DELETE FROM facts WHERE migration = ? AND key NOT IN (?, ?)",
        arguments: [name, Self.ownNameKey, Self.followedKey])
      try database.execute(sql: "DELETE FROM services WHERE migration = ? AND started IS NULL", arguments: [name])
      for handOff in document.handOffs { try handOff.insert(database, migration: name) }
      for (key, value) in document.facts.sorted(by: { $0.key < $1.key }) {
        try database.execute(
          sql: "INSERT INTO facts (migration, key, value) VALUES (?, ?, ?)", arguments: [name, key, value])
      }
      for service in document.services { try service.insert(database, migration: name) }
      for skip in document.skips { try skip.insert(database, migration: name) }
      try database.execute(
        sql: """
          UPDATE migrations SET source = ?, target = ?, state = ?, nonce = ?, desired_sync = ?, direction = ?
           WHERE name = ?
          """,
        arguments: [
          document.source, document.target, document.state.rawValue, document.nonce, document.desiredSync.rawValue,
          document.direction.rawValue, name,
        ])
      // What a worker here has stepped over is known here first.
      var standing = standing
      for skip in done {
        try database.execute(
          sql: """
            UPDATE skips SET done = ?, outcome = ? WHERE migration = ? AND database = ? AND lsn = ? AND done IS NULL
            """,
          arguments: [skip.done.map { Moment($0) }, skip.outcome, name, skip.database, skip.lsn.description])
        if database.changesCount > 0 { standing.isAhead = true }
      }
      try Self.raiseGeneration(name, database)
      try Self.write(standing, name, database)
    }
  }

  private static func view(_ name: String, _ database: Database) throws -> JournalView? {
    guard let record = try migration(name, database) else { return nil }
    var document = MigrationDocument(source: record.source, target: record.target, state: record.state)
    document.direction = record.direction
    document.nonce = record.handOff?.names.nonce
    document.desiredSync = record.desiredSync
    document.handOffs = try HandOffRecord.fetchAll(
      database, sql: "SELECT * FROM hand_offs WHERE migration = ? ORDER BY began, rowid", arguments: [name])
    for row in try Row.fetchAll(
      database, sql: "SELECT key, value FROM facts WHERE migration = ?", arguments: [name])
    {
      let key: String = try row.decode(forColumn: "key")
      if !ownFacts.contains(key) { document.facts[key] = try row.decode(forColumn: "value") }
    }
    document.services = try ServiceRecord.fetchAll(
      database, sql: "SELECT * FROM services WHERE migration = ? AND started IS NULL ORDER BY id", arguments: [name])
    document.skips = try SkipRecord.fetchAll(
      database, sql: "SELECT * FROM skips WHERE migration = ? ORDER BY id", arguments: [name])
    return JournalView(document: document, standing: try standing(name, database))
  }

  private static func standing(_ name: String, _ database: Database) throws -> JournalStanding {
    struct Columns: Decodable {
      var epoch: Int
      var token: String
      var lineage: [Int: String]
      var isAhead: Bool
    }
    guard
      let columns = try Columns.fetchOne(
        database, sql: "SELECT epoch, token, lineage, is_ahead FROM migrations WHERE name = ?", arguments: [name])
    else { return JournalStanding() }
    return JournalStanding(
      epoch: columns.epoch, token: columns.token, lineage: columns.lineage, isAhead: columns.isAhead)
  }

  private static func write(_ standing: JournalStanding, _ name: String, _ database: Database) throws {
    let lineage = String(decoding: try JSONEncoder().encode(standing.lineage), as: UTF8.self)
    try database.execute(
      sql: "UPDATE migrations SET epoch = ?, token = ?, lineage = ?, is_ahead = ? WHERE name = ?",
      arguments: [standing.epoch, standing.token, lineage, standing.isAhead, name])
  }
}

extension ServiceRecord {
  fileprivate func insert(_ database: Database, migration: String) throws {
    try database.execute(
      sql: """
        INSERT INTO services (migration, host, name, manager, was_running, stop_began, stopped)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
      arguments: [migration, host, name, manager, wasRunning, Moment(stopBegan), stopped.map { Moment($0) }])
  }
}

extension SkipRecord {
  fileprivate func insert(_ database: Database, migration: String) throws {
    try database.execute(
      sql: """
        INSERT INTO skips (migration, database, lsn, requested_by, requested, done, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
      arguments: [
        migration, self.database, lsn.description, requestedBy, Moment(requested), done.map { Moment($0) }, outcome,
      ])
  }
}
