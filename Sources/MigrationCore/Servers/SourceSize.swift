package import PostgresClient

/// What a copy of the source has to take in.
package struct SourceSize: Sendable, Equatable {
  package struct Tablespace: Sendable, Equatable {
    package var name: String
    /// Empty for the data directory's own two.
    package var location: String
    package var bytes: UInt64
  }

  package var tablespaces: [Tablespace]
  package var walBytes: UInt64

  package init(tablespaces: [Tablespace], walBytes: UInt64) {
    self.tablespaces = tablespaces
    self.walBytes = walBytes
  }

  /// The size of all WAL that the server keeps, as a statement.
  package static let walBytes = "SELECT coalesce(pg_catalog.sum(size), 0) FROM pg_catalog.pg_ls_waldir()"

  /// Asks the source; for superusers only.
  package static func read(_ session: PostgresSession, within limit: Duration) async throws -> SourceSize {
    SourceSize(
      tablespaces: try await tablespaces(session, within: limit),
      walBytes: UInt64(try await session.query(walBytes, within: limit).first ?? "") ?? 0)
  }

  package static func tablespaces(_ session: PostgresSession, within limit: Duration) async throws -> [Tablespace] {
    try await session.query(
      """
      SELECT spcname, pg_catalog.pg_tablespace_location(oid), pg_catalog.pg_tablespace_size(oid)
        FROM pg_catalog.pg_tablespace ORDER BY spcname
      """, within: limit
    ).rows.map { row in
      // One in place (a developers' setting) lies in the data directory.
      Tablespace(
        name: row.string(0), location: row.string(1).hasPrefix("/") ? row.string(1) : "",
        bytes: UInt64(row.string(2)) ?? 0)
    }
  }
}
