package import PostgresClient

/// An advisory lock that a session holds for as long as it lives, and gives signs of life by: who has it, and since when
/// nothing has been heard of them, can be asked by everybody.
/// <https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS>
package struct AdvisoryLock: Sendable {
  /// Nobody else's number, in whatever database: the server keeps them apart by databases, and `holder` looks in all.
  let key: Int64

  package init(key: Int64) {
    self.key = key
  }

  /// How long a holder may be silent before somebody else may take its place. Holders say something at least every five
  /// seconds.
  package static let silence = Duration.seconds(15)

  package struct Holder: Sendable {
    package var pid: String
    /// What its session calls itself.
    package var name: String
    /// Where it came from: an address, or `a socket`.
    package var address: String
    /// When its session began, to the second.
    package var since: String
    package var silent: Duration

    package var isSilent: Bool { silent >= AdvisoryLock.silence }
  }

  private static let limit = Duration.seconds(10)

  /// Never waits.
  package func take(_ session: PostgresSession) async throws -> Bool {
    try await session.query("SELECT pg_catalog.pg_try_advisory_lock($1)", [String(key)], within: Self.limit).first
      == "t"
  }

  /// Nil where nobody has it.
  package func holder(_ session: PostgresSession) async throws -> Holder? {
    let row = try await session.query(
      """
      SELECT a.pid, a.application_name, coalesce(pg_catalog.host(a.client_addr), 'a socket'),
             pg_catalog.date_trunc('second', a.backend_start),
             extract(epoch FROM pg_catalog.clock_timestamp() - greatest(a.state_change, a.query_start))
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
       WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
         AND l.classid::bigint = $1 AND l.objid::bigint = $2
      """,
      [String(UInt64(bitPattern: key) >> 32), String(UInt64(bitPattern: key) & 0xFFFF_FFFF)], within: Self.limit
    ).rows.first
    return row.map { row in
      Holder(
        pid: row.string(0), name: row.string(1), address: row.string(2), since: row.string(3),
        silent: .seconds(Double(row.string(4)) ?? 0))
    }
  }

  /// Ends a holder's session, and with it its lock.
  package func end(_ holder: Holder, _ session: PostgresSession) async throws {
    _ = try await session.query("SELECT pg_catalog.pg_terminate_backend($1::int4)", [holder.pid], within: Self.limit)
  }
}
