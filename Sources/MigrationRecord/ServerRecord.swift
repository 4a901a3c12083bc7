import FoundationEssentials
package import Inventory
package import Journal
package import MigrationCore
package import PostgresClient
package import ReplicationModel

/// The record of one migration as one server has it: a row of `pgconvoy_record.migration` in its maintenance database.
package struct ServerRecord: Sendable, Equatable {
  /// As which server it was written. A physical copy of the source carries the source's row with it.
  package var side: Side
  /// The timeline of the server that wrote it: a promoted copy has another one.
  package var timeline: UInt32
  package var standing: JournalStanding
  package var document: MigrationDocument
  /// `admin@ws1`, with the time of the server.
  package var writtenBy: String
  package var writtenAt: String

  package init(
    side: Side, timeline: UInt32, standing: JournalStanding, document: MigrationDocument, writtenBy: String = "",
    writtenAt: String = ""
  ) {
    self.side = side
    self.timeline = timeline
    self.standing = standing
    self.document = document
    self.writtenBy = writtenBy
    self.writtenAt = writtenAt
  }

  /// For a person: `'cut_over', epoch 12, written by admin@ws1 at 2026-03-01 10:00:00+00`.
  package var summary: String {
    "'\(document.state.rawValue)', epoch \(standing.epoch), written by \(writtenBy) at \(writtenAt)"
  }
}

