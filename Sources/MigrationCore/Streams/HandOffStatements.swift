import ReplicationModel

/// The statements of cutover and clean-up, announced and run from the same texts.
package enum CutoverSQL {
  package static let reload = "SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_reload_conf()"
  package static let marker =
    "SELECT pg_catalog.pg_logical_emit_message(true, \(quotedLiteral(MarkerAnnouncement.messagePrefix)), $1)"
  static let advanceSlot = """
    SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2::pg_lsn) FROM pg_catalog.pg_replication_slots
     WHERE slot_name = $1 AND confirmed_flush_lsn < $2::pg_lsn
    """
  /// As far as there is anything.
  package static let advanceSlotToEnd = """
    SELECT pg_catalog.pg_replication_slot_advance(slot_name, pg_catalog.pg_current_wal_flush_lsn())
      FROM pg_catalog.pg_replication_slots
     WHERE slot_name = $1 AND NOT active AND confirmed_flush_lsn < pg_catalog.pg_current_wal_flush_lsn()
    """
  static let advanceOrigin = "SELECT pg_catalog.pg_replication_origin_advance($1, $2::pg_lsn)"
  package static let dropOrigin =
    "SELECT pg_catalog.pg_replication_origin_drop(roname) FROM pg_catalog.pg_replication_origin WHERE roname = $1"

  static func alter(subscription name: String, _ action: String) -> String {
    "ALTER SUBSCRIPTION \(quotedIdentifier(name)) \(action)"
  }
}

/// The statements of the hand-off, announced and run from the same texts.
package enum HandOffSQL {
  package static let createSlot = "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot($1, $2)"
  package static let restorePoint = "SELECT pg_catalog.pg_create_restore_point($1)"
  /// A transaction behind the restore point, whose commit flushes the WAL: a restore point alone may stay in memory.
  package static let flush = "SELECT pg_catalog.pg_logical_emit_message(true, 'pgconvoy.flush', '')"
  package static let dropOrigin = "SELECT pg_catalog.pg_replication_origin_drop($1)"
  /// One transaction: an origin without its position would look like one that has applied nothing since 0/0.
  package static let makeOrigin = """
    WITH made AS MATERIALIZED (SELECT pg_catalog.pg_replication_origin_create($1) AS oid)
    SELECT pg_catalog.pg_replication_origin_advance($1, $2::pg_lsn) FROM made WHERE oid IS NOT NULL
    """
  package static let enabledSubscriptions = """
    SELECT d.datname, s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
     WHERE s.subenabled ORDER BY 1, 2
    """
  /// Of those that no subscription owns.
  package static let origins = """
    SELECT roname FROM pg_catalog.pg_replication_origin
     WHERE roname NOT IN (SELECT 'pg_' || oid FROM pg_catalog.pg_subscription) ORDER BY 1
    """
  package static let prepared = "SELECT gid, database FROM pg_catalog.pg_prepared_xacts ORDER BY 1"

  package static func dropPublication(_ name: String) -> String {
    "DROP PUBLICATION IF EXISTS \(quotedIdentifier(name))"
  }
  package static func makePublication(_ name: String) -> [String] {
    [dropPublication(name), "CREATE PUBLICATION \(quotedIdentifier(name)) FOR ALL TABLES"]
  }

  package static func disable(subscription name: String) -> String { "ALTER SUBSCRIPTION \(name) DISABLE" }
  package static func rollBack(prepared literal: String) -> String { "ROLLBACK PREPARED \(literal)" }
}
