import GRDB

/// The journal's tables, version by version. A migration that has been released is never changed; a new one follows.
enum JournalSchema {
  /// `PRAGMA application_id`: "pgcv". Tells a journal from any other SQLite file.
  static let applicationID: Int32 = 0x7067_6376

  static let migrator: DatabaseMigrator = {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("v1") { try $0.execute(sql: version1) }
    migrator.registerMigration("v2") { try $0.execute(sql: "ALTER TABLE skips ADD COLUMN outcome TEXT") }
    migrator.registerMigration("v3") { try $0.execute(sql: version3) }
    migrator.registerMigration("v4") { try $0.execute(sql: version4) }
    migrator.registerMigration("v5") { try $0.execute(sql: version5) }
    migrator.registerMigration("v6") { try $0.execute(sql: version6) }
    return migrator
  }()

  // What stands in the record on the servers makes the journal run ahead of it as soon as it changes. A migration of the
  // version before is ahead of servers that have no record yet.
  private static let version6 = """
    ALTER TABLE migrations ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE migrations ADD COLUMN token TEXT NOT NULL DEFAULT '';
    ALTER TABLE migrations ADD COLUMN lineage TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE migrations ADD COLUMN is_ahead INTEGER NOT NULL DEFAULT 0;
    UPDATE migrations SET is_ahead = 1 WHERE nonce IS NOT NULL;
    CREATE TRIGGER migrations_ahead
      AFTER UPDATE OF source, target, state, nonce, desired_sync, direction ON migrations
      WHEN (OLD.source, OLD.target, OLD.state, OLD.nonce, OLD.desired_sync, OLD.direction)
        IS NOT (NEW.source, NEW.target, NEW.state, NEW.nonce, NEW.desired_sync, NEW.direction)
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.name; END;
    CREATE TRIGGER hand_offs_ahead AFTER UPDATE ON hand_offs
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER facts_made_ahead AFTER INSERT ON facts WHEN NEW.key NOT IN (\(passing))
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER facts_changed_ahead AFTER UPDATE ON facts
      WHEN NEW.key NOT IN (\(passing)) AND OLD.value <> NEW.value
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER facts_removed_ahead AFTER DELETE ON facts WHEN OLD.key NOT IN (\(passing))
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = OLD.migration; END;
    CREATE TRIGGER services_made_ahead AFTER INSERT ON services
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER services_changed_ahead AFTER UPDATE ON services
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER skips_made_ahead AFTER INSERT ON skips
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    CREATE TRIGGER skips_changed_ahead AFTER UPDATE ON skips
      BEGIN UPDATE migrations SET is_ahead = 1 WHERE name = NEW.migration; END;
    """

  /// Facts that change often and decide nothing: they travel with the next thing that does.
  private static let passing = """
    'report', 'markers', 'written_report', 'downtime_began_ms', 'verification_took_ms', 'closed_since', 'sync_orders_from',
    'sync_orders_followed'
    """

  // Until then a step that was done already, or not meant for its migration, was begun and never ended.
  private static let version5 = """
    ALTER TABLE steps ADD COLUMN is_undo INTEGER NOT NULL DEFAULT 0;
    UPDATE steps SET ended = started, outcome = 'already_done', summary = 'already done, or not meant'
      WHERE ended IS NULL AND run IN (SELECT id FROM runs WHERE ended IS NOT NULL);
    CREATE TABLE deeds (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      run INTEGER,
      migration TEXT NOT NULL,
      step TEXT NOT NULL,
      is_undo INTEGER NOT NULL DEFAULT 0,
      host TEXT,
      kind TEXT NOT NULL,
      text TEXT NOT NULL,
      began INTEGER NOT NULL,
      ended INTEGER,
      outcome TEXT,
      error TEXT
    );
    CREATE INDEX deeds_of_migration ON deeds (migration, run);
    CREATE INDEX deeds_of_run ON deeds (run);
    """

  private static let version4 = """
    CREATE TABLE snapshot_orders (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      migration TEXT NOT NULL,
      database TEXT NOT NULL,
      host TEXT NOT NULL,
      pid INTEGER NOT NULL,
      boot TEXT NOT NULL,
      start_ticks TEXT NOT NULL,
      until TEXT,
      held INTEGER NOT NULL DEFAULT 0,
      snapshot TEXT,
      failure TEXT,
      UNIQUE (migration, database)
    );
    """