/// The record's table on one server: how it is made, read, and written by compare-and-set.
package struct RecordTable: Sendable {
  let session: PostgresSession
  let side: Side
  let place: ConvoyError.Place

  package init(_ session: PostgresSession, _ side: Side, at place: ConvoyError.Place) {
    self.session = session
    self.side = side
    self.place = place
  }

  /// Nil where the server has none of its own for the migration.
  ///
  /// - Throws: `truth.unreadable` for one that no version wrote, or that a newer one did.
  package func read(_ migration: String) async throws -> ServerRecord? {
    guard try await exists() else { return nil }
    let rows = try await session.query(
      """
      SELECT side, timeline, epoch, token, lineage, document, written_by, written_at, version,
             system_identifier = \(Self.identifier) AND timeline = coalesce(\(Self.timeline), timeline)
        FROM pgconvoy_record.migration WHERE name = $1
      """, [migration], within: Self.limit
    ).rows
    guard let row = rows.first else { return nil }
    guard row.string(8) == Self.version else {
      throw unreadable("it has format \(row.string(8)), and this pgconvoy knows format \(Self.version)")
    }
    guard let writer = Side(rawValue: row.string(0)), let timeline = UInt32(row.string(1)),
      let epoch = Int(row.string(2)),
      let lineage = try? JSONDecoder().decode([Int: String].self, from: Data(row.string(4).utf8)),
      let document = try? JSONDecoder().decode(MigrationDocument.self, from: Data(row.string(5).utf8))
    else { throw unreadable("its row is damaged") }
    // The source's row, come along with the copy; that of a server that this one was promoted from, or of a dump.
    guard writer == side, row.bool(9) else { return nil }
    return ServerRecord(
      side: writer, timeline: timeline,
      standing: JournalStanding(epoch: epoch, token: row.string(3), lineage: lineage), document: document,
      writtenBy: row.string(6), writtenAt: row.string(7))
  }

  /// The number and the token of the server's own record alone.
  func standing(_ migration: String) async throws -> JournalStanding {
    guard try await exists() else { return JournalStanding() }
    let row = try await session.query(
      "SELECT epoch, token FROM pgconvoy_record.migration WHERE name = $1 AND side = $2", [migration, side.rawValue],
      within: Self.limit
    ).rows.first
    return row.map { JournalStanding(epoch: Int($0.string(0)) ?? 0, token: $0.string(1)) } ?? JournalStanding()
  }

  /// Whether there is a row for the migration, whoever wrote it.
  func hasRow(_ migration: String) async throws -> Bool {
    try await session.query("SELECT FROM pgconvoy_record.migration WHERE name = $1", [migration]).rowCount > 0
  }

  /// Writes the record, if the server still has the one that it follows, or none of its own.
  ///
  /// - Parameter former: what the server has to have; nil: no row of its own.
  /// - Returns: false when it has another one, or none any more.
  package func write(
    _ document: MigrationDocument, as standing: JournalStanding, of migration: String, over former: JournalStanding?,
    by writer: String
  ) async throws -> Bool {
    if former == nil { try await make() }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let lineage = String(decoding: try encoder.encode(standing.lineage), as: UTF8.self)
    let text = String(decoding: try encoder.encode(document), as: UTF8.self)
    do {
      let rows = try await session.query(
        """
        INSERT INTO pgconvoy_record.migration AS m
               (name, version, side, system_identifier, timeline, epoch, token, lineage, phase, direction, nonce, document,
                written_by)
        SELECT $1, \(Self.version), $2, \(Self.identifier), \(Self.timeline), $3::bigint, $4, $5, $6, $7, $8, $9, $10
         WHERE $11::bigint < 0 OR EXISTS (SELECT FROM pgconvoy_record.migration WHERE name = $1)
            ON CONFLICT (name) DO UPDATE SET
               (version, side, system_identifier, timeline, epoch, token, lineage, phase, direction, nonce, document,
                written_by, written_at)
             = (excluded.version, excluded.side, excluded.system_identifier, excluded.timeline, excluded.epoch,
                excluded.token, excluded.lineage, excluded.phase, excluded.direction, excluded.nonce, excluded.document,
                excluded.written_by, pg_catalog.clock_timestamp())
         WHERE (m.side, m.system_identifier, m.timeline)
               IS DISTINCT FROM (excluded.side, excluded.system_identifier, excluded.timeline)
            OR (m.epoch = $11::bigint AND m.token = $12)
        RETURNING 1
        """,
        [
          migration, side.rawValue, String(standing.epoch), standing.token, lineage, document.state.rawValue,
          document.direction.rawValue, document.nonce, text, writer, String(former?.epoch ?? -1), former?.token ?? "",
        ], within: Self.limit)
      return rows.rowCount == 1
    } catch let error as PostgresError where error.sqlState == .undefinedTable {
      return false
    }
  }

  /// What takes the record of one migration away, and the schema with the last one.
  package func removal(of migration: String) async throws -> [Deed] {
    let others = try await session.query("SELECT FROM pgconvoy_record.migration WHERE name <> $1", [migration])
    if others.rowCount == 0 { return [.ddl(side, "DROP SCHEMA pgconvoy_record CASCADE")] }
    return [.sql(side, "DELETE FROM pgconvoy_record.migration WHERE name = $1", [.text(migration)])]
  }

  /// Whether the server has the table at all.
  ///
  /// - Throws: `truth.foreign-schema` when it is somebody else's: our superuser would run what they have put there.
  package func exists() async throws -> Bool {
    let rows = try await session.query(
      """
      SELECT c.oid IS NOT NULL, s.rolsuper AND coalesce(t.rolsuper, true), s.rolname
        FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles s ON s.oid = n.nspowner
        LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'migration'
        LEFT JOIN pg_catalog.pg_roles t ON t.oid = c.relowner
       WHERE n.nspname = 'pgconvoy_record'
      """, [], within: Self.limit
    ).rows
    guard let row = rows.first else { return false }
    guard row.bool(1) else {
      throw ConvoyError(
        "truth.foreign-schema",
        "schema pgconvoy_record of database \(session.parameters.database) belongs to \(row.string(2)), no superuser",
        at: place, hint: "pgconvoy keeps its record there: look who made it, and drop or rename it")
    }
    return row.bool(0)
  }

  private func make() async throws {
    if try await exists() { return }
    // Another process may make it at the same moment.
    try await session.unseen(
      """
      SELECT pg_catalog.pg_advisory_xact_lock(\(Lease.space), 0);
      CREATE SCHEMA IF NOT EXISTS pgconvoy_record;
      REVOKE ALL ON SCHEMA pgconvoy_record FROM PUBLIC;
      CREATE TABLE IF NOT EXISTS pgconvoy_record.migration (
        name pg_catalog.text PRIMARY KEY,
        version pg_catalog.int4 NOT NULL,
        side pg_catalog.text NOT NULL,
        system_identifier pg_catalog.text NOT NULL,
        timeline pg_catalog.int8 NOT NULL,
        epoch pg_catalog.int8 NOT NULL,
        token pg_catalog.text NOT NULL,
        lineage pg_catalog.text NOT NULL,
        phase pg_catalog.text NOT NULL,
        direction pg_catalog.text NOT NULL,
        nonce pg_catalog.text,
        document pg_catalog.text NOT NULL,
        written_by pg_catalog.text NOT NULL,
        written_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
      );
      COMMENT ON SCHEMA pgconvoy_record IS
        'what pgconvoy does with this server; removed by the playbook finish'
      """, within: .seconds(30))
    guard try await exists() else {
      throw ConvoyError("truth.unwritable", "the record's table could not be made", at: place)
    }
  }

  /// Of a primary; null on a standby, which only its primary's record is on.
  private static let timeline = """
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN
      ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int8
    END
    """

  private static let identifier = "(SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c)"

  /// A server that does not answer must not hold up the other one.
  private static let limit = Duration.seconds(10)

  /// Of the row's format.
  private static let version = "1"

  private func unreadable(_ why: String) -> ConvoyError {
    ConvoyError(
      "truth.unreadable", "the record of the migration cannot be used: \(why)", at: place,
      hint: "use the newest pgconvoy that has worked on this server")
  }
}
