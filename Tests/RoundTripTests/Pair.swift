import BlockingIO
import ChangeApply
import DatabaseSync
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// A source database, copies of it as targets, and a slot and an origin for each target.
struct Pair {
  let server: Cluster
  let source: String
  private(set) var targets: [String] = []
  private(set) var start = LSN.invalid

  /// - Parameter template: `CREATE DATABASE`'s options.
  init(_ server: Cluster, named source: String, options: String = "TEMPLATE common") throws {
    self.server = server
    self.source = source
    try server.connect().script("CREATE DATABASE \(quotedIdentifier(source)) \(options)")
  }

  static let publication = "round trip"

  /// Copies the source as it is now, and makes the slots: what is committed from here on is in their streams.
  mutating func handOff(to names: [String], plugin: OutputPlugin = .testDecoding) throws {
    let admin = try server.connect()
    for name in names {
      let target = "\(source)_\(name)"
      try admin.script("CREATE DATABASE \(quotedIdentifier(target)) TEMPLATE \(quotedIdentifier(source))")
      targets.append(target)
    }
    let connection = try server.connect(source)
    if plugin.needsPublication {
      try connection.script("CREATE PUBLICATION \(quotedIdentifier(Self.publication)) FOR ALL TABLES")
    }
    for target in targets {
      try connection.query("SELECT pg_create_logical_replication_slot($1, $2)", [target, plugin.rawValue])
    }
    start = try position(admin)
    for target in targets {
      try admin.query("SELECT pg_replication_origin_create($1)", [target])
      try admin.query("SELECT pg_replication_origin_advance($1, $2::pg_lsn)", [target, start.description])
    }
  }

  /// Removes everything.
  func drop() throws {
    let admin = try server.connect()
    for target in targets {
      _ = try whenFree {
        try admin.query(
          "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname IN ($1, $2)",
          [target, HandOffNames.secondOrigin(beside: target)])
      }
      _ = try whenFree { try admin.query("SELECT pg_drop_replication_slot($1)", [target]) }
      try admin.script("DROP DATABASE \(quotedIdentifier(target)) WITH (FORCE)")
    }
    try admin.script("DROP DATABASE \(quotedIdentifier(source)) WITH (FORCE)")
  }

  func position(_ connection: PostgresConnection) throws -> LSN {
    try #require(connection.query("SELECT pg_current_wal_insert_lsn()").first.flatMap { LSN($0) })
  }

  /// Ends the stream: the position behind all that was committed, and one transaction more, so that it shows.
  func end() throws -> LSN {
    let connection = try server.connect(source)
    let end = try position(connection)
    try connection.query("SELECT pg_logical_emit_message(true, 'end', '')")
    return end
  }

  /// What the slot of the first target has, which is left as it is. Waits for a walsender that is about to end.
  func peek(_ plugin: OutputPlugin, until deadline: Deadline) throws -> [StreamEntry] {
    let connection = try server.connect(source)
    let options = plugin.options(publication: Self.publication).flatMap { [$0.name, $0.value] }
    let list = options.map { quotedLiteral($0) }.joined(separator: ", ")
    return try whenFree(until: deadline) {
      try connection.query(
        """
        SELECT lsn, encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes(
          $1, NULL, NULL, VARIADIC ARRAY[\(list)])
        """, [targets[0]]
      ).rows.map { StreamEntry(lsn: LSN($0.string(0)) ?? .invalid, hexadecimal: $0.string(1)) }
    }
  }

  // MARK: comparison

  /// Rows of every logged table, sorted, as text; the first that differ.
  func differences(from target: String) throws -> [String] {
    let (theirs, ours) = (try rows(of: source), try rows(of: target))
    var found: [String] = []
    for (table, left) in theirs.sorted(by: { $0.key < $1.key }) {
      guard let right = ours[table] else { continue }
      if left == right { continue }
      let missing = subtract(left, right).prefix(3).map { "  only on the source: \($0.prefix(300))" }
      let extra = subtract(right, left).prefix(3).map { "  only on the target: \($0.prefix(300))" }
      found.append(
        (["\(table): \(left.count) rows on the source, \(right.count) on the target"] + missing + extra)
          .joined(separator: "\n"))
    }
    if theirs.keys.sorted() != ours.keys.sorted() { found.append("the tables differ") }
    return found
  }

  private func subtract(_ left: [[UInt8]], _ right: [[UInt8]]) -> [String] {
    var counts: [[UInt8]: Int] = [:]
    for row in right { counts[row, default: 0] += 1 }
    var rest: [String] = []
    for row in left {
      if let count = counts[row], count > 0 {
        counts[row] = count - 1
      } else {
        rest.append(String(decoding: row, as: UTF8.self))
      }
    }
    return rest
  }

  private func rows(of database: String) throws -> [String: [[UInt8]]] {
    var parameters = server.parameters(database)
    parameters.settings = canonicalTextSettings
    let connection = try PostgresConnection.connect(parameters)
    try connection.script("SELECT set_config('client_encoding', current_setting('server_encoding'), false)")
    let names = try connection.query(
      """
      SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 1
      """)
    var result: [String: [[UInt8]]] = [:]
    for row in 0..<names.rowCount {
      let name = try #require(names.bytes(row, 1))
      let select =
        "SELECT whole::text FROM ONLY ".utf8 + name + " AS whole ORDER BY whole::text COLLATE \"C\"".utf8
      // In a database of another encoding than UTF-8 the name has to go as the bytes that it has.
      let rows = try query(connection, select)
      result[String(decoding: name, as: UTF8.self)] = (0..<rows.rowCount).map { rows.bytes($0, 0) ?? [] }
    }
    return result
  }

  /// The statement's text is bytes: by way of a function that makes a cursor of them.
  private func query(_ connection: PostgresConnection, _ sql: [UInt8]) throws -> QueryResult {
    if let text = String(validating: sql, as: UTF8.self), text.utf8.allSatisfy({ $0 < 128 }) {
      return try connection.query(text)
    }
    let hexadecimal = "\\x" + sql.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    try connection.script("BEGIN")
    try connection.script(
      "CREATE FUNCTION pg_temp.run(refcursor, text) RETURNS refcursor LANGUAGE plpgsql AS "
        + "'BEGIN OPEN $1 FOR EXECUTE $2; RETURN $1; END'")
    try connection.query(
      "SELECT pg_temp.run('rows', convert_from($1::bytea, getdatabaseencoding()))", [hexadecimal])
    let result = try connection.script("FETCH ALL FROM rows")
    try connection.script("ROLLBACK")
    return result
  }
}

/// A record of a stream, and where it stands.
struct StreamEntry: Equatable, Sendable {
  var lsn: LSN
  var bytes: [UInt8]
}

extension StreamEntry {
  init(lsn: LSN, hexadecimal: String) {
    func value(_ digit: UInt8) -> UInt8 { digit < UInt8(ascii: "a") ? digit - 48 : digit - 87 }
    let digits = Array(hexadecimal.utf8)
    self.init(
      lsn: lsn,
      bytes: stride(from: 0, to: digits.count, by: 2).map { value(digits[$0]) << 4 | value(digits[$0 + 1]) })
  }
}
