import BlockingIO
import Glibc
package import PostgresClient
package import ReplicationModel

/// An unlogged table, and what of it can be written.
package struct UnloggedTable: Sendable, Equatable {
  package var database: String
  package var name: RelationName
  /// In their order, without generated ones.
  package var columns: [String]
  /// Whether a foreign key leads here: such a table can be truncated only together with the other one.
  var isReferenced: Bool
  /// The database's own: what COPY writes and reads in it is converted on neither side.
  package var encoding: String

  fileprivate var target: String {
    name.quoted + (columns.isEmpty ? "" : " (\(columns.map(quotedIdentifier).joined(separator: ", ")))")
  }
}

/// Carries an unlogged table over, through this machine: COPY to COPY, in one transaction on the side to be opened.
package enum UnloggedCopy {
  /// Tables at a time.
  package static let limit = 4

  package static let listing = """
    SELECT n.nspname, c.relname,
           EXISTS (SELECT FROM pg_catalog.pg_constraint f
                    WHERE f.confrelid = c.oid AND f.conrelid <> c.oid AND f.contype = 'f'),
           pg_catalog.current_setting('server_encoding'), a.attname
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_attribute a
        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
     WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND c.oid >= 16384
       AND NOT (n.nspname ~ '^pgconvoy_[0-9a-f]{12}_ddl$' AND c.relname = 'rewritten')
     ORDER BY c.oid, a.attnum
    """

  package static func list(_ session: PostgresSession, _ database: String) async throws -> [UnloggedTable] {
    var tables: [UnloggedTable] = []
    for row in try await session.query(listing).rows {
      let name = RelationName(schema: row.string(0), name: row.string(1))
      if tables.last?.name.catalogBytes != name.catalogBytes {
        tables.append(
          UnloggedTable(
            database: database, name: name, columns: [], isReferenced: row.bool(2), encoding: row.string(3)))
      }
      if let column = row[4] { tables[tables.count - 1].columns.append(column) }
    }
    return tables
  }

  package static func reading(_ table: UnloggedTable) -> String {
    "COPY \(table.target) TO STDOUT (ENCODING \(quotedLiteral(table.encoding)))"
  }
  package static func writing(_ table: UnloggedTable) -> String {
    "COPY \(table.target) FROM STDIN (ENCODING \(quotedLiteral(table.encoding)))"
  }
  package static func emptying(_ table: UnloggedTable) -> String {
    (table.isReferenced ? "DELETE FROM ONLY " : "TRUNCATE ONLY ") + table.name.quoted
  }

  private static let settings = "SET lock_timeout = '10s'"
  /// No trigger fires and no foreign key is checked, as for what the streams bring.
  private static let writerSettings = "SET session_replication_role = replica"

  /// - Returns: how many bytes travelled.
  package static func run(
    _ table: UnloggedTable, from: ConnectionParameters, to: ConnectionParameters
  ) async throws -> UInt64 {
    let cancelled = WakeUp()
    return try await withTaskCancellationHandler {
      try await onDedicatedThread("unlogged") {
        let source = try open(from)
        let target = try open(to)
        try target.script(writerSettings)
        // What is copied is read the same under the settings that expressions in the table go by.
        _ = try target.set(WritingSettings.read(from), until: .after(.seconds(30)))
        try target.script("BEGIN")
        try target.script(emptying(table))
        let bytes = try copy(table, source, target, unless: cancelled)
        try target.script("COMMIT")
        return bytes
      }
    } onCancel: {
      cancelled.signal()
    }
  }

  private static func open(_ parameters: ConnectionParameters) throws -> PostgresConnection {
    let connection = try PostgresConnection.connect(parameters.canonical)
    try connection.script(settings)
    return connection
  }

  /// - Returns: how many bytes travelled.
  private static func copy(
    _ table: UnloggedTable, _ source: PostgresConnection, _ target: PostgresConnection, unless cancelled: WakeUp
  ) throws -> UInt64 {
    try source.sendCopyOut(reading(table))
    // A server that is gone is noticed by the connection; one that reads a large file for its few rows is not gone.
    try source.awaitCopyOut(until: .never)
    try target.script(writing(table))
    var bytes: UInt64 = 0
    var pending: [UInt8] = []
    func send() throws {
      guard !pending.isEmpty else { return }
      try target.writeCopyMessage(pending, until: .never)
      bytes += UInt64(pending.count)
      pending.removeAll(keepingCapacity: true)
    }
    while true {
      switch try source.readCopyMessage({ pending.append(contentsOf: $0) }) {
      case .message:
        if pending.count >= 1 << 16 { try send() }
      case .wouldBlock:
        try send()
        let ready = poll(
          [(source.fileDescriptor, Int16(POLLIN)), (cancelled.fileDescriptor, Int16(POLLIN))],
          until: .never)
        if ready[1] != 0 { throw CancellationError() }
        try source.consumeInput()
      case .end:
        try send()
        try target.finishCopyIn(until: .never)
        return bytes
      }
    }
  }
}
