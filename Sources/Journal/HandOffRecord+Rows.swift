import GRDB
import ReplicationModel

extension MigrationRecord {
  init(row: Row, _ database: Database) throws {
    name = try row.value("name")
    source = try row.value("source")
    target = try row.value("target")
    state = try row.text("state")
    let nonce: String? = try row.optional("nonce")
    handOff = try nonce.flatMap { nonce in
      try Row.fetchOne(database, sql: "SELECT * FROM hand_offs WHERE nonce = ?", arguments: [nonce])
        .map { try HandOffRecord(row: $0, database) }
    }
    desiredSync = try row.text("desired_sync")
    direction = try row.text("direction")
    generation = try row.value("generation")
    updated = try row.date("updated")
  }
}

extension HandOffRecord {
  init(row: Row, _ database: Database) throws {
    names = HandOffNames(nonce: try row.value("nonce"))
    began = try row.date("began")
    restorePoint = try row.value("restore_point")
    handOffLSN = try row.optionalLSN("lsn")
    reverseLSN = try row.optionalLSN("reverse_lsn")
    forwardLSN = try row.optionalLSN("forward_lsn")
    guard let identifier = try row.optionalUInt64("source_system_identifier") else {
      throw UnreadableColumn(name: "source_system_identifier", text: "null")
    }
    sourceSystemIdentifier = identifier
    sourceTimeline = try row.value("source_timeline")
    targetSystemIdentifier = try row.optionalUInt64("target_system_identifier")
    targetTimeline = try row.optional("target_timeline")
    databases = try Row.fetchAll(
      database, sql: "SELECT * FROM hand_off_databases WHERE nonce = ? ORDER BY name, oid", arguments: [names.nonce]
    ).map(HandOffDatabase.init(row:))
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

extension HandOffDatabase {
  init(row: Row) throws {
    name = try row.value("name")
    oid = try row.value("oid")
    slotName = try row.value("slot")
    originName = try row.value("origin")
    state = try row.text("state")
    reason = try row.optional("reason")
  }
}
