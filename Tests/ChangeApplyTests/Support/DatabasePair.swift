import BlockingIO
import ChangeApply
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import StatementReplication
import TestSupport
import Testing

@testable import DatabaseSync

/// A source database with a logical slot and a target database that began as its copy, on the suite's server.
final class DatabasePair {
  struct Record {
    var lsn: LSN
    var bytes: [UInt8]

    init(_ lsn: LSN, _ text: String) {
      self.lsn = lsn
      bytes = Array(text.utf8)
    }

    init(_ lsn: LSN, hexadecimal: String) {
      self.lsn = lsn
      let digits = hexadecimal.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
      bytes = stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }
  }

  let name = "t_" + HandOffNames.random().nonce
  let cluster: Cluster
  let source: PostgresConnection
  let target: PostgresConnection
  let start: LSN
  private let plugin: OutputPlugin
  var origin: String { name }
  /// The source's table of statements, where there is one.
  private(set) var statements: RelationName?

  /// - Parameter carriesDDL: whether the source writes its statements down.
  init(
    _ schema: String, encoding: String = "UTF8", carriesDDL: Bool = false, plugin: OutputPlugin = .testDecoding
  ) throws {
    self.plugin = plugin
    cluster = try #require(Cluster.current)
    let admin = try PostgresConnection.connect(cluster.parameters("postgres"))
    try admin.script(
      "CREATE DATABASE \(name)_source TEMPLATE template0 ENCODING '\(encoding)' LC_COLLATE 'C' LC_CTYPE 'C'")
    var parameters = cluster.parameters(name + "_source")
    parameters.settings = ["client_min_messages": "warning", "client_encoding": "UTF8"]
    let maker = try PostgresConnection.connect(parameters)
    try maker.script(schema)
    maker.close()
    try admin.script("CREATE DATABASE \(name)_target TEMPLATE \(name)_source")
    source = try PostgresConnection.connect(parameters)
    parameters.database = name + "_target"
    target = try PostgresConnection.connect(parameters)
    if carriesDDL {
      let schema = HandOffNames.random().statementSchema
      statements = StatementRecorder.table(schema)
      try source.unseen(StatementRecorder.statements(schema).joined(separator: ";\n"))
    }
    if plugin.needsPublication { try source.script("CREATE PUBLICATION \(name) FOR ALL TABLES") }
    let slot = try source.query(
      "SELECT lsn FROM pg_create_logical_replication_slot($1, $2)", [name, plugin.name])
    start = try #require(slot.first.flatMap { LSN($0) })
    try admin.query("SELECT pg_replication_origin_create($1)", [origin])
    try admin.query("SELECT pg_replication_origin_advance($1, $2::pg_lsn)", [origin, start.description])
  }

