import BlockingIO

/// A connection for async callers: an actor whose thread does the blocking.
///
/// Cancelling the calling task cancels the statement on the server.
public actor PostgresSession {
  private let thread: DedicatedThread
  private let interrupt = WakeUp()
  private var connection: PostgresConnection?
  public nonisolated let parameters: ConnectionParameters

  public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  /// Connects; throws `PostgresError` with reason `.connect` when that fails.
  public static func connect(_ parameters: ConnectionParameters) async throws -> PostgresSession {
    let session = PostgresSession(parameters)
    try await session.open()
    return session
  }

  private init(_ parameters: ConnectionParameters) {
    self.parameters = parameters
    thread = DedicatedThread(name: "pg-\(parameters.database)")
  }

  private func open() async throws {
    try await interruptible { session in
      session.connection = try PostgresConnection.connect(session.parameters, interrupt: session.interrupt)
    }
  }

  /// Runs one statement with text parameters.
  @discardableResult
  public func query(
    _ sql: String, _ values: [String?] = [], within limit: Duration? = nil
  ) async throws -> QueryResult {
    try await interruptible { session in
      try session.live().query(sql, values, until: limit.map { .after($0) } ?? .never)
    }
  }

  /// Runs statements without parameters by the simple protocol.
  @discardableResult
  public func script(_ sql: String, within limit: Duration? = nil) async throws -> QueryResult {
    try await interruptible { session in
      try session.live().script(sql, until: limit.map { .after($0) } ?? .never)
    }
  }

  /// Runs DDL of our own, which event triggers of users do not notice; see `PostgresConnection.unseen`.
  @discardableResult
  public func unseen(_ sql: String, within limit: Duration? = nil) async throws -> QueryResult {
    try await interruptible { session in
      try session.live().unseen(sql, until: limit.map { .after($0) } ?? .never)
    }
  }

  /// As `PostgresConnection.set`.
  @discardableResult
  public func set(_ settings: WritingSettings) async throws -> WritingSettings {
    try await interruptible { session in try session.live().set(settings, until: .after(.seconds(30))) }
  }

  /// The next notification; nil when the time is over.
  public func notification(within limit: Duration) async throws -> PostgresConnection.Notification? {
    try await interruptible { session in try session.live().notification(until: .after(limit)) }
  }

  /// The password that the connection was made with, wherever it came from; for a password file on another host.
  public func passwordInUse() -> String? { connection?.passwordInUse }

  /// As `server_version_num`.
  public var serverVersion: Int { connection?.serverVersion ?? 0 }
  public var backendPID: Int32 { connection?.backendPID ?? 0 }
  public var isOpen: Bool { connection?.isOpen ?? false }

  public func close() {
    connection?.close()
    connection = nil
  }

  private func live() throws -> PostgresConnection {
    guard let connection else {
      throw PostgresError(.connectionLost, message: "connection is closed", server: parameters.displayName)
    }
    return connection
  }

  private func interruptible<Value>(
    _ body: (isolated PostgresSession) throws -> Value
  ) async throws -> Value {
    try Task.checkCancellation()
    let interrupt = self.interrupt
    return try await withTaskCancellationHandler {
      try body(self)
    } onCancel: {
      interrupt.signal()
    }
  }
}
