public import BlockingIO
public import PostgresClient
import ReplicationModel

/// The session that writes to the target: verbatim, without triggers, with its progress in a replication origin.
///
/// A second one may be beside it, see `SecondSession`.
///
/// Every setting that could change what a statement of its own does is pinned here, since those of the database or the role
/// would leak in otherwise. What expressions of the tables go by is set as an application on the other server has it:
/// `WritingSettings`. Where the session itself reads, `reading` brings back the settings that reading wants.
public struct ApplySession {
  package let connection: PostgresConnection

  /// The database's own, which both sides have: `UTF8`, `LATIN1`, …
  public let encoding: String
  /// How to have the server read a statement's text as UTF-8, where the database has another encoding.
  package let encodingSwitch: EncodingSwitch?

  package struct EncodingSwitch: Sendable {
    package let toUTF8: String
    package let back: String
  }

  /// Nil for a second one itself.
  package let second: SecondSession?

  /// What tables' expressions go by, as far as this server knows it.
  package private(set) var writing = WritingSettings()

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
  package struct Backend: Sendable {
    package let pid: Int32
    let start: String

    /// Whether it is there still, asked in another session.
    func isThere(_ connection: PostgresConnection) throws(PostgresError) -> Bool {
      try connection.query(
        "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start::text = $2", ["\(pid)", start],
        until: .after(.seconds(30))
      ).rowCount > 0
    }
  }

  /// This session's.
  package let backend: Backend

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
  ///
  /// - Parameter writing: of the database that rows come from.
  public static func open(
    _ parameters: ConnectionParameters, origin: String, writing: WritingSettings = WritingSettings()
  ) throws(PostgresError) -> ApplySession {
    let second = SecondSession(parameters, origin: HandOffNames.secondOrigin(beside: origin), writing)
    var session = try take(origin, on: connect(parameters, interrupt: WakeUp()), second: second)
    do throws(PostgresError) {
      if let reached = try second.takeUp(session.connection) { try session.move(to: reached) }
      try session.adopt(writing)
      try session.connection.enterPipeline()
    } catch {
      session.close()
      throw error
    }
    return session
  }

  static func connect(
    _ parameters: ConnectionParameters, interrupt: WakeUp
  ) throws(PostgresError) -> PostgresConnection {
    var parameters = parameters.canonical
    parameters.settings.merge(pinnedSettings) { _, pinned in pinned }
    return try PostgresConnection.connect(parameters, interrupt: interrupt)
  }

  /// Not in a pipeline yet.
  static func take(
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

  /// Not in a pipeline, nor in a transaction.
  mutating func adopt(_ writing: WritingSettings) throws(PostgresError) {
    self.writing = try connection.set(writing, until: .after(.seconds(30)))
  }

  /// Runs statements of our own, out of the pipeline, under the settings that reading wants. When they fail the session is
  /// of no use any more.
  package func reading<Result>(
    _ body: (PostgresConnection) throws(PostgresError) -> Result
  ) throws(PostgresError) -> Result {
    guard !writing.values.isEmpty else { return try body(connection) }
    _ = try connection.set(.reading, until: .after(.seconds(30)))
    let result = try body(connection)
    _ = try connection.set(writing.behindReading, until: .after(.seconds(30)))
    return result
  }

  /// Progress, durable; nil for an origin that has none.
  func progress() throws(PostgresError) -> LSN? {
    try connection.query(
      "SELECT pg_catalog.pg_replication_origin_session_progress(true)", until: .after(.seconds(60))
    ).first.flatMap { LSN($0) }
  }

  /// Moves the origin, if it is not there yet, and makes it durable.
  private func move(to reached: LSN) throws(PostgresError) {
    if let progress = try progress(), progress >= reached { return }
    try connection.script("BEGIN")
    try connection.query(
      Self.originStatement(serverVersion: connection.serverVersion), [reached.description, nil],
      until: .after(.seconds(30)))
    try connection.script("COMMIT")
    _ = try progress()
  }

  /// Moves the session's origin with the transaction: to a position, with a commit time or that of now.
  ///
  /// Without a transaction id a commit (of updates that hit no row, say) writes no WAL and moves no progress.
  package static func originStatement(serverVersion: Int) -> String {
    """
    SELECT pg_catalog.\(serverVersion >= 130000 ? "pg_current_xact_id()" : "txid_current()"),
           pg_catalog.pg_replication_origin_xact_setup($1::pg_lsn, coalesce($2::timestamptz, now()))
    """
  }

  /// What RESET ALL does not bring back.
  package func pin() throws(PostgresError) {
    let deadline = Deadline.after(.seconds(30))
    // The stream's bytes are in the database's encoding and must arrive as they are.
    try connection.query(
      "SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), false)",
      until: deadline)
    try connection.set(Self.versionedSettings + versionedTimeLimits, until: deadline)
    _ = try connection.set(writing, until: deadline)
  }

  /// Beside what every session of ours begins with.
  private static let pinnedSettings: [String: String] = [
    "session_replication_role": "replica",
    // Progress is confirmed to the source only after the origin's WAL has been flushed, so commits need not wait.
    "synchronous_commit": "off",
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
