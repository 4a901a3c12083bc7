import Inventory
import LogicalDecoding
package import MigrationCore
import Presentation
import ReplicationModel

/// What each selected database holds that its stream cannot carry, or not as people think.
package enum DatabaseChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("databases.connection", "each database can be read", connection),
    PreflightCheck("databases.replica-identity", "updates and deletes name their rows", identity),
    PreflightCheck(
      "databases.full-identity", "rows of tables with REPLICA IDENTITY FULL are found quickly", fullIdentity),
    PreflightCheck("databases.unlogged-tables", "no table stays behind since it is unlogged", unlogged),
    PreflightCheck("databases.large-objects", "there are no large objects", largeObjects),
    PreflightCheck("databases.always-firing", "no trigger or rule fires while changes are applied", alwaysFiring),
    PreflightCheck("databases.transaction-ids", "no row holds the source's transaction ids", transactionIDs),
    PreflightCheck("databases.materialized-views", "materialized views are known", materializedViews),
    PreflightCheck("databases.foreign-tables", "foreign tables are known", foreignTables),
    PreflightCheck("databases.computed", "what is computed of rows goes by no session's settings", computed),
    PreflightCheck("databases.checks", "no CHECK goes by more than its row", movingChecks),
  ]

  /// The findings of each database that could be read. Not made when none could.
  static func each(
    _ facts: PreflightFacts, _ judge: (String, DatabaseFacts) -> [Finding]
  ) throws(CheckNotMade) -> [Finding] {
    _ = try facts.cluster.get()
    let read = facts.databases.compactMap { database in database.facts.value.map { (database.name, $0) } }
    if read.isEmpty, !facts.databases.isEmpty { throw CheckNotMade(reason: "no database could be read") }
    return read.flatMap { judge($0.0, $0.1) }
  }

  @Sendable package static func connection(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    _ = try facts.cluster.get()
    return facts.databases.compactMap { database in
      database.facts.error.map {
        Finding(
          $0, host: facts.name(.source), database: database.name,
          consequence: "no slot can be made in it, and no worker can read it",
          remedy: "mend or drop that database, or except it in the inventory")
      }
    }
  }

  @Sendable package static func identity(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      let tables = database.tablesWithoutIdentity
      let plugin = facts.migration.plugin
      if plugin.needsPublication, !tables.isEmpty {
        // A publication of all tables has the source itself refuse such changes.
        return [
          Finding(
            .error, "preflight.no-replica-identity", host: facts.name(.source), database: name, object: tables[0].name,
            "no replica identity, which plugin: \(plugin.name) asks of every table: " + shortList(tables.map(\.label)),
            consequence: "the source would refuse every update and delete of these tables from the hand-off on",
            remedy: remedy(tables) + ", or set plugin: \(OutputPlugin.usual.name)")
        ]
      }
      let changed = tables.filter { $0.changes > 0 }
      let quiet = tables.filter { $0.changes == 0 }
      var findings: [Finding] = []
      if !changed.isEmpty {
        findings.append(
          Finding(
            .error, "preflight.no-replica-identity", host: facts.name(.source), database: name, object: changed[0].name,
            "no replica identity, but updates or deletes: " + shortList(changed.map(\.label)),
            consequence: "the first update or delete after the hand-off parks the database", remedy: remedy(changed)))
      }
      if !quiet.isEmpty {
        findings.append(
          Finding(
            .warning, "preflight.no-replica-identity", host: facts.name(.source), database: name, object: quiet[0].name,
            "no replica identity: " + shortList(quiet.map(\.label)),
            consequence: "inserts and truncates are carried; an update or delete would park the database",
            remedy: remedy(quiet)))
      }
      return findings
    }
  }

  private static func remedy(_ tables: [DatabaseFacts.Table]) -> String {
    let otherwise =
      switch tables[0].flaw {
      case nil: "ADD PRIMARY KEY (…)"
      case .nothing: "REPLICA IDENTITY DEFAULT where it has a primary key"
      case .deferrableKey: "USING INDEX, a unique one that is not deferrable"
      case .indexGone, .indexUnfit: "DEFAULT where it has a primary key, or USING another INDEX"
      }
    return "ALTER TABLE \(tables[0].name) REPLICA IDENTITY FULL, or \(otherwise)"
      + (tables.count > 1 ? "; likewise the others" : "")
  }

  @Sendable static func fullIdentity(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      let tables = database.fullWithoutEquality
      guard let first = tables.first else { return [] }
      return [
        Finding(
          .warning, "preflight.full-identity-types", host: facts.name(.source), database: name, object: first.name,
          "REPLICA IDENTITY FULL, and types without '=': " + shortList(tables.map { "\($0.name) (\($0.columns))" }),
          consequence: "a row is found by its columns' text, one at a time: slow in a large table "
            + "where no other column has an index",
          remedy: "ALTER TABLE \(first.name) ADD PRIMARY KEY (…), REPLICA IDENTITY DEFAULT"
            + (tables.count > 1 ? "; likewise the others" : ""))
      ]
    }
  }

  @Sendable package static func unlogged(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      let tables = database.unloggedTables
      guard !tables.isEmpty else { return [] }
      return [
        Finding(
          .warning, "preflight.unlogged-tables", host: facts.name(.source), database: name, object: tables[0],
          "unlogged: " + shortList(tables),
          consequence: facts.migration.cutover.copyUnlogged
            ? "they are empty on the copy; the cutover copies their rows while applications are held up"
            : "they are empty on the copy and get no changes",
          remedy: "ALTER TABLE \(tables[0]) SET LOGGED, if its rows matter"
            + (tables.count > 1 ? "; likewise the others" : "")
            + (facts.migration.cutover.copyUnlogged
              ? "" : "; or have the cutover copy them, while applications are held up: cutover.copy_unlogged"))
      ]
    }
  }

  @Sendable package static func largeObjects(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      guard database.largeObjects > 0 else { return [] }
      let count =
        database.largeObjects > Preflight.largeObjectLimit
        ? "more than \(Preflight.largeObjectLimit) large objects"
        : HumanFormat.counted(database.largeObjects, "large object")
      return [
        Finding(
          .warning, "preflight.large-objects", host: facts.name(.source), database: name, count,
          consequence: "they come with the copy; later changes in them are carried in the cutover, which takes time",
          remedy: "write few large objects between the base backup and the cutover")
      ]
    }
  }

  @Sendable static func alwaysFiring(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      guard !database.alwaysFiring.isEmpty else { return [] }
      return [
        Finding(
          .warning, "preflight.always-firing", host: facts.name(.source), database: name,
          object: database.alwaysFiring[0], "ENABLE ALWAYS or REPLICA: " + shortList(database.alwaysFiring),
          consequence: "they fire while changes are applied, so that what they write is written twice",
          remedy: "ALTER TABLE … ENABLE TRIGGER name (ENABLE RULE name), if they need not fire for replicated changes")
      ]
    }
  }

  @Sendable static func materializedViews(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      guard !database.materializedViews.isEmpty else { return [] }
      return [
        Finding(
          .note, "preflight.materialized-views", host: facts.name(.source), database: name,
          object: database.materializedViews[0], "materialized views: " + shortList(database.materializedViews),
          consequence: "they are refreshed at the cutover, which takes its time")
      ]
    }
  }

  /// Changes go in by groups: the target takes fewer transaction ids than the source.
  @Sendable static func transactionIDs(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      guard let first = database.transactionIDs.first else { return [] }
      return [
        Finding(
          .warning, "preflight.transaction-ids", host: facts.name(.source), database: name, object: first,
          "columns with ids of transactions: " + shortList(database.transactionIDs),
          consequence: "the target counts its own, and will be behind the source's: "
            + "who reads 'all above the last one' passes over rows that are written after the cutover",
          remedy: "after the cutover have their readers begin at a new position, or set the columns anew")
      ]
    }
  }

  @Sendable static func foreignTables(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try each(facts) { name, database in
      guard !database.foreignTables.isEmpty else { return [] }
      return [
        Finding(
          .note, "preflight.foreign-tables", host: facts.name(.source), database: name,
          object: database.foreignTables[0], "foreign tables: " + shortList(database.foreignTables),
          consequence: "their servers must be reachable from the target too")
      ]
    }
  }
}
