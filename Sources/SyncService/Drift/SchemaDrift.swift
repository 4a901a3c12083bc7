import HostAdmin
import Inventory
package import Journal
package import MigrationCore
import PostgresClient
package import ReplicationModel

/// What the two sides' schemas of a database do not have in common: DDL travels in no logical stream.
struct SchemaDrift: Sendable, Equatable {
  /// One line for each object: `column public.orders.note: only on the source`.
  var differences: [String]

  /// Compares one number of each side first, and the objects only where those differ.
  ///
  /// - Parameters:
  ///   - source, target: sessions to one database with an empty `search_path`.
  ///   - limit: for each statement.
  static func between(
    source: PostgresSession, target: PostgresSession, within limit: Duration = .seconds(60)
  ) async throws -> SchemaDrift {
    // The statement is long and its work is short: compiling it would take seconds.
    // Definitions of views lock what they are made of; others must not have to queue behind that.
    for session in [source, target] { try await session.script("SET jit = off; SET lock_timeout = '200ms'") }
    async let left = source.query(SchemaObject.fingerprint, within: limit).first
    async let right = target.query(SchemaObject.fingerprint, within: limit).first
    if try await left == right { return SchemaDrift(differences: []) }
    async let here = SchemaObject.read(source, within: limit)
    async let there = SchemaObject.read(target, within: limit)
    return SchemaDrift(source: try await here, target: try await there)
  }

  private init(differences: [String]) { self.differences = differences }

  init(source: [SchemaObject], target: [SchemaObject]) {
    let here = Dictionary(source.map { ($0.identity, $0) }) { first, _ in first }
    let there = Dictionary(target.map { ($0.identity, $0) }) { first, _ in first }
    let identities = Set(here.keys).union(there.keys).sorted { $0.lexicographicallyPrecedes($1) }
    differences = identities.compactMap { identity in
      switch (here[identity], there[identity]) {
      case (let left?, nil): "\(left.kind) \(left.name): only on the source"
      case (nil, let right?): "\(right.kind) \(right.name): only on the target"
      case (let left?, let right?) where !left.definition.utf8.elementsEqual(right.definition.utf8):
        left.isReadable && right.isReadable
          ? "\(left.kind) \(left.name): \(left.definition) on the source, \(right.definition) on the target"
          : "\(left.kind) \(left.name): not the same on both sides"
      default: nil
      }
    }
  }
}

/// An object of a database's schema, as the catalogs of either side define it.
struct SchemaObject: Sendable, Equatable {
  var kind: String
  var name: String
  /// Text to be compared; for people only where it says what a column, say, is.
  var definition: String

  /// By bytes: names that are the same to Unicode are two for PostgreSQL.
  var identity: [UInt8] { Array(kind.utf8) + [0] + Array(name.utf8) }
  var isReadable: Bool {
    ["column", "constraint", "index", "extension"].contains(kind) && definition.utf8.count <= 200
  }

  static func read(_ session: PostgresSession, within limit: Duration) async throws -> [SchemaObject] {
    try await session.query(listing, within: limit).rows.map { row in
      SchemaObject(kind: row.string(0), name: row.string(1), definition: row.string(2))
    }
  }

  static let fingerprint = """
    SELECT pg_catalog.md5(pg_catalog.string_agg(
             pg_catalog.md5(pg_catalog.concat_ws(E'\\x01', kind, name, definition)), '' ORDER BY kind COLLATE "C",
             name COLLATE "C", definition COLLATE "C"))
      FROM (\(listing)) AS objects
    """
}

extension MigrationContext {
  /// With sessions of its own, since kept ones would add up.
  func schemaDrift(of database: String) async throws -> SchemaDrift {
    try await withNewSession(.source, database: database) { source in
      try await withNewSession(.target, database: database) { target in
        try await SchemaDrift.between(source: source, target: target)
      }
    }
  }

  /// Gives whoever holds a lock on what a definition is made of half a minute.
  private func settledDrift(of database: String) async throws -> SchemaDrift {
    let end = ContinuousClock.now + .seconds(30)
    while true {
      do {
        return try await schemaDrift(of: database)
      } catch let error as PostgresError where error.sqlState == .lockNotAvailable && ContinuousClock.now < end {
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  /// What differs and will not come with the stream. With `ddl: replicate` a difference may be on its way: it is drift
  /// if it is still there when the stream is past the moment when it was seen.
  private func standingDrift(of database: String, _ direction: StreamDirection) async throws -> [String] {
    let differences = try await settledDrift(of: database).differences
    guard !differences.isEmpty, carriesDDL(direction) else { return differences }
    let seen = try await sourceEnd(database)
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      let status = try await recordedStatuses().map(\.status).first { $0.database == database }
      guard let status, status.phase != .parked else { break }
      if let applied = status.appliedLSN, applied >= seen { break }
      try await Task.sleep(for: .milliseconds(200))
    }
    let again = try await settledDrift(of: database).differences
    return differences.filter(again.contains)
  }

  /// Whether the streams of a direction carry DDL.
  nonisolated func carriesDDL(_ direction: StreamDirection) -> Bool {
    direction == .forward && migration.ddl == .replicate
  }

  /// Behind everything that the source has committed so far.
  func sourceEnd(_ database: String) async throws -> LSN {
    try await withNewSession(.source, database: database) { session in
      try await session.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").first.flatMap { LSN($0) } ?? .invalid
    }
  }

  /// - Throws: `cutover.schema-drift`, which names what differs.
  package func refuseDrift(_ record: HandOffRecord, _ direction: StreamDirection) async throws {
    let found = try await mapConcurrently(record.databases.map(\.name), limit: 4) { name in
      (database: name, differences: try await self.standingDrift(of: name, direction))
    }
    guard let first = found.first(where: { !$0.differences.isEmpty }) else { return }
    let count = first.differences.count
    throw ConvoyError(
      "cutover.schema-drift",
      "the schemas differ in \(count) object\(count == 1 ? "" : "s"): \(few(first.differences, separator: "; "))",
      at: .database(migration: migrationName, name: first.database),
      hint: (carriesDDL(direction) ? "no statement in the stream brings it" : "DDL is not replicated")
        + ": make the same change on the \(direction.toName), then run the "
        + "\(direction.noun) again")
  }
}
