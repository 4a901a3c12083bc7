import ReplicationModel
import TestSupport

/// One thing that a source session does inside a transaction.
enum SourceStep: Codable, Equatable {
  /// Any failure of it is rolled back to a savepoint, and the transaction goes on.
  case guarded(String)
  /// A failure of it ends the transaction.
  case plain(String)
  /// COPY, and its rows as text.
  case copy(String, String)
}

/// A transaction of the source, and how it ends.
struct SourceTransaction: Codable, Equatable {
  enum End: String, Codable { case commit, rollback, prepare, prepareAndRollBack }

  /// Of the session, before it begins; what it prints and reads by must not matter to the stream.
  var settings: [String]
  var steps: [SourceStep]
  var end: End
}

/// One transaction, or two that run statement by statement in turn.
struct SourceUnit: Codable, Equatable {
  var transactions: [SourceTransaction]
  /// The seed of whose turn it is.
  var order: UInt64
  /// Whether the oldest prepared transaction is ended behind it.
  var settles: Bool
}

/// Random transactions over a generated schema.
struct TransactionGenerator {
  var random: SeededRandom
  let tables: [Table]
  let materializedView: String?
  private var salt = 0

  init(seed: UInt64, tables: [Table], materializedView: String?) {
    random = SeededRandom(mixing: seed ^ 0xABCD_EF01)
    self.tables = tables
    self.materializedView = materializedView
  }

  private static let settings = [
    "SET DateStyle = 'German, DMY'", "SET DateStyle = 'SQL, MDY'", "SET DateStyle = 'Postgres, YMD'",
    "SET IntervalStyle = 'iso_8601'", "SET IntervalStyle = 'sql_standard'", "SET TimeZone = 'Asia/Kathmandu'",
    "SET bytea_output = 'escape'", "SET extra_float_digits = -5", "SET quote_all_identifiers = on",
    "SET search_path = pg_catalog", "SET xmloption = document", "SET synchronous_commit = off",
  ]

  mutating func units(transactions: Int) -> [SourceUnit] {
    var units: [SourceUnit] = []
    var remaining = transactions
    while remaining > 0 {
      let count = random.one(in: 4) ? 2 : 1
      units.append(
        SourceUnit(
          transactions: (0..<count).map { _ in transaction() }, order: random.next(), settles: random.one(in: 3)))
      remaining -= count
    }
    return units
  }

  private mutating func transaction() -> SourceTransaction {
    var steps: [SourceStep] = []
    let count = random.one(in: 12) ? 0 : random.one(in: 10) ? random.int(15...40) : random.int(1...6)
    for _ in 0..<count { steps += step() }
    let end: SourceTransaction.End =
      switch random.int(0...19) {
      case 0: .rollback
      case 1, 2: .prepare
      case 3: .prepareAndRollBack
      default: .commit
      }
    var settings = ["RESET ALL"]
    if random.one(in: 3) { for _ in 0..<random.int(1...4) { settings.append(random.pick(Self.settings)) } }
    settings.append("SET lock_timeout = '15ms'")
    return SourceTransaction(settings: settings, steps: steps, end: end)
  }

  private mutating func step() -> [SourceStep] {
    if random.one(in: 14) {
      let inner = statements()
      return [.plain("SAVEPOINT undone")] + inner.map { .guarded($0) } + [.plain("ROLLBACK TO undone")]
    }
    if random.one(in: 20), let copy = copy() { return [copy] }
    if random.one(in: 25) { return undoneDefinition() }
    return statements().map { random.one(in: 25) ? .plain($0) : .guarded($0) }
  }

