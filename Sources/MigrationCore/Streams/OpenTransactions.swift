package import PostgresClient

/// One line for each transaction that has written something and is still open, prepared ones included.
package func openTransactions(_ session: PostgresSession, olderThan seconds: Int) async throws -> [String] {
  try await session.query(
    """
    SELECT pg_catalog.format('pid %s, database %s, %s s, %s', pid, datname,
             extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::int,
             pg_catalog.left(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 60))
      FROM pg_catalog.pg_stat_activity
     WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
       AND xact_start < pg_catalog.clock_timestamp() - $1 * interval '1 second'
    UNION ALL
    SELECT pg_catalog.format('prepared transaction %L, database %s, %s s', gid, database,
             extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::int)
      FROM pg_catalog.pg_prepared_xacts
    """, [String(seconds)]
  ).rows.map { $0.string(0) }
}
