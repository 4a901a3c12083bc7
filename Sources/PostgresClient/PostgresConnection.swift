public import BlockingIO
import CLibPQ
import Glibc

/// One libpq connection, for use on one thread at a time.
///
/// Every call blocks its thread until the answer is there, the deadline has passed, or `interrupt` is signalled;
/// then the statement is cancelled on the server. Not Sendable: a worker thread makes its own, everybody else goes
/// through `PostgresSession`. The C handle is closed once, in `deinit` or by `close()`.
public final class PostgresConnection {
  private var handle: OpaquePointer?
  public let parameters: ConnectionParameters
  /// Signalling it makes a call in progress, or the next one, fail with `.cancelled`; it stays signalled until drained.
  public let interrupt: WakeUp

  private init(handle: OpaquePointer, parameters: ConnectionParameters, interrupt: WakeUp) {
    self.handle = handle
    self.parameters = parameters
    self.interrupt = interrupt
  }

  deinit { close() }

  public func close() {
    if let handle { PQfinish(handle) }
    handle = nil
  }

  var connection: OpaquePointer? { handle }
  public var serverName: String { parameters.displayName }
  public var isOpen: Bool { handle.map { PQstatus($0) == CONNECTION_OK } ?? false }
  /// As `server_version_num`: 150018.
  public var serverVersion: Int { handle.map { Int(PQserverVersion($0)) } ?? 0 }
  public var backendPID: Int32 { handle.map { PQbackendPID($0) } ?? 0 }
  public var fileDescriptor: Int32 { handle.map { PQsocket($0) } ?? -1 }

