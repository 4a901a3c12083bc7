import MigrationCore
package import PostgresClient
package import ReplicationModel

/// A materialized view as the catalogs have it.
package struct MaterializedView: Sendable, Equatable {
  package var name: RelationName
  package var oid: UInt32
  package var isPopulated: Bool
}

/// Brings the materialized views of one side (the target, in a cutover) to the other's state as far as a refresh can: what REFRESH writes travels
/// in no logical stream, and a view's content cannot be written in any other way.
package enum MaterializedViewRefresh {
  package static let listing = """
    SELECT n.nspname, c.relname, c.oid, c.relispopulated
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'm' AND c.oid >= 16384
    """

  /// Which relation is made of which, views in between included.
  static let dependencies = """
      SELECT DISTINCT r.ev_class, d.refobjid
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
       WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
    """

  package static func refreshing(_ name: RelationName) -> String { "REFRESH MATERIALIZED VIEW \(name.quoted)" }

  package static func list(_ session: PostgresSession) async throws -> [MaterializedView] {
    try await session.query(listing).rows.map { row in
      MaterializedView(
        name: RelationName(schema: row.string(0), name: row.string(1)), oid: UInt32(row.string(2)) ?? 0,
        isPopulated: row.bool(3))
    }.sorted { $0.name.catalogBytes.lexicographicallyPrecedes($1.name.catalogBytes) }
  }

  /// What is made of nothing else first. PostgreSQL allows no cycle; one in the input ends all the same.
  static func ordered(_ views: [MaterializedView], dependencies: [(of: UInt32, on: UInt32)]) -> [MaterializedView] {
    let needs = Dictionary(grouping: dependencies, by: \.of).mapValues { $0.map(\.on) }
    let byOID = Dictionary(views.map { ($0.oid, $0) }) { first, _ in first }
    var visited: Set<UInt32> = []
    var result: [MaterializedView] = []
    for view in views {
      // Depth first, without recursion: the second visit of an entry comes after all that it needs.
      var stack = [(oid: view.oid, isReady: false)]
      while let next = stack.popLast() {
        if next.isReady {
          if let ready = byOID[next.oid] { result.append(ready) }
        } else if visited.insert(next.oid).inserted {
          stack.append((next.oid, true))
          for need in needs[next.oid] ?? [] { stack.append((need, false)) }
        }
      }
    }
    return result
  }

  package struct Outcome: Sendable, Equatable {
    package var compared = 0
    package var refreshed: [RelationName] = []
    package var findings: [MigrationReport.Remark] = []
  }

  /// Views with content on the source whose content on the target is another, or none.
  private struct Comparison {
    var source: [TableSum]
    var target: [TableSum]

    var differing: Set<[UInt8]> {
      Set(
        DatabaseSums(database: "", tables: source).differences(from: DatabaseSums(database: "", tables: target))
          .filter { $0.source != nil }.map(\.name.catalogBytes))
    }
  }

  /// - Parameter writing: what the other side's database gives to its sessions, asked where a view is refreshed. A view is
  ///   refreshed under these settings, as an application would, and compared under those that all texts are compared under.
  /// - Throws: `drift.materialized-views-missing`; what a REFRESH says goes into the findings.
  package static func run(
    database: String, source: PostgresSession, target: PostgresSession, _ direction: StreamDirection = .forward,
    writing: () async throws -> WritingSettings, at place: ConvoyError.Place,
    progress: @Sendable (String) -> Void = { _ in }
  ) async throws -> Outcome {
    async let listedHere = list(source)
    async let listedThere = list(target)
    let (here, there) = try await (listedHere, listedThere)
    guard !here.isEmpty else { return Outcome() }
    let known = Dictionary(there.map { ($0.name.catalogBytes, $0) }) { first, _ in first }
    let missing = here.filter { known[$0.name.catalogBytes] == nil }
    guard missing.isEmpty else {
      throw ConvoyError(
        "drift.materialized-views-missing",
        "not on the \(direction.toName): \(few(missing.map { "materialized view \($0.name)" }))", at: place,
        hint: "create them on the \(direction.toName) as they are on the \(direction.fromName)")
    }
    var outcome = Outcome()
    let populated = here.filter(\.isPopulated).map(\.name)
    outcome.compared = populated.count
    for view in here where !view.isPopulated && known[view.name.catalogBytes]?.isPopulated == true {
      outcome.findings.append(
        .init(.note, "materialized view \(view.name) has content on the \(direction.toName) only", database: database))
    }
    async let sumsHere = SumQueries(session: source).sums(populated, countOnly: false)
    async let sumsThere = sums(of: populated, in: there, target)
    var comparison = Comparison(source: try await sumsHere, target: try await sumsThere)
    guard !comparison.differing.isEmpty else { return outcome }

    let edges = try await target.query(dependencies).rows.map { row in
      (of: UInt32(row.string(0)) ?? 0, on: UInt32(row.string(1)) ?? 0)
    }
    let order = ordered(there, dependencies: edges)
    let settings = try await writing()
    var failures: [[UInt8]: String] = [:]
    // A function in a view may hide what it is made of, and the order with it: again while that helps.
    var before: Int
    repeat {
      before = comparison.differing.count
      for view in order where comparison.differing.contains(view.name.catalogBytes) {
        progress("refreshing \(view.name) in database \(database)")
        failures[view.name.catalogBytes] = try await refresh(view.name, target, settings)
        if !outcome.refreshed.contains(where: { $0.catalogBytes == view.name.catalogBytes }) {
          outcome.refreshed.append(view.name)
        }
      }
      comparison.target = try await sums(of: populated, in: list(target), target)
    } while !comparison.differing.isEmpty && comparison.differing.count < before

    try await target.script("RESET lock_timeout")

    for view in order where comparison.differing.contains(view.name.catalogBytes) {
      if let failure = failures[view.name.catalogBytes] {
        outcome.findings.append(
          .init(
            .failure,
            "materialized view \(view.name) is older than the \(direction.fromName)'s and cannot be refreshed: \(failure)",
            database: database))
      } else {
        outcome.findings.append(
          .init(
            .warning,
            "materialized view \(view.name) was refreshed and differs from the \(direction.fromName)'s, which is "
              + "older than its tables or not the same each time",
            database: database))
      }
    }
    return outcome
  }

  private static func sums(
    of names: [RelationName], in views: [MaterializedView], _ session: PostgresSession
  ) async throws -> [TableSum] {
    let readable = Set(views.filter(\.isPopulated).map(\.name.catalogBytes))
    return try await SumQueries(session: session)
      .sums(names.filter { readable.contains($0.catalogBytes) }, countOnly: false)
  }

  /// Refreshes unseen by triggers on DDL, as the view's owner, which is the server's own rule.
  ///
  /// - Returns: why it could not; nil when it could.
  private static func refresh(
    _ name: RelationName, _ session: PostgresSession, _ writing: WritingSettings
  ) async throws -> String? {
    try await session.script("SET lock_timeout = '10s'")
    let taken = try await session.set(writing)
    var failure: String?
    do {
      try await session.unseen(refreshing(name))
    } catch let error as PostgresError where error.reason == .server {
      failure = error.description
    }
    for setting in taken.values.keys.sorted() { try await session.script("RESET \(quotedSetting(setting))") }
    return failure
  }

  /// `app.tenant` is two identifiers.
  private static func quotedSetting(_ name: String) -> String {
    name.split(separator: ".").map { quotedIdentifier(String($0)) }.joined(separator: ".")
  }
}
