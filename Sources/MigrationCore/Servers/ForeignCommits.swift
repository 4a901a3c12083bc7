import HostAdmin
import Inventory
import PostgresClient
import RemoteHost
import ReplicationModel

/// A transaction that somebody else has committed on a closed server.
package struct ForeignCommit: Sendable, Equatable, CustomStringConvertible {
  package var transaction: UInt32
  /// `table public.orders in database shop`
  package var what: String

  package var description: String { "transaction \(transaction): \(what)" }
}

/// What others have committed on a server, by its WAL: whatever database it was in, logged or not.
///
/// No slot says that: each sees one database, and none sees large objects, unlogged tables or sequences. A commit is
/// ours when it carries an origin of ours (a worker's), when it changes nothing but catalogs (origins, subscriptions,
/// limits; autovacuum's statistics are such, too), or when it is a message only. DDL that changes no row is not seen.
struct ForeignCommits {
  let context: MigrationContext
  let side: Side
  let server: ServerControl
  let session: PostgresSession

  /// How many transactions are looked into; with more, those are named.
  private static let most = 20
  /// Records of one transaction that are looked at.
  private static let records = 500

  /// - Throws: `fence.wal-unreadable` where the WAL is gone, or cannot be read.
  func between(_ start: WALPosition, _ end: WALPosition) async throws -> [ForeignCommit] {
    guard start.lsn < end.lsn else { return [] }
    guard start.timeline == end.timeline else {
      throw unreadable("the server has gone from timeline \(start.timeline) to \(end.timeline)")
    }
    let commits = try await commits(start, end)
    guard !commits.isEmpty else { return [] }
    var found: [ForeignCommit] = []
    for commit in commits.prefix(Self.most) {
      guard let what = try await effect(commit, start, end) else { continue }
      found.append(.init(transaction: commit.transaction, what: what))
    }
    if !found.isEmpty {
      found += commits.dropFirst(Self.most).map { .init(transaction: $0.transaction, what: "not looked into") }
    }
    return found
  }

  /// Those that carry no origin of ours.
  private func commits(_ start: WALPosition, _ end: WALPosition) async throws -> [WALRecord] {
    let origins = try await session.query(
      "SELECT roident FROM pg_catalog.pg_replication_origin WHERE pg_catalog.starts_with(roname, 'pgconvoy_')"
    ).rows.map { $0.string(0) }
    let ours = "; origin: node (\(origins.isEmpty ? "none" : origins.joined(separator: "|"))),"
    return try await dump(
      """
      all=$("$@" -r Transaction) || exit
      printf '%s\\n' "$all" | grep -F ', desc: COMMIT' | grep -Ev "$ours" || true
      """, ["ours": ours], start, end)
  }

  /// What a transaction has done that an application would miss; nil where that is nothing.
  private func effect(_ commit: WALRecord, _ start: WALPosition, _ end: WALPosition) async throws -> String? {
    let transactions = [commit.transaction] + commit.subtransactions
    let records = try await dump(
      "for xid in $xids; do \"$@\" -x \"$xid\" | head -n \(Self.records); done",
      ["xids": transactions.prefix(50).map(String.init).joined(separator: " ")], start, end)
    var files: [WALRecord.File] = []
    var isBare = true
    for record in records {
      switch record.effect {
      case .commit: continue
      case .emptied: return "tables were emptied"
      case .rows(let file): if !files.contains(file) { files.append(file) }
      case .message, .other: break
      }
      isBare = false
    }
    // It has taken a transaction id, and written nothing to the WAL.
    if isBare { return "something that is in no WAL: unlogged or temporary tables" }
    for file in files { if let name = try await name(file) { return name } }
    return records.count >= Self.records ? "more than \(Self.records) records" : nil
  }

  /// Large objects are rows of a catalog.
  private static let largeObjects: UInt32 = 2613
  private static let firstOwn: UInt32 = 16384

  /// What a file belongs to; nil for catalogs, and for what pgconvoy has there.
  private func name(_ file: WALRecord.File) async throws -> String? {
    if file.number == Self.largeObjects { return "large objects" }
    if file.database == 0 || file.number < Self.firstOwn { return nil }
    guard
      let database = try await session.query(
        "SELECT datname FROM pg_catalog.pg_database WHERE oid = $1::pg_catalog.oid AND datallowconn",
        [String(file.database)]
      ).first
    else { return "database number \(file.database)" }
    // A catalog that was rewritten has a file of a higher number. Long values are in a table of their own.
    let row = try await context.withSession(side, database: database) { session in
      try await session.query(
        """
        SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, coalesce(t.relname, c.relname)), n.nspname
          FROM pg_catalog.pg_class c
          LEFT JOIN pg_catalog.pg_class t ON t.reltoastrelid = c.oid
          JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(t.relnamespace, c.relnamespace)
         WHERE c.oid = pg_catalog.pg_filenode_relation($1::pg_catalog.oid, $2::pg_catalog.oid)
        """, [String(file.tablespace), String(file.number)]
      ).rows.first
    }
    guard let row, let oid = UInt32(row.string(0)) else { return "a table of database \(database) that is gone" }
    if oid == Self.largeObjects { return "large objects of database \(database)" }
    if oid < Self.firstOwn || row.string(2) == "pgconvoy_record" { return nil }
    return "table \(row.string(1)) in database \(database)"
  }

  private func dump(
    _ script: String, _ environment: [String: String], _ start: WALPosition, _ end: WALPosition
  ) async throws -> [WALRecord] {
    let directory = try await session.query("SHOW data_directory").first ?? server.dataDirectory
    var command = server.shell(
      script,
      [
        server.program("pg_waldump"), "-p", directory + "/pg_wal", "-t", String(UInt32(start.timeline, radix: 16) ?? 1),
        "-s", start.lsn.description, "-e", end.lsn.description,
      ], environment: environment, deadline: .seconds(600))
    command.label = "pg_waldump"
    let result = try await server.remote.run(command.asking)
    guard result.succeeded else { throw unreadable(result.errorText) }
    return result.text.split(separator: "\n").compactMap { WALRecord($0) }
  }

  private func unreadable(_ reason: String) -> ConvoyError {
    ConvoyError(
      "fence.wal-unreadable", "what was committed on \(server.host.name) cannot be told from its WAL",
      at: context.place("fence", side), hint: "is pg_waldump in \(server.binDirectory)?", cause: reason)
  }
}
