import BlockingIO
import PostgresClient
import ReplicationModel

/// The session beside an apply session that takes every other batch while the target is what the stream waits for, with a
/// replication origin of its own: an origin belongs to one session at a time.
///
/// For one thread at a time.
package final class SecondSession {
  private let parameters: ConnectionParameters
  private let origin: String
  private let writing: WritingSettings
  let interrupt = WakeUp()
  private var session: ApplySession?

  /// Origins and connections that the server must still have room for, for whoever else needs them.
  private static let spareOrigins = 4
  private static let spareConnections = 12

  init(_ parameters: ConnectionParameters, origin: String, _ writing: WritingSettings) {
    self.parameters = parameters
    self.origin = origin
    self.writing = writing
  }

  package func close() {
    session?.close()
    session = nil
  }

  /// Takes the origin once, if there is one. Then no session of an earlier worker can commit anything any more: none has
  /// it, and one that took it now would find the first session of its worker gone.
  ///
  /// - Parameter first: holds the first origin, so that no other worker begins meanwhile.
  /// - Returns: its progress.
  func takeUp(_ first: PostgresConnection) throws(PostgresError) -> LSN? {
    guard try exists(first) else { return nil }
    do throws(PostgresError) {
      let session = try take(ApplySession.connect(parameters, interrupt: interrupt))
      defer { session.close() }
      return try session.progress()
    } catch  where error.sqlState == .configurationLimitExceeded {
      // There is no room for its progress, so it has none, and nobody holds it.
      return nil
    }
  }

  private func exists(_ connection: PostgresConnection) throws(PostgresError) -> Bool {
    try connection.query(
      "SELECT FROM pg_catalog.pg_replication_origin WHERE roname = $1", [origin], until: .after(.seconds(30))
    ).rowCount > 0
  }

  /// The session; nil where the server has no room for it.
  ///
  /// - Parameter first: what the worker writes in otherwise. Who holds the second origin and has lost the first one must
  ///   not commit anything: another worker may have begun.
  package func open(beside first: ApplySession.Backend) -> ApplySession? {
    if let session { return session }
    do throws(PostgresError) {
      let connection = try ApplySession.connect(parameters, interrupt: interrupt)
      try makeOrigin(connection)
      var session = try take(connection)
      self.session = session
      guard try first.isThere(session.connection) else {
        close()
        return nil
      }
      // Others may have taken theirs meanwhile.
      guard try hasRoom(session.connection, alreadyTaken: true) else {
        try withdraw(session)
        close()
        return nil
      }
      try session.adopt(writing)
      self.session = session
      try session.connection.enterPipeline()
      return session
    } catch {
      close()
      return nil
    }
  }

  /// Gives its place back, which has no progress yet.
  private func withdraw(_ session: ApplySession) throws(PostgresError) {
    guard try session.progress() == nil else { return }
    let deadline = Deadline.after(.seconds(30))
    try session.connection.query("SELECT pg_catalog.pg_replication_origin_session_reset()", until: deadline)
    try session.connection.query("SELECT pg_catalog.pg_replication_origin_drop($1)", [origin], until: deadline)
  }

  private func take(_ connection: PostgresConnection) throws(PostgresError) -> ApplySession {
    try ApplySession.take(origin, on: connection, second: nil)
  }

  private func makeOrigin(_ connection: PostgresConnection) throws(PostgresError) {
    guard try !exists(connection), try hasRoom(connection, alreadyTaken: false) else { return }
    try connection.query(
      "SELECT pg_catalog.pg_replication_origin_create($1)", [origin], until: .after(.seconds(30)))
  }

  /// - Parameter alreadyTaken: whether the origin is among those that are counted.
  private func hasRoom(_ connection: PostgresConnection, alreadyTaken: Bool) throws(PostgresError) -> Bool {
    let origins = connection.serverVersion >= 180000 ? "max_active_replication_origins" : "max_replication_slots"
    return try connection.query(
      """
      SELECT pg_catalog.current_setting('\(origins)')::integer
               - (SELECT count(*) FROM pg_catalog.pg_replication_origin_status) >= $1::integer
         AND pg_catalog.current_setting('max_connections')::integer
               - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') >= $2::integer
      """, ["\(Self.spareOrigins + (alreadyTaken ? 0 : 1))", "\(Self.spareConnections)"], until: .after(.seconds(30))
    ).rows.first?.bool(0) ?? false
  }
}
