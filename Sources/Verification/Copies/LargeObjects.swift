package import PostgresClient
import ReplicationModel

/// A large object as one side has it.
package struct LargeObject: Sendable, Equatable {
  package var oid: UInt32
  package var owner: String
  /// As the catalog has it; nil where it is the owner's alone by default.
  package var privileges: String?
  /// How many pages it has, and the sum of their hashes.
  var pages: String
  var checksum: String
}

/// Carries large objects over that are not the same on both sides: what writes them travels in no logical stream.
package enum LargeObjectCopy {
  /// What is to be done so that both sides have the same.
  package struct Plan: Sendable, Equatable {
    /// Objects of the source that the target lacks or has otherwise.
    package var copy: [LargeObject] = []
    /// Oids that only the target has.
    package var remove: [UInt32] = []
    /// Those that the target has now.
    package var existing: Set<UInt32> = []

    package var isEmpty: Bool { copy.isEmpty && remove.isEmpty }
  }

  /// Pages read and written at a time: half a megabyte.
  private static let pagesAtOnce = 256
  /// Objects in one transaction: each takes places in the server's lock table.
  private static let objectsAtOnce = 500
  /// `INV_WRITE`
  private static let writing = 0x20000

  package static let listing = """
    SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner), m.lomacl::text, coalesce(p.pages, 0), coalesce(p.checksum, 0)
      FROM pg_catalog.pg_largeobject_metadata m LEFT JOIN (
        SELECT t.loid, pg_catalog.count(*) AS pages, \(RowHash.sum(RowHash.expression)) AS checksum
          FROM pg_catalog.pg_largeobject AS t GROUP BY t.loid) p ON p.loid = m.oid
     ORDER BY m.oid
    """

  package static func list(_ session: PostgresSession) async throws -> [LargeObject] {
    try await session.query(listing).rows.map { row in
      LargeObject(
        oid: UInt32(row.string(0)) ?? 0, owner: row.string(1), privileges: row[2], pages: row.string(3),
        checksum: row.string(4))
    }
  }

  /// - Returns: objects of the source that the target lacks or has otherwise, and oids that only the target has.
  package static func changes(source: [LargeObject], target: [LargeObject]) -> (copy: [LargeObject], remove: [UInt32]) {
    let theirs = Dictionary(target.map { ($0.oid, $0) }) { first, _ in first }
    let ours = Set(source.map(\.oid))
    return (source.filter { theirs[$0.oid] != $0 }, target.map(\.oid).filter { !ours.contains($0) })
  }

  /// Compares both sides: by one sum each, and only where these differ object by object.
  package static func plan(source: PostgresSession, target: PostgresSession) async throws -> Plan {
    async let sumsHere = SumQueries(session: source).largeObjects()
    async let sumsThere = SumQueries(session: target).largeObjects()
    if try await sumsHere == sumsThere { return Plan() }
    async let here = list(source)
    async let there = list(target)
    let present = try await there
    let (copy, remove) = changes(source: try await here, target: present)
    return Plan(copy: copy, remove: remove, existing: Set(present.map(\.oid)))
  }

  /// Carries a plan out on the side to be opened. What differs is made anew, page by page, holes left out, so that the
  /// catalogs of both sides hold the same rows.
  package static func run(
    _ plan: Plan, source: PostgresSession, target: PostgresSession, progress: @Sendable (String) -> Void = { _ in }
  ) async throws {
    var bytes: UInt64 = 0
    try await target.script("BEGIN")
    var inTransaction = 0
    // Each object is a lock until the end of its transaction. A run that is cut off between two compares again.
    func countObject() async throws {
      inTransaction += 1
      guard inTransaction == objectsAtOnce else { return }
      inTransaction = 0
      try await target.script("COMMIT")
      try await target.script("BEGIN")
    }
    do {
      for oid in plan.remove {
        try await target.query("SELECT pg_catalog.lo_unlink($1::oid)", [String(oid)])
        try await countObject()
      }
      for object in plan.copy {
        if plan.existing.contains(object.oid) {
          try await target.query("SELECT pg_catalog.lo_unlink($1::oid)", [String(object.oid)])
        }
        try await target.query("SELECT pg_catalog.lo_create($1::oid)", [String(object.oid)])
        bytes += try await copyPages(of: object.oid, source, target)
        try await setOwnerAndPrivileges(object, target)
        try await countObject()
      }
      try await target.script("COMMIT")
    } catch {
      _ = try? await target.script("ROLLBACK")
      throw error
    }
    if !plan.copy.isEmpty { progress("copied \(plan.copy.count) large objects, \(bytes >> 10) kB") }
  }

  private static func copyPages(
    of oid: UInt32, _ source: PostgresSession, _ target: PostgresSession
  ) async throws -> UInt64 {
    var bytes: UInt64 = 0
    var last = -1
    while true {
      let rows = try await source.query(
        """
        SELECT pageno, pg_catalog.encode(data, 'hex'), pageno * (pg_catalog.current_setting('block_size')::bigint / 4)
          FROM pg_catalog.pg_largeobject WHERE loid = $1::oid AND pageno > $2::integer ORDER BY pageno LIMIT \(pagesAtOnce)
        """, [String(oid), String(last)]
      ).rows
      guard let end = rows.last?.int(0) else { return bytes }
      // A page each and in order: short pages in the middle stay short. An empty one is what lo_truncate leaves at a page's
      // beginning, and writing nothing would not make it.
      let pages = rows.map { "(\($0.string(2))::bigint, '\\x\($0.string(1))'::bytea)" }.joined(separator: ", ")
      try await target.script(
        """
        SELECT CASE WHEN page = '' THEN pg_catalog.lo_truncate64(pg_catalog.lo_open(\(oid)::oid, \(writing)), place)::text
                    ELSE pg_catalog.lo_put(\(oid)::oid, place, page)::text END
          FROM (VALUES \(pages)) AS v (place, page)
        """)
      bytes += rows.reduce(0) { $0 + UInt64($1.string(1).utf8.count / 2) }
      last = end
    }
  }

  private static func setOwnerAndPrivileges(_ object: LargeObject, _ target: PostgresSession) async throws {
    try await target.unseen("ALTER LARGE OBJECT \(object.oid) OWNER TO \(quotedIdentifier(object.owner))")
    guard let privileges = object.privileges else { return }
    // By GRANT, which notes the roles' dependencies; then to the letter, grantors and order included.
    let grantees = try await target.query(
      """
      SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::pg_catalog.regrole::text END
        FROM pg_catalog.aclexplode($1::aclitem[])
      """, [privileges]
    ).rows.map { $0.string(0) }
    for grantee in grantees {
      try await target.unseen("GRANT SELECT ON LARGE OBJECT \(object.oid) TO \(grantee)")
    }
    try await target.query(
      "UPDATE pg_catalog.pg_largeobject_metadata SET lomacl = $2::aclitem[] WHERE oid = $1::oid",
      [String(object.oid), privileges])
  }
}