  // A target that was opened before this version has no way back.
  private static let version3 = """
    ALTER TABLE migrations ADD COLUMN direction TEXT NOT NULL DEFAULT 'forward';
    UPDATE migrations SET direction = 'reverse' WHERE state = 'cut_over';
    ALTER TABLE hand_offs ADD COLUMN forward_lsn TEXT;
    UPDATE hand_offs SET reverse_lsn = NULL;
    """

  // Times are milliseconds since 1970; LSNs and system identifiers are text, since SQLite's integers are signed.
  private static let version1 = """
    PRAGMA application_id = \(applicationID);
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      command TEXT NOT NULL,
      user TEXT NOT NULL,
      host TEXT NOT NULL,
      pid INTEGER NOT NULL,
      boot TEXT NOT NULL,
      start_ticks TEXT NOT NULL,
      started INTEGER NOT NULL,
      ended INTEGER,
      outcome TEXT
    );
    CREATE INDEX runs_open ON runs (id) WHERE ended IS NULL;
    CREATE TABLE steps (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      run INTEGER NOT NULL REFERENCES runs,
      migration TEXT NOT NULL,
      name TEXT NOT NULL,
      host TEXT,
      started INTEGER NOT NULL,
      ended INTEGER,
      outcome TEXT,
      summary TEXT,
      error TEXT
    );
    CREATE INDEX steps_of_run ON steps (run);
    CREATE INDEX steps_of_migration ON steps (migration, name);
    CREATE TABLE migrations (
      name TEXT PRIMARY KEY,
      source TEXT NOT NULL,
      target TEXT NOT NULL,
      state TEXT NOT NULL,
      nonce TEXT REFERENCES hand_offs,
      desired_sync TEXT NOT NULL,
      generation INTEGER NOT NULL,
      updated INTEGER NOT NULL
    );
    CREATE TABLE hand_offs (
      nonce TEXT PRIMARY KEY,
      migration TEXT NOT NULL REFERENCES migrations,
      began INTEGER NOT NULL,
      restore_point TEXT NOT NULL,
      lsn TEXT,
      reverse_lsn TEXT,
      source_system_identifier TEXT NOT NULL,
      source_timeline INTEGER NOT NULL,
      target_system_identifier TEXT,
      target_timeline INTEGER
    );
    CREATE INDEX hand_offs_of_migration ON hand_offs (migration);
    CREATE TABLE hand_off_databases (
      nonce TEXT NOT NULL REFERENCES hand_offs,
      oid INTEGER NOT NULL,
      name TEXT NOT NULL,
      slot TEXT NOT NULL,
      origin TEXT NOT NULL,
      state TEXT NOT NULL,
      reason TEXT,
      PRIMARY KEY (nonce, oid)
    );
    CREATE TABLE facts (
      migration TEXT NOT NULL,
      key TEXT NOT NULL,
      value TEXT NOT NULL,
      PRIMARY KEY (migration, key)
    );
    CREATE TABLE services (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      migration TEXT NOT NULL,
      host TEXT NOT NULL,
      name TEXT NOT NULL,
      manager TEXT NOT NULL,
      was_running INTEGER NOT NULL,
      stop_began INTEGER NOT NULL,
      stopped INTEGER,
      started INTEGER
    );
    CREATE UNIQUE INDEX services_open ON services (migration, host, manager, name) WHERE started IS NULL;
    CREATE TABLE locks (
      migration TEXT PRIMARY KEY,
      run INTEGER NOT NULL,
      command TEXT NOT NULL,
      user TEXT NOT NULL,
      host TEXT NOT NULL,
      pid INTEGER NOT NULL,
      boot TEXT NOT NULL,
      start_ticks TEXT NOT NULL,
      since INTEGER NOT NULL
    );
    CREATE TABLE skips (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      migration TEXT NOT NULL,
      database TEXT NOT NULL,
      lsn TEXT NOT NULL,
      requested_by TEXT NOT NULL,
      requested INTEGER NOT NULL,
      done INTEGER
    );
    CREATE UNIQUE INDEX skips_open ON skips (migration, database, lsn) WHERE done IS NULL;
    CREATE TABLE database_statuses (
      migration TEXT NOT NULL,
      database TEXT NOT NULL,
      status TEXT NOT NULL,
      recorded INTEGER NOT NULL,
      PRIMARY KEY (migration, database)
    );
    """
}
