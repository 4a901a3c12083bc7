import FoundationEssentials
import GRDB
public import ReplicationModel

extension JournalFile {
  /// Makes the migration known, in state `none`; one that is known already keeps everything but its hosts.
  ///
  /// - Throws: `journal.hosts-changed` when its hosts differ from those that a hand-off was made between.
  public func registerMigration(_ name: String, source: String, target: String) throws(ConvoyError) {
    try write { database in
      if let known = try Self.migration(name, database), known.source != source || known.target != target {
        guard known.handOff == nil else {
          throw ConvoyError(
            "journal.hosts-changed",
            "migration \(name) was handed off from \(known.source) to \(known.target), not from \(source) to \(target)",
            at: .path(self.directory.journalPath),
            hint: "give the new pair of hosts a name of its own, or finish the old migration first")
        }
      }
      try database.execute(
        sql: """
          INSERT INTO migrations (name, source, target, state, desired_sync, generation, updated)
          VALUES (?, ?, ?, ?, ?, 0, ?)
          ON CONFLICT (name) DO UPDATE SET source = excluded.source, target = excluded.target
          """,
        arguments: [
          name, source, target, MigrationState.none.rawValue, DesiredSync.stopped.rawValue, Moment.now,
        ])
    }
  }

  /// Nil when the migration was never registered.
  public func migration(_ name: String) throws(ConvoyError) -> MigrationRecord? {
    try read { try Self.migration(name, $0) }
  }

  /// All migrations, by name.
  public func migrations() throws(ConvoyError) -> [MigrationRecord] {
    try read { database in
      try MigrationRecord.fetchAll(database, sql: "SELECT * FROM migrations ORDER BY name", arguments: [])
    }
  }

  /// - Parameter direction: when given, which way changes travel from now on; in the same transaction.
  /// - Throws: `journal.state-conflict` when the state does not follow the one that the migration is in now,
  ///   `journal.unknown-migration`.
  public func setState(
    _ state: MigrationState, of name: String, direction: StreamDirection? = nil
  ) throws(ConvoyError) {
    try write { database in try self.setState(state, of: name, direction: direction, database) }
  }

  private func setState(
    _ state: MigrationState, of name: String, direction: StreamDirection?, _ database: Database
  ) throws {
    let known = try self.known(name, database)
    guard state.follows(known.state) else {
      throw ConvoyError(
        "journal.state-conflict", "migration \(name) is \(known.state.rawValue) and cannot become \(state.rawValue)",
        at: .path(directory.journalPath),
        hint: "see where it stands with pgconvoy status; another run may have moved it on")
    }
    try database.execute(
      sql: "UPDATE migrations SET state = ?, direction = ?, updated = ? WHERE name = ?",
      arguments: [state.rawValue, (direction ?? known.direction).rawValue, Moment.now, name])
  }

  /// Records a hand-off before anything that carries its nonce is made on the servers, and makes it the current one.
  /// Workers of an earlier one must stop: what should run becomes `stopped`.
  ///
  /// - Parameter state: where the migration stands from now on, in the same transaction; nil: where it did.
  /// - Throws: `journal.state-conflict` as `setState`, `journal.unknown-migration`.
  public func beginHandOff(
    _ record: HandOffRecord, migration name: String, state: MigrationState? = nil
  ) throws(ConvoyError) {
    try write { database in
      if let state { try self.setState(state, of: name, direction: .forward, database) }
      _ = try self.known(name, database)
      try record.insert(database, migration: name)
      try database.execute(
        sql: "UPDATE migrations SET nonce = ?, desired_sync = ?, direction = ? WHERE name = ?",
        arguments: [
          record.names.nonce, DesiredSync.stopped.rawValue, StreamDirection.forward.rawValue, name,
        ])
      try Self.raiseGeneration(name, database)
    }
  }