  private mutating func statements() -> [String] {
    if random.one(in: 16) { return [message()] }
    if random.one(in: 24) { return definition() }
    if random.one(in: 30) { return [truncate()] }
    let table = random.pick(tables)
    guard table.hasIdentity else { return [insert(table)] }
    if table.columns.isEmpty {
      return [random.one(in: 3) ? "DELETE FROM \(table.only) AS u WHERE \(chosen(table, 1))" : insert(table)]
    }
    switch random.int(0...29) {
    case 0...6: return [insert(table)]
    case 7...12: return [update(table, rows: random.int(1...3))]
    case 13: return [update(table, rows: 50)]
    case 14: return ["UPDATE \(table.only) AS u SET \(assignment(table, "u."))"]
    case 15...17: return changeKey(table)
    case 18, 19: return ["DELETE FROM \(table.only) AS u WHERE \(chosen(table, random.int(1...3)))"]
    case 20: return [reinsert(table)]
    case 21: return insertAndDelete(table)
    case 22: return (0..<random.int(2...5)).map { _ in update(table, rows: 1, fixedSalt: salt + 1000) }
    case 23: return onConflict(table)
    case 24: return merge(table)
    case 25, 26: return swap(table)
    case 27: return identityDefault(table)
    case 28:
      return [
        "INSERT INTO \(table.quoted) (\(table.list(table.stored))) OVERRIDING SYSTEM VALUE "
          + "SELECT \(table.list(table.stored)) FROM \(table.only) LIMIT 3"
      ]
    default: return deleteAndInsertKey(table)
    }
  }

  // MARK: rows

  private mutating func insert(_ table: Table) -> String {
    insertStatement(table, rows: random.pick([1, 1, 2, 5]), random: &random)
  }

  /// Some rows, which ones depends on their text and on a number only.
  private mutating func chosen(_ table: Table, _ count: Int, fixedSalt: Int? = nil) -> String {
    salt += 1
    return "(u.tableoid, u.ctid) IN (SELECT pick.tableoid, pick.ctid FROM \(table.only) AS pick "
      + "ORDER BY pg_catalog.md5(\(keyText(table)) || '\(fixedSalt ?? salt)'), pick.ctid LIMIT \(count))"
  }

  private func keyText(_ table: Table) -> String {
    table.columns.isEmpty
      ? "''" : "coalesce(pick.\(table.columns[table.key.first ?? 0].quoted)::pg_catalog.text, '')"
  }

  private mutating func assignments(_ table: Table, _ candidates: [Int], atMost: Int) -> String? {
    var columns = candidates
    columns.shuffle(using: &random)
    columns = Array(columns.prefix(random.int(1...atMost)))
    guard !columns.isEmpty else { return nil }
    return columns.map { "\(table.columns[$0].quoted) = \(literal(table.columns[$0], &random))" }
      .joined(separator: ", ")
  }

  private func assignment(_ table: Table, _ prefix: String) -> String {
    guard let column = table.plain.first else { return "" }
    return "\(table.columns[column].quoted) = \(prefix)\(table.columns[column].quoted)"
  }

  private mutating func update(_ table: Table, rows: Int, fixedSalt: Int? = nil) -> String {
    let outsideKey = table.plain.filter { !table.key.contains($0) && table.columns[$0].isNullable }
    let set = assignments(table, outsideKey.isEmpty ? table.plain : outsideKey, atMost: 3)
    return "UPDATE \(table.only) AS u SET \(set ?? assignment(table, "u.")) "
      + "WHERE \(chosen(table, rows, fixedSalt: fixedSalt))"
  }

  private mutating func changeKey(_ table: Table) -> [String] {
    let candidates = table.plain.filter { table.key.contains($0) || !table.columns[$0].isNullable }
    guard let column = candidates.randomElement(using: &random) else { return [insert(table)] }
    let name = table.columns[column].quoted
    if ["integer", "bigint"].contains(table.columns[column].type.sql), random.one(in: 2) {
      return ["UPDATE \(table.only) AS u SET \(name) = \(name) + \(random.int(100...9999))"]
    }
    return [
      "UPDATE \(table.only) AS u SET \(name) = \(literal(table.columns[column], &random)) "
        + "WHERE \(chosen(table, 1))"
    ]
  }

  private mutating func reinsert(_ table: Table) -> String {
    "WITH gone AS (DELETE FROM \(table.only) AS u WHERE \(chosen(table, 2)) RETURNING \(table.list(table.stored))) "
      + "INSERT INTO \(table.quoted) (\(table.list(table.stored))) OVERRIDING SYSTEM VALUE "
      + "SELECT \(table.list(table.stored)) FROM gone"
  }

  private mutating func insertAndDelete(_ table: Table) -> [String] {
    [
      insertStatement(table, rows: 1, random: &random),
      "DELETE FROM \(table.only) AS u WHERE (u.tableoid, u.ctid) IN (SELECT x.tableoid, x.ctid "
        + "FROM \(table.only) AS x ORDER BY x.ctid DESC LIMIT 1)",
    ]
  }

