import FoundationEssentials
import GRDB
import ReplicationModel

extension MigrationRecord {
  /// As it stands in its own table; its hand-off is in others.
  private struct Columns: Decodable {
    var name: String
    var source: String
    var target: String
    var state: MigrationState
    var nonce: String?
    var desiredSync: DesiredSync
    var direction: StreamDirection
    var generation: Int64
    var updated: Date
  }

  static func fetchAll(
    _ database: Database, sql: String, arguments: StatementArguments
  ) throws -> [MigrationRecord] {
    try Columns.fetchAll(database, sql: sql, arguments: arguments).map { columns in
      let handOff = try columns.nonce.flatMap { nonce in
        try HandOffRecord.fetchAll(database, sql: "SELECT * FROM hand_offs WHERE nonce = ?", arguments: [nonce]).first
      }
      return MigrationRecord(
        name: columns.name, source: columns.source, target: columns.target, state: columns.state, handOff: handOff,
        desiredSync: columns.desiredSync, direction: columns.direction, generation: columns.generation,
        updated: columns.updated)
    }
  }
}

extension HandOffRecord {
  private struct Columns: Decodable {
    var nonce: String
    var began: Date
    var restorePoint: String
    var lsn: LSN?
    var reverseLsn: LSN?
    var forwardLsn: LSN?
    var sourceSystemIdentifier: SystemIdentifier
    var sourceTimeline: UInt32
    var targetSystemIdentifier: SystemIdentifier?
    var targetTimeline: UInt32?
  }

  /// Kept as text: SQLite's integers are signed.
  private struct SystemIdentifier: Decodable {
    var value: UInt64

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      guard let value = UInt64(try container.decode(String.self)) else {
        throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a system identifier")
      }
      self.value = value
    }
  }

  static func fetchAll(
    _ database: Database, sql: String, arguments: StatementArguments
  ) throws -> [HandOffRecord] {
    try Columns.fetchAll(database, sql: sql, arguments: arguments).map { columns in
      let databases = try HandOffDatabase.fetchAll(
        database,
        sql: """
          SELECT name, oid, slot AS slot_name, origin AS origin_name, state, reason FROM hand_off_databases
          WHERE nonce = ? ORDER BY name, oid
          """, arguments: [columns.nonce])
      var record = HandOffRecord(
        names: HandOffNames(nonce: columns.nonce), began: columns.began,
        sourceSystemIdentifier: columns.sourceSystemIdentifier.value, sourceTimeline: columns.sourceTimeline,
        databases: databases)
      record.restorePoint = columns.restorePoint
      record.handOffLSN = columns.lsn
      record.reverseLSN = columns.reverseLsn
      record.forwardLSN = columns.forwardLsn
      record.targetSystemIdentifier = columns.targetSystemIdentifier?.value
      record.targetTimeline = columns.targetTimeline
      return record
    }
  }

  func insert(_ database: Database, migration: String) throws {
    try database.execute(
      sql: """
        INSERT INTO hand_offs (nonce, migration, began, restore_point, source_system_identifier, source_timeline)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
      arguments: [
        names.nonce, migration, Moment(began), restorePoint, String(sourceSystemIdentifier), sourceTimeline,
      ])
    try update(database)
  }

  func update(_ database: Database) throws {
    try database.execute(
      sql: """
        UPDATE hand_offs SET began = ?, restore_point = ?, lsn = ?, reverse_lsn = ?, forward_lsn = ?,
          source_system_identifier = ?, source_timeline = ?, target_system_identifier = ?, target_timeline = ?
        WHERE nonce = ?
        """,
      arguments: [
        Moment(began), restorePoint, handOffLSN?.description, reverseLSN?.description, forwardLSN?.description,
        String(sourceSystemIdentifier), sourceTimeline, targetSystemIdentifier.map { String($0) }, targetTimeline,
        names.nonce,
      ])
    try database.execute(sql: "DELETE FROM hand_off_databases WHERE nonce = ?", arguments: [names.nonce])
    for entry in databases {
      try database.execute(
        sql: """
          INSERT INTO hand_off_databases (nonce, oid, name, slot, origin, state, reason) VALUES (?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          names.nonce, entry.oid, entry.name, entry.slotName, entry.originName, entry.state.rawValue, entry.reason,
        ])
    }
  }
}
