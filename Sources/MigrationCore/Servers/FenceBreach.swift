package import Inventory
import Journal
import Logging
import PostgresClient
package import ReplicationModel

/// What a watch over a closed side has found, and closed again; or what others have committed there meanwhile.
package struct FenceBreach: Codable, Sendable, Equatable {
  /// `source` or `target`.
  package var side: String
  /// Milliseconds since 1970.
  package var at: UInt64
  /// One line: `pg_hba.conf had lost the fence`.
  package var what: String
  /// Transactions of others that were committed there; 0 where it is not about those.
  package var commits: UInt64

  package init(side: Side, at: UInt64, what: String, commits: UInt64 = 0) {
    self.side = side.rawValue
    self.at = at
    self.what = what
    self.commits = commits
  }
}

/// A position in a server's WAL.
package struct WALPosition: Codable, Sendable, Equatable {
  /// Where a record begins or will begin.
  package var lsn: LSN
  /// As the first eight digits of a segment's name.
  package var timeline: String

  package init(lsn: LSN, timeline: String) {
    self.lsn = lsn
    self.timeline = timeline
  }

  /// Of the records that are written by now; they may not be on the disk yet.
  static func current(_ session: PostgresSession) async throws -> WALPosition {
    let row = try await session.query(
      """
      SELECT pg_catalog.pg_current_wal_insert_lsn(),
             pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)
      """
    ).rows.first
    guard let row, let lsn = LSN(row.string(0)) else {
      throw ConvoyError("fence.no-position", "the server returned no position of its WAL")
    }
    return WALPosition(lsn: lsn, timeline: row.string(1))
  }
}

/// From where on a closed side has been shown to be without a commit of anybody else's.
package struct ClosedSince: Codable, Sendable, Equatable {
  package var side: String
  package var position: WALPosition

  package init(side: Side, position: WALPosition) {
    self.side = side.rawValue
    self.position = position
  }
}

extension FactKey<[FenceBreach]> {
  /// Since the fence of the latest cutover or rollback went up; before the first one, since the hand-off.
  package static var fenceBreaches: Self { Self("fence_breaches") }
}

extension FactKey<ClosedSince> {
  package static var closedSince: FactKey<ClosedSince> { Self("closed_since") }
}

extension MigrationContext {
  /// The watch over a side that is closed: the one that goes on, or a new one that has not begun.
  package func fenceWatch(_ side: Side) async -> FenceWatch {
    let made = FenceWatch(self, side) { true }
    return accompany(side, made) as? FenceWatch ?? made
  }

  /// Tells whoever watches, and writes down, what was found on a closed side.
  package func alarm(_ breaches: [FenceBreach]) async throws {
    guard !breaches.isEmpty else { return }
    for breach in breaches {
      let host = Side(rawValue: breach.side).map { migration.host($0).name } ?? breach.side
      progress("\(host) was not closed: \(breach.what)")
      logger.error("a closed server was not closed", metadata: ["host": "\(host)", "found": "\(breach.what)"])
    }
    let known = try await fact(.fenceBreaches) ?? []
    // A configuration management that goes on for days says the same again and again.
    try await setFact(.fenceBreaches, Array((known + breaches).suffix(200)))
  }
}