  /// Deletes the row of one key and inserts another one of the same key.
  private mutating func deleteAndInsertKey(_ table: Table) -> [String] {
    guard !table.key.isEmpty else { return [insert(table)] }
    let values = table.stored.map { literal(table.columns[$0], &random) }
    let condition = table.key.map { key in
      let position = table.stored.firstIndex(of: key) ?? 0
      return "u.\(table.columns[key].quoted)::pg_catalog.text = \(values[position])"
    }.joined(separator: " AND ")
    let insert =
      "INSERT INTO \(table.quoted) (\(table.list(table.stored))) OVERRIDING SYSTEM VALUE "
      + "VALUES (\(values.joined(separator: ", ")))"
    let delete = "DELETE FROM \(table.only) AS u WHERE \(condition)"
    return random.one(in: 2) ? [delete, insert] : [insert, delete, insert]
  }

  private mutating func onConflict(_ table: Table) -> [String] {
    let base = insertStatement(table, rows: random.int(1...3), random: &random)
    guard !table.key.isEmpty, let set = assignments(table, table.plain, atMost: 2), random.one(in: 2) else {
      return [base + " ON CONFLICT DO NOTHING"]
    }
    return [base + " ON CONFLICT (\(table.list(table.key))) DO UPDATE SET \(set)"]
  }

  private mutating func merge(_ table: Table) -> [String] {
    guard let set = assignments(table, table.plain, atMost: 2), !table.stored.isEmpty else { return [insert(table)] }
    let values = table.stored.map { literal(table.columns[$0], &random) }.joined(separator: ", ")
    return [
      """
      MERGE INTO \(table.quoted) AS u USING (SELECT pick.ctid AS place, pick.tableoid AS home FROM \(table.only) AS pick
        ORDER BY pick.ctid LIMIT 3) AS s ON u.ctid = s.place AND u.tableoid = s.home
        AND s.place::pg_catalog.text <> '(0,\(random.int(1...4)))'
      WHEN MATCHED AND s.place::pg_catalog.text > '(0,2)' THEN UPDATE SET \(set)
      WHEN MATCHED THEN DELETE
      WHEN NOT MATCHED THEN INSERT (\(table.list(table.stored))) OVERRIDING SYSTEM VALUE VALUES (\(values))
      """
    ]
  }

  /// Two rows exchange the values of a unique column: in one statement, which a deferrable constraint allows, or
  /// through a temporary value.
  private mutating func swap(_ table: Table) -> [String] {
    guard let unique = table.unique else { return [update(table, rows: 2)] }
    let name = table.columns[unique].quoted
    let low = "(SELECT min(\(name)) FROM \(table.only))"
    let high = "(SELECT max(\(name)) FROM \(table.only))"
    if random.one(in: 2) {
      return ["UPDATE \(table.only) AS u SET \(name) = \(low) + \(high) - \(name) WHERE \(name) IN (\(low), \(high))"]
    }
    return [
      "UPDATE \(table.only) AS u SET \(name) = -1 - \(name) WHERE \(name) IN (\(low), \(high))",
      "UPDATE \(table.only) AS u SET \(name) = -1 - (SELECT sum(\(name)) FROM \(table.only) WHERE \(name) < 0) "
        + "+ \(name) WHERE \(name) < 0",
    ]
  }

  private mutating func identityDefault(_ table: Table) -> [String] {
    guard let column = table.columns.first(where: { $0.identity != .no }) else { return [update(table, rows: 1)] }
    return ["UPDATE \(table.only) AS u SET \(column.quoted) = DEFAULT WHERE \(chosen(table, 2))"]
  }

  private mutating func copy() -> SourceStep? {
    let table = random.pick(tables)
    let columns = table.stored
    guard !columns.isEmpty else { return nil }
    var rows = ""
    for _ in 0..<random.int(1...8) {
      let fields = columns.map { column in
        if table.columns[column].isNullable && random.one(in: 6) { return "\\N" }
        var escaped = ""
        for scalar in table.columns[column].type.value(&random).unicodeScalars {
          switch scalar {
          case "\\": escaped += "\\\\"
          case "\n": escaped += "\\n"
          case "\r": escaped += "\\r"
          case "\t": escaped += "\\t"
          default: escaped.unicodeScalars.append(scalar)
          }
        }
        return escaped
      }
      rows += fields.joined(separator: "\t") + "\n"
    }
    return .copy("COPY \(table.quoted) (\(table.list(columns))) FROM STDIN", rows)
  }

