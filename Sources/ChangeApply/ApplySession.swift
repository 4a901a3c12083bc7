public import BlockingIO
public import PostgresClient
import ReplicationModel

/// The session that writes to the target: verbatim, without triggers, with its progress in a replication origin.
///
/// A second one may be beside it, see `SecondSession`.
///
/// Every setting that could change what a statement does is pinned here, since those of the database or the role
/// would leak in otherwise.
public struct ApplySession {
  let connection: PostgresConnection

  /// The database's own, which both sides have: `UTF8`, `LATIN1`, …
  public let encoding: String
  /// How to have the server read a statement's text as UTF-8, where the database has another encoding.
  let encodingSwitch: EncodingSwitch?

  struct EncodingSwitch: Sendable {
    let toUTF8: String
    let back: String
  }

  /// Nil for a second one itself.
  let second: SecondSession?

  private init(connection: PostgresConnection, backendStart: String, second: SecondSession?) {
    self.connection = connection
    self.second = second
    backend = Backend(pid: connection.backendPID, start: backendStart)
    // The name of an encoding is letters, digits and underscores.
    encoding = connection.reportedParameter("server_encoding") ?? "UTF8"
    encodingSwitch =
      encoding == "UTF8" || encoding == "SQL_ASCII"
      ? nil
      : EncodingSwitch(toUTF8: "SET client_encoding TO 'UTF8'", back: "SET client_encoding TO '\(encoding)'")
  }

  /// A server process, which no other has been or will be.
  struct Backend: Sendable {
    let pid: Int32
    fileprivate let start: String

    /// Whether it is there still, asked in another session.
    fileprivate func isThere(_ connection: PostgresConnection) throws(PostgresError) -> Bool {
      try connection.query(
        "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start::text = $2", ["\(pid)", start],
        until: .after(.seconds(30))
      ).rowCount > 0
    }
  }

  /// This session's.
  let backend: Backend

  /// Ends a statement that blocks a thread, whichever of the sessions it is in.
  public var interrupts: [WakeUp] { [connection.interrupt] + (second.map { [$0.interrupt] } ?? []) }

  public func close() {
    second?.close()
    connection.close()
  }

  /// Connects, pins the session and takes the origin. `parameters` must be a superuser's.
  ///
  /// Afterwards the origin has all of the progress: where a worker before this one has left a second origin, that is
  /// taken too, and the first is moved to where the second stands if that is further.
  ///
  /// Fails with SQLSTATE 55006 while another session (a worker that has just died) still holds an origin.
  public static func open(
    _ parameters: ConnectionParameters, origin: String
  ) throws(PostgresError) -> ApplySession {
    let second = SecondSession(parameters, origin: HandOffNames.secondOrigin(beside: origin))
    let session = try take(origin, on: connect(parameters, interrupt: WakeUp()), second: second)
    do throws(PostgresError) {
      if let reached = try second.takeUp(session.connection) { try session.move(to: reached) }
      try session.connection.enterPipeline()
    } catch {
      session.close()
      throw error
    }
    return session
  }

  fileprivate static func connect(
    _ parameters: ConnectionParameters, interrupt: WakeUp
  ) throws(PostgresError) -> PostgresConnection {
    var parameters = parameters
    parameters.settings.merge(canonicalTextSettings) { _, canonical in canonical }
    parameters.settings.merge(pinnedSettings) { _, pinned in pinned }
    return try PostgresConnection.connect(parameters, interrupt: interrupt)
  }

  /// Not in a pipeline yet.
  fileprivate static func take(
    _ origin: String, on connection: PostgresConnection, second: SecondSession?
  ) throws(PostgresError) -> ApplySession {
    let taken = try connection.query(
      """
      SELECT pg_catalog.pg_replication_origin_session_setup($1), backend_start::text
        FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
      """, [origin], until: .after(.seconds(30)))
    let session = ApplySession(
      connection: connection, backendStart: taken.rows.first?.string(1) ?? "", second: second)
    try session.pin()
    return session
  }

  /// Progress, durable; nil for an origin that has none.
  fileprivate func progress() throws(PostgresError) -> LSN? {
    try connection.query(
      "SELECT pg_catalog.pg_replication_origin_session_progress(true)", until: .after(.seconds(60))
    ).first.flatMap { LSN($0) }
  }

  /// Moves the origin, if it is not there yet, and makes it durable.
  private func move(to reached: LSN) throws(PostgresError) {
    if let progress = try progress(), progress >= reached { return }
    try connection.script("BEGIN")
    try connection.query(
      GroupCommit.originStatement(serverVersion: connection.serverVersion), [reached.description, nil],
      until: .after(.seconds(30)))
    try connection.script("COMMIT")
    _ = try progress()
  }

  /// What RESET ALL does not bring back.
  func pin() throws(PostgresError) {
    let deadline = Deadline.after(.seconds(30))
    // The stream's bytes are in the database's encoding and must arrive as they are.
    try connection.query(
      "SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), false)",
      until: deadline)
    try connection.set(Self.versionedSettings + versionedTimeLimits, until: deadline)
  }

  private static let pinnedSettings: [String: String] = [
    "session_replication_role": "replica",
    // Progress is confirmed to the source only after the origin's WAL has been flushed, so commits need not wait.
    "synchronous_commit": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "row_security": "off",
    "default_tablespace": "",
    // A set of rows is kept whole while it is joined.
    "work_mem": "32MB",
    // Rows are found by their key's index, however many a statement is said to be about.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
  ]

  private static let versionedSettings = [
    VersionedSetting("jit", "off", since: 110000),
    VersionedSetting("plan_cache_mode", "force_generic_plan", since: 120000),
  ]
}

/// The session beside an apply session that takes every other batch while the target is what the stream waits for, with a
/// replication origin of its own: an origin belongs to one session at a time.
///
/// For one thread at a time.
final class SecondSession {
  private let parameters: ConnectionParameters
  private let origin: String
  let interrupt = WakeUp()
  private var session: ApplySession?

  /// Origins and connections that the server must still have room for, for whoever else needs them.
  private static let spareOrigins = 4
  private static let spareConnections = 12

  init(_ parameters: ConnectionParameters, origin: String) {
    self.parameters = parameters
    self.origin = origin
  }

  func close() {
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
  func open(beside first: ApplySession.Backend) -> ApplySession? {
    if let session { return session }
    do throws(PostgresError) {
      let connection = try ApplySession.connect(parameters, interrupt: interrupt)
      try makeOrigin(connection)
      let session = try take(connection)
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
