public import BlockingIO
public import PostgresClient

/// The one session that writes to the target: verbatim, without triggers, with its progress in a replication origin.
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

  private init(connection: PostgresConnection) {
    self.connection = connection
    // The name of an encoding is letters, digits and underscores.
    encoding = connection.reportedParameter("server_encoding") ?? "UTF8"
    encodingSwitch =
      encoding == "UTF8" || encoding == "SQL_ASCII"
      ? nil
      : EncodingSwitch(toUTF8: "SET client_encoding TO 'UTF8'", back: "SET client_encoding TO '\(encoding)'")
  }

  /// Ends a statement that blocks the session's thread.
  public var interrupt: WakeUp { connection.interrupt }

  public func close() { connection.close() }

  /// Connects, pins the session and takes the origin. `parameters` must be a superuser's.
  ///
  /// Fails with SQLSTATE 55006 while another session (a worker that has just died) still holds the origin.
  public static func open(
    _ parameters: ConnectionParameters, origin: String
  ) throws(PostgresError) -> ApplySession {
    var parameters = parameters
    parameters.settings.merge(canonicalTextSettings) { _, canonical in canonical }
    parameters.settings.merge(pinnedSettings) { _, pinned in pinned }
    let connection = try PostgresConnection.connect(parameters)
    let session = ApplySession(connection: connection)
    try session.pin()
    try connection.query(
      "SELECT pg_catalog.pg_replication_origin_session_setup($1)", [origin], until: .after(.seconds(30)))
    try connection.enterPipeline()
    return session
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