  /// Changes the current hand-off in one transaction; what other processes wrote to it in between is not lost.
  ///
  /// - Throws: `journal.no-hand-off`, `journal.unknown-migration`.
  @discardableResult
  public func updateHandOff(
    migration name: String, _ change: (inout HandOffRecord) -> Void
  ) throws(ConvoyError) -> HandOffRecord {
    try write { database in
      guard var record = try self.known(name, database).handOff else {
        throw ConvoyError(
          "journal.no-hand-off", "migration \(name) has no hand-off", at: .path(self.directory.journalPath),
          hint: "run the migrate playbook first")
      }
      let before = record
      change(&record)
      record.names = before.names
      guard record != before else { return record }
      try record.update(database)
      try Self.raiseGeneration(name, database)
      return record
    }
  }

  /// The hand-off is given up or finished: nothing is current any more. Its record stays, so that what it left on the
  /// servers can still be found.
  public func endHandOff(migration name: String) throws(ConvoyError) {
    try write { database in
      _ = try self.known(name, database)
      try database.execute(
        sql: "UPDATE migrations SET nonce = NULL, desired_sync = ? WHERE name = ?",
        arguments: [DesiredSync.stopped.rawValue, name])
      try Self.raiseGeneration(name, database)
    }
  }

  /// Every hand-off that was ever begun for the migration, oldest first.
  public func handOffs(migration name: String) throws(ConvoyError) -> [HandOffRecord] {
    try read { database in
      try HandOffRecord.fetchAll(
        database, sql: "SELECT * FROM hand_offs WHERE migration = ? ORDER BY began, rowid", arguments: [name])
    }
  }

  /// Remembers a value for later steps: where the old data directory went, which lines were added to pg_hba.conf.
  /// Never a secret.
  public func setFact(
    _ value: some Encodable & Sendable, forKey key: String, migration: String
  ) throws(ConvoyError) {
    try write { database in
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      let text = String(decoding: try encoder.encode(value), as: UTF8.self)
      try database.execute(
        sql: """
          INSERT INTO facts (migration, key, value) VALUES (?, ?, ?)
          ON CONFLICT (migration, key) DO UPDATE SET value = excluded.value
          """,
        arguments: [migration, key, text])
    }
  }

  /// Nil when there is no such fact; one of another type is read as damage.
  public func fact<Value: Decodable & Sendable>(
    _ type: Value.Type = Value.self, forKey key: String, migration: String
  ) throws(ConvoyError) -> Value? {
    try read { database in
      let text = try String.fetchOne(
        database, sql: "SELECT value FROM facts WHERE migration = ? AND key = ?", arguments: [migration, key])
      return try text.map { try JSONDecoder().decode(type, from: Data($0.utf8)) }
    }
  }

  public func removeFact(forKey key: String, migration: String) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: "DELETE FROM facts WHERE migration = ? AND key = ?", arguments: [migration, key])
    }
  }

  /// All facts of a migration as JSON text, by key.
  public func facts(migration: String) throws(ConvoyError) -> [String: String] {
    try read { database in
      let rows = try Row.fetchAll(
        database, sql: "SELECT key, value FROM facts WHERE migration = ?", arguments: [migration])
      return try Dictionary(
        uniqueKeysWithValues: rows.map { (try $0.decode(forColumn: "key"), try $0.decode(forColumn: "value")) })
    }
  }

  static func migration(_ name: String, _ database: Database) throws -> MigrationRecord? {
    try MigrationRecord.fetchAll(
      database, sql: "SELECT * FROM migrations WHERE name = ?", arguments: [name]
    ).first
  }

  func known(_ name: String, _ database: Database) throws -> MigrationRecord {
    guard let record = try Self.migration(name, database) else {
      throw ConvoyError(
        "journal.unknown-migration", "migration \(name) is not in the journal", at: .path(directory.journalPath),
        hint: "check --state and the migration's name; the migrate playbook makes it known")
    }
    return record
  }

  static func raiseGeneration(_ name: String, _ database: Database) throws {
    try database.execute(
      sql: "UPDATE migrations SET generation = generation + 1, updated = ? WHERE name = ?",
      arguments: [Moment.now, name])
  }
}