  /// The password that the connection was made with, from whichever of libpq's sources; nil when none was used.
  public var passwordInUse: String? {
    handle.flatMap { PQpass($0) }.map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// A parameter that the server reports on its own: `server_encoding`, `is_superuser`, …
  public func reportedParameter(_ name: String) -> String? {
    handle.flatMap { PQparameterStatus($0, name) }.map { String(cString: $0) }
  }

  // MARK: connecting

  /// Connects within `parameters.connectTimeout`. The session has `pinnedSettings` and no limit on its time.
  public static func connect(
    _ parameters: ConnectionParameters, interrupt: WakeUp = WakeUp()
  ) throws(PostgresError) -> PostgresConnection {
    forgetOverrulingVariables()
    var keywords = parameters.keywords.map { strdup($0.0) }
    var values = parameters.keywords.map { strdup($0.1) }
    defer { for pointer in keywords + values { free(pointer) } }
    keywords.append(nil)
    values.append(nil)
    let handle = keywords.withUnsafeBufferPointer { keywords in
      values.withUnsafeBufferPointer { values in
        keywords.withMemoryRebound(to: UnsafePointer<CChar>?.self) { keywords in
          values.withMemoryRebound(to: UnsafePointer<CChar>?.self) { values in
            PQconnectStartParams(keywords.baseAddress, values.baseAddress, 0)
          }
        }
      }
    }
    guard let handle else {
      throw PostgresError(.connect, message: "out of memory", server: parameters.displayName)
    }
    PQsetNoticeProcessor(handle, { _, _ in }, nil)
    // A failed start-up leaves no result to read a field from: this way its text has the SQLSTATE.
    PQsetErrorVerbosity(handle, PQERRORS_VERBOSE)
    let connection = PostgresConnection(handle: handle, parameters: parameters, interrupt: interrupt)
    let deadline = Deadline.after(.seconds(parameters.connectTimeout))
    try connection.finishConnecting(until: deadline)
    try connection.set(versionedTimeLimits, until: deadline)
    return connection
  }

  private func finishConnecting(until deadline: Deadline) throws(PostgresError) {
    guard let handle, PQstatus(handle) != CONNECTION_BAD else { throw connectError() }
    var state = PGRES_POLLING_WRITING
    while state != PGRES_POLLING_OK {
      if state == PGRES_POLLING_FAILED { throw connectError() }
      let events = Int16(state == PGRES_POLLING_WRITING ? POLLOUT : POLLIN)
      let ready = poll([(PQsocket(handle), events), (interrupt.fileDescriptor, Int16(POLLIN))], until: deadline)
      if ready[1] != 0 {
        throw PostgresError(.cancelled, message: "cancelled while connecting", server: serverName)
      }
      if ready[0] == 0 && deadline.hasPassed {
        throw PostgresError(
          .connect, message: "no answer within \(Int(parameters.connectTimeout)) s", server: serverName)
      }
      if ready[0] != 0 { state = PQconnectPoll(handle) }
    }
    guard PQsetnonblocking(handle, 1) == 0 else { throw connectError() }
  }

  private func connectError() -> PostgresError {
    let words = ServerWords(startUp: lastMessage)
    var error = PostgresError(.connect, sqlState: words.sqlState, message: words.message, server: serverName)
    error.routine = words.routine
    error.wantsPassword = handle.map { PQconnectionNeedsPassword($0) == 1 } ?? false
    return error
  }

  private var lastMessage: String {
    handle.flatMap { PQerrorMessage($0) }.map { String(cString: $0) } ?? "connection is closed"
  }

  func lostError() -> PostgresError {
    let words = ServerWords(lastMessage)
    return PostgresError(.connectionLost, sqlState: words.sqlState, message: words.message, server: serverName)
  }

  // MARK: statements

  /// Runs one statement with text parameters, which are never pasted into it.
  @discardableResult
  public func query(
    _ sql: String, _ values: [String?] = [], until deadline: Deadline = .never
  ) throws(PostgresError) -> QueryResult {
    guard let handle else { throw lostError() }
    let sent = withCStrings(values) { pointers in
      PQsendQueryParams(handle, sql, Int32(values.count), nil, pointers, nil, nil, 0)
    }
    guard sent == 1 else { throw lostError() }
    return try lastResult(until: deadline)
  }

  /// Runs one or more statements without parameters, as the simple protocol does; the last result counts. The only
  /// way for statements that may not run in a transaction block, and for the replication commands.
  @discardableResult
  public func script(_ sql: String, until deadline: Deadline = .never) throws(PostgresError) -> QueryResult {
    guard let handle, PQsendQuery(handle, sql) == 1 else { throw lostError() }
    return try lastResult(until: deadline)
  }

  private func lastResult(until deadline: Deadline) throws(PostgresError) -> QueryResult {
    var last: QueryResult?
    var failure: PostgresError?
    while let result = try nextResult(until: deadline) {
      switch PQresultStatus(result) {
      case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY, PGRES_SINGLE_TUPLE:
        last = QueryResult(result)
      case PGRES_COPY_BOTH, PGRES_COPY_IN, PGRES_COPY_OUT:
        return QueryResult(result)
      default:
        failure = serverError(result)
        PQclear(result)
      }
    }
    if let failure { throw failure }
    guard let last else {
      throw PostgresError(.unexpectedReply, message: "the server sent no result", server: serverName)
    }
    return last
  }

  /// The next result of the statement in hand; nil at its end. The caller owns the result.
  func nextResult(until deadline: Deadline) throws(PostgresError) -> OpaquePointer? {
    guard let handle else { throw lostError() }
    try flush(until: deadline)
    while PQisBusy(handle) == 1 {
      try wait(for: Int16(POLLIN), until: deadline)
      guard PQconsumeInput(handle) == 1 else { throw lostError() }
    }
    return PQgetResult(handle)
  }

  /// Sends what libpq has buffered, reading meanwhile so that neither side blocks the other.
  func flush(until deadline: Deadline) throws(PostgresError) {
    guard let handle else { throw lostError() }
    while true {
      switch PQflush(handle) {
      case 0: return
      case 1:
        try wait(for: Int16(POLLIN | POLLOUT), until: deadline)
        guard PQconsumeInput(handle) == 1 else { throw lostError() }
      default: throw lostError()
      }
    }
  }

  /// Waits until the socket is ready. A passed deadline or an interrupt cancels the statement on the server.
  private func wait(for events: Int16, until deadline: Deadline) throws(PostgresError) {
    while true {
      let ready = poll([(fileDescriptor, events), (interrupt.fileDescriptor, Int16(POLLIN))], until: deadline)
      if ready[0] != 0 { return }
      if ready[1] != 0 {
        interrupt.drain()
        try abandon(PostgresError(.cancelled, message: "the statement was cancelled", server: serverName))
      }
      if deadline.hasPassed {
        try abandon(
          PostgresError(.deadline, message: "no answer before the deadline; cancelled", server: serverName))
      }
    }
  }

  /// Asks the server to cancel, then waits a few seconds for the statement to end. A server that does not even do
  /// that loses the connection.
  private func abandon(_ error: PostgresError) throws(PostgresError) {
    requestCancel()
    let patience = Deadline.after(.seconds(5))
    drain: while let handle, PQstatus(handle) == CONNECTION_OK {
      while PQisBusy(handle) == 1 {
        _ = PQflush(handle)
        let ready = poll([(PQsocket(handle), Int16(POLLIN))], until: patience)
        if ready[0] == 0 && patience.hasPassed { break drain }
        if PQconsumeInput(handle) != 1 { break drain }
      }
      guard let result = PQgetResult(handle) else { throw error }
      let status = PQresultStatus(result)
      PQclear(result)
      if status == PGRES_COPY_BOTH || status == PGRES_COPY_IN || status == PGRES_COPY_OUT { break drain }
    }
    close()
    throw error
  }

  /// Sends a cancel request from a thread of its own: PQcancel makes a blocking connection.
  private func requestCancel() {
    guard let handle, let cancel = PQgetCancel(handle) else { return }
    let address = UInt(bitPattern: cancel)
    startThread(name: "pg-cancel") {
      var buffer = [CChar](repeating: 0, count: 256)
      let cancel = OpaquePointer(bitPattern: address)
      PQcancel(cancel, &buffer, Int32(buffer.count))
      PQfreeCancel(cancel)
    }
  }

  // MARK: notifications

  /// A NOTIFY that this session listens for.
  public struct Notification: Sendable, Equatable {
    public let channel: String
    public let payload: String
  }

  /// The next notification; nil when the deadline passes first.
  public func notification(until deadline: Deadline) throws(PostgresError) -> Notification? {
    while true {
      guard let handle else { throw lostError() }
      if let notify = PQnotifies(handle) {
        defer { PQfreemem(notify) }
        return Notification(
          channel: String(cString: notify.pointee.relname), payload: String(cString: notify.pointee.extra))
      }
      let ready = poll([(PQsocket(handle), Int16(POLLIN)), (interrupt.fileDescriptor, Int16(POLLIN))], until: deadline)
      if ready[1] != 0 {
        interrupt.drain()
        throw PostgresError(.cancelled, message: "cancelled while waiting for a notification", server: serverName)
      }
      if ready[0] == 0 {
        if deadline.hasPassed { return nil }
        continue
      }
      guard PQconsumeInput(handle) == 1, PQstatus(handle) == CONNECTION_OK else { throw lostError() }
    }
  }

  // MARK: errors

  func serverError(_ result: OpaquePointer?) -> PostgresError {
    func field(_ code: Character) -> String? {
      PQresultErrorField(result, Int32(code.asciiValue!)).map { String(cString: $0) }
    }
    let sqlState = field("C").map { SQLState(rawValue: $0) }
    let message = field("M") ?? PQresultErrorMessage(result).map { String(cString: $0) } ?? lastMessage
    let isLost = sqlState == nil && !isOpen
    var error = PostgresError(
      isLost ? .connectionLost : .server, sqlState: sqlState,
      message: message.split(separator: "\n").first.map(String.init) ?? message, server: serverName)
    error.detail = field("D")
    error.hint = field("H")
    error.context = field("W")
    error.schema = field("s")
    error.table = field("t")
    error.constraint = field("n")
    error.dataType = field("d")
    return error
  }
}

/// Calls the body with an array of C strings, nil for null, valid during the call.
func withCStrings<Result>(
  _ values: [String?], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result
) -> Result {
  let copies = values.map { $0.flatMap { strdup($0) } }
  defer { for copy in copies { free(copy) } }
  return copies.map { UnsafePointer<CChar>($0) }.withUnsafeBufferPointer { body($0.baseAddress) }
}