  /// What the source has committed since the last call, as a walsender would send it: in the database's encoding.
  func changes() throws -> [Record] {
    var parameters = source.parameters
    parameters.settings = canonicalTextSettings.merging(["client_encoding": "UTF8"]) { $1 }
    let reader = try PostgresConnection.connect(parameters)
    let options = plugin.options(publication: name).map { ", \(quotedLiteral($0.name)), \(quotedLiteral($0.value))" }
    let result = try reader.query(
      """
      SELECT lsn, encode(data, 'hex') FROM pg_logical_slot_get_binary_changes($1, NULL, NULL\(options.joined()))
      """, [name])
    return try result.rows.map { Record(try #require(LSN($0.string(0))), hexadecimal: $0.string(1)) }
  }

  func applier(
    from start: LSN? = nil, limits: BatchLimits = BatchLimits(), strictUntil: LSN = .invalid,
    leavingOut: Set<LSN> = []
  ) throws -> ChangeApplier<TestDecodingParser> {
    try applier(
      of: TestDecodingParser(), from: start, limits: limits, strictUntil: strictUntil, leavingOut: leavingOut)
  }

  func applier<Parser: RecordParser>(
    of parser: Parser, from start: LSN? = nil, limits: BatchLimits = BatchLimits(), strictUntil: LSN = .invalid,
    leavingOut: Set<LSN> = []
  ) throws -> ChangeApplier<Parser> {
    try ChangeApplier(
      session: try openSession(), parser: parser, start: start ?? self.start, identity: "test", limits: limits,
      strictUntil: strictUntil, statements: statements, leavingOut: leavingOut,
      fates: SourceCatalogs(from: source.parameters, to: target.parameters))
  }

  /// A session that has just been left may hold the origin for a moment.
  private func openSession() throws -> ApplySession {
    // As a worker does.
    let writing = try WritingSettings.read(cluster.parameters(name + "_source"))
    return try whenFree {
      try ApplySession.open(cluster.parameters(name + "_target"), origin: origin, writing: writing)
    }
  }

  /// Applies as a worker does that has a backlog: in batches, and strictly where a batch has failed.
  /// Returns how often the stream was read again, and how many rows were missed.
  @discardableResult
  func applyBacklog(
    _ records: [Record], limits: BatchLimits = BatchLimits()
  ) throws -> (replays: Int, missedRows: UInt64) {
    var strictUntil = LSN.invalid
    for replays in 0..<20 {
      let progress = try progress()
      let applier = try applier(from: progress, limits: limits, strictUntil: strictUntil)
      applier.hasBacklog = true
      do throws(ApplyFailure) {
        try applier.apply(remaining(records, after: progress))
        try applier.commitGroup()
        return (replays, applier.counters.missedRows)
      } catch {
        guard applier.isBatching, !error.isTransient else { throw error }
        strictUntil = applier.replayEnd
      }
    }
    throw ConvoyError("test.endless", "the stream was replayed again and again")
  }

  /// What a walsender sends from there: transactions that end behind it.
  func remaining(_ records: [Record], after progress: LSN) -> [Record] {
    var result: [Record] = []
    var transaction: [Record] = []
    for record in records {
      transaction.append(record)
      guard record.text.hasPrefix("COMMIT") else { continue }
      if record.lsn > progress { result += transaction }
      transaction = []
    }
    return result
  }

  /// Runs the script on the source, what stands between two `;;` in a transaction of its own, and applies what it
  /// wrote.
  @discardableResult
  func replicate(_ script: String) throws -> ChangeApplier<TestDecodingParser> {
    for part in script.split(separator: ";;") { try source.script(String(part)) }
    let applier = try applier(from: try progress())
    try applier.apply(try changes())
    try applier.commitGroup()
    return applier
  }

  func progress(durable: Bool = false) throws -> LSN {
    let text = try target.query("SELECT pg_replication_origin_progress($1, $2::bool)", [origin, durable ? "t" : "f"])
    return try #require(text.first.flatMap { LSN($0) })
  }

  /// Every table's rows as text, by the table's name.
  func contents(_ connection: PostgresConnection) throws -> [String: [String]] {
    let tables = try connection.query(
      """
      SELECT c.oid::regclass::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      """)
    var result: [String: [String]] = [:]
    for table in tables.rows {
      let rows = try connection.query("SELECT t::text AS row FROM ONLY \(table.string(1)) t ORDER BY 1")
      result[table.string(0)] = rows.rows.map { $0.string(0) }
    }
    return result
  }

  func expectEqual(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let (left, right) = (try contents(source), try contents(target))
    for (table, rows) in left {
      #expect(right[table] == rows, "\(comment?.rawValue ?? "") table \(table)", sourceLocation: sourceLocation)
    }
  }
}

extension ChangeApplier {
  func apply(_ records: [DatabasePair.Record]) throws(ApplyFailure) {
    for record in records { try apply(record) }
  }

  func apply(_ record: DatabasePair.Record) throws(ApplyFailure) {
    let stored = StoredRecord(record.bytes)
    try apply(lsn: record.lsn, record: stored.bytes, in: stored.storage)
  }
}