  // MARK: others

  private mutating func truncate() -> String {
    var list = [random.pick(tables)]
    if random.one(in: 2) { list.append(random.pick(tables)) }
    let names = list.map { ($0.isAlone && random.one(in: 2) ? "ONLY " : "") + $0.quoted }
    return "TRUNCATE " + names.joined(separator: ", ") + (random.one(in: 2) ? " RESTART IDENTITY" : "")
      + (list.contains { $0.isReferenced } && random.one(in: 2) ? " CASCADE" : "")
  }

  private mutating func message() -> String {
    let prefix = quotedLiteral(random.one(in: 3) ? "x, sz: \(random.int(0...30)) content:" : randomText(&random))
    let content =
      switch random.int(0...3) {
      case 0: "'\\x00ff0a2c20737a3a2033'::pg_catalog.bytea"
      case 1: quotedLiteral(", sz: \(random.int(0...9)) content:" + randomText(&random))
      default: quotedLiteral(randomText(&random))
      }
    return "SELECT pg_catalog.pg_logical_emit_message(\(random.one(in: 2)), \(prefix), \(content))"
  }

  private mutating func definition() -> [String] {
    salt += 1
    let table = random.pick(tables)
    switch random.int(0...7) {
    case 0:
      guard let materializedView else { fallthrough }
      return ["REFRESH MATERIALIZED VIEW \(random.one(in: 2) ? "CONCURRENTLY " : "")\(materializedView)"]
    case 1:
      guard let column = table.columns.first(where: { $0.type.canBeKey }) else { fallthrough }
      return ["CREATE INDEX ON \(table.quoted) (\(column.quoted))"]
    case 2:
      return [
        "CREATE TEMP TABLE passing_\(salt) (id integer PRIMARY KEY, t text) ON COMMIT DROP",
        "INSERT INTO passing_\(salt) SELECT g, 'x' FROM pg_catalog.generate_series(1, 5) g",
        "UPDATE passing_\(salt) SET t = 'y'",
      ]
    case 3:
      // Writes the whole table anew, which the stream must not show.
      guard let column = table.columns.first(where: { $0.type.canBeKey }) else { fallthrough }
      return [
        "CREATE INDEX \"order \(salt)\" ON \(table.quoted) (\(column.quoted))",
        "CLUSTER \(table.quoted) USING \"order \(salt)\"",
      ]
    case 4:
      guard let column = table.plain.first(where: { table.columns[$0].type.sql == "text" }) else { fallthrough }
      let name = table.columns[column].quoted
      return ["ALTER TABLE \(table.quoted) ALTER \(name) TYPE text USING (\(name) || '')"]
    case 5:
      guard let column = table.columns.first else { fallthrough }
      return [
        "ALTER TABLE \(table.quoted) ALTER \(column.quoted) SET STATISTICS 7",
        "COMMENT ON TABLE \(table.quoted) IS 'it''s ]:'",
      ]
    case 6:
      return [
        "CREATE TABLE public.\"made \(salt)\" (id integer PRIMARY KEY)", "DROP TABLE public.\"made \(salt)\"",
        "CREATE FUNCTION public.\"made \(salt)\"() RETURNS integer LANGUAGE sql RETURN 1",
      ]
    default: return ["ANALYZE \(table.quoted)"]
    }
  }

  /// Definitions that change a table, rows under them, and all of it rolled back in mid-transaction.
  private mutating func undoneDefinition() -> [SourceStep] {
    salt += 1
    let table = random.pick(tables)
    let change = random.pick([
      "ADD COLUMN \"passing \(salt)\" integer NOT NULL DEFAULT 7", "RENAME TO \"passing \(salt)\"",
      "REPLICA IDENTITY FULL", "ADD CONSTRAINT \"passing \(salt)\" CHECK (true)", "SET UNLOGGED",
    ])
    let rows = change.hasPrefix("RENAME") ? [] : [insert(table)]
    return [.plain("SAVEPOINT undone")]
      + (["ALTER TABLE \(table.quoted) \(change)"] + rows).map { .guarded($0) }
      + [.plain("ROLLBACK TO undone"), .guarded(insert(table))]
  }
}
