import Inventory
package import MigrationCore

/// The source's databases as a whole, and what is going on in them.
package enum ClusterChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.databases", "the inventory selects the source's databases", databases),
    PreflightCheck("source.encodings", "each database's text has a known encoding", encodings),
    PreflightCheck("source.open-transactions", "no transaction stays open for long", transactions),
    PreflightCheck("source.prepared-transactions", "no transaction is prepared", prepared),
  ]

  @Sendable package static func databases(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let cluster = try facts.cluster.get()
    let host = facts.name(.source)
    let selected = cluster.selected(by: facts.migration.databases)
    var findings: [Finding] = []
    if selected.isEmpty {
      findings.append(
        Finding(
          .error, "preflight.no-databases", host: host, "the inventory selects no database of the source",
          consequence: "there is nothing to migrate", remedy: "compare 'databases' and 'except' with \\l on the source"
        ))
    }
    for pattern in facts.migration.databases.include ?? []
    where !cluster.databases.contains(where: { pattern.matches($0.name) }) {
      findings.append(
        Finding(
          .warning, "preflight.unmatched-pattern", host: host, object: pattern.text,
          "no database of the source matches '\(pattern.text)'", consequence: "the entry selects nothing",
          remedy: "compare 'databases' with \\l on the source"))
    }
    let maintenance = facts.migration.source.postgres.maintenanceDatabase
    let others = cluster.databases.filter { database in
      database.takesConnections && !database.isTemplate && !selected.contains(database) && database.name != maintenance
    }
    if !others.isEmpty && !selected.isEmpty {
      findings.append(
        Finding(
          .warning, "preflight.unselected-databases", host: host,
          "not selected: " + shortList(others.map(\.name)),
          consequence: "they come with the copy but get no changes: after the hand-off they are stale",
          remedy: "select them, or drop them on the target after the cutover"))
    }
    let templates = cluster.databases.filter {
      $0.takesConnections && $0.isTemplate && !["template0", "template1"].contains($0.name)
    }
    if !templates.isEmpty {
      findings.append(
        Finding(
          .warning, "preflight.template-databases", host: host, object: templates[0].name,
          "databases that are templates: " + shortList(templates.map(\.name)),
          consequence: "they come with the copy but get no changes: after the hand-off they are stale",
          remedy: "ALTER DATABASE … IS_TEMPLATE false until the cutover, or change nothing in them until then"))
    }
    if let twins = sameToUnicode(cluster.databases.filter(\.takesConnections).map(\.name)) {
      findings.append(
        Finding(
          .error, "preflight.equal-names", host: host, object: twins.0,
          "databases \(twins.0) and \(twins.1) have one name, to Unicode: only the bytes differ",
          consequence: "what concerns one of them would be said of the other",
          remedy: "ALTER DATABASE … RENAME one of them"))
    }
    let closed = cluster.databases.filter { !$0.takesConnections && $0.name != "template0" }
    if !closed.isEmpty {
      findings.append(
        Finding(
          .note, "preflight.closed-databases", host: host,
          "take no connections: " + shortList(closed.map(\.name)),
          consequence: "they come with the copy and get no changes, which nobody can make either"))
    }
    return findings
  }

  /// Two names of different bytes that are the same when composed: é, and e with its accent behind it.
  private static func sameToUnicode(_ names: [String]) -> (String, String)? {
    var known: Set<String> = []
    for name in names where !known.insert(name).inserted {
      return names.first { $0 == name }.map { ($0, name) }
    }
    return nil
  }

  @Sendable static func encodings(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let unknown = try facts.selected().filter { $0.encoding == "SQL_ASCII" }.map(\.name)
    guard !unknown.isEmpty else { return [] }
    return [
      Finding(
        .note, "preflight.sql-ascii", host: facts.name(.source), "encoding SQL_ASCII: " + shortList(unknown),
        consequence: "text is carried byte by byte, valid in no encoding or in several")
    ]
  }

  @Sendable package static func transactions(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try facts.cluster.get().transactions.map { transaction in
      Finding(
        .warning, "preflight.long-transaction", host: facts.name(.source), database: transaction.database,
        object: "pid \(transaction.pid)",
        "pid \(transaction.pid) has had a transaction open for \(transaction.seconds) s: \(transaction.query)",
        consequence: transaction.hasWritten
          ? "the hand-off waits for its end" : "the hand-off waits for its end once it has written",
        remedy: "SELECT pg_terminate_backend(\(transaction.pid))")
    }
  }

  @Sendable package static func prepared(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    try facts.cluster.get().prepared.map { transaction in
      Finding(
        .warning, "preflight.prepared-transaction", host: facts.name(.source), database: transaction.database,
        object: transaction.gid, "transaction '\(transaction.gid)' was prepared \(transaction.seconds) s ago",
        consequence: "the hand-off waits for its end, and no session shows who will end it",
        remedy: "COMMIT PREPARED or ROLLBACK PREPARED '\(transaction.gid)', in that database")
    }
  }
}
