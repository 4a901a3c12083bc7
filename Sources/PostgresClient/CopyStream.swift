public import BlockingIO
import CLibPQ
import Glibc

/// The COPY sub-protocols.
/// <https://www.postgresql.org/docs/15/libpq-copy.html>
extension PostgresConnection {
  /// What a look at a COPY stream found.
  public enum CopyRead: Sendable, Equatable {
    /// The body has seen one message.
    case message
    /// Nothing whole is buffered; wait for the socket and call `consumeInput`.
    case wouldBlock
    /// The server ended the stream in good order.
    case end
  }

  /// Starts `START_REPLICATION`, or another command that answers with COPY BOTH.
  public func startCopyBoth(_ command: String, until deadline: Deadline) throws(PostgresError) {
    guard let connection, PQsendQuery(connection, command) == 1 else { throw lostError() }
    guard let result = try nextResult(until: deadline) else {
      throw PostgresError(.unexpectedReply, message: "the server sent no result", server: serverName)
    }
    defer { PQclear(result) }
    switch PQresultStatus(result) {
    case PGRES_COPY_BOTH: return
    case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE: throw serverError(result)
    default:
      throw PostgresError(.unexpectedReply, message: "the server did not start the stream", server: serverName)
    }
  }

  /// Sends a `COPY … TO STDOUT` without waiting for its answer.
  public func sendCopyOut(_ command: String) throws(PostgresError) {
    guard let connection, PQsendQuery(connection, command) == 1 else { throw lostError() }
    try flush(until: .never)
  }

  /// Waits until the server has started the COPY that was sent.
  public func awaitCopyOut(until deadline: Deadline) throws(PostgresError) {
    guard let result = try nextResult(until: deadline) else {
      throw PostgresError(.unexpectedReply, message: "the server sent no result", server: serverName)
    }
    defer { PQclear(result) }
    if PQresultStatus(result) != PGRES_COPY_OUT { throw serverError(result) }
  }

  /// Reads what the socket has into libpq's buffer, without waiting.
  public func consumeInput() throws(PostgresError) {
    guard let connection, PQconsumeInput(connection) == 1 else { throw lostError() }
  }

  /// Bytes that wait in the socket. Over TLS those are not yet the protocol's.
  public var availableInput: Int {
    var count: Int32 = 0
    return ioctl(fileDescriptor, UInt(FIONREAD), &count) == 0 ? Int(count) : 0
  }

  /// Hands the next buffered message to the body, in libpq's own memory.
  public func readCopyMessage(_ body: (UnsafeRawBufferPointer) -> Void) throws(PostgresError) -> CopyRead {
    guard let connection else { throw lostError() }
    var buffer: UnsafeMutablePointer<CChar>?
    let length = PQgetCopyData(connection, &buffer, 1)
    if length > 0 {
      body(UnsafeRawBufferPointer(start: buffer, count: Int(length)))
      PQfreemem(buffer)
      return .message
    }
    if length == 0 { return .wouldBlock }
    if length == -2 { throw lostError() }
    while let result = try nextResult(until: .after(.seconds(10))) {
      let status = PQresultStatus(result)
      if status == PGRES_FATAL_ERROR {
        let error = serverError(result)
        PQclear(result)
        throw error
      }
      PQclear(result)
      if status == PGRES_COPY_IN { break }
    }
    return .end
  }

  /// Sends one message on a COPY stream. Waits, bounded by the deadline, when the socket is full.
  public func writeCopyMessage(_ bytes: [UInt8], until deadline: Deadline) throws(PostgresError) {
    try withBytes(of: bytes) { buffer throws(PostgresError) in try writeCopyMessage(buffer, until: deadline) }
  }

  private func writeCopyMessage(_ bytes: UnsafeRawBufferPointer, until deadline: Deadline) throws(PostgresError) {
    guard let connection else { throw lostError() }
    let status = PQputCopyData(
      connection, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
    guard status == 1 else { throw lostError() }
    try flush(until: deadline)
  }

  /// Ends this side of a COPY stream.
  public func endCopy(until deadline: Deadline) throws(PostgresError) {
    guard let connection, PQputCopyEnd(connection, nil) == 1 else { throw lostError() }
    try flush(until: deadline)
  }

  /// `COPY … FROM STDIN` with the given bytes, which are in the format that the command names.
  @discardableResult
  public func copyIn(
    _ command: String, _ bytes: UnsafeRawBufferPointer, until deadline: Deadline = .never
  ) throws(PostgresError) -> QueryResult {
    _ = try script(command, until: deadline)
    let slice = 1 << 16
    var start = 0
    while start < bytes.count {
      let end = min(start + slice, bytes.count)
      try writeCopyMessage(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), until: deadline)
      start = end
    }
    return try finishCopyIn(until: deadline)
  }

  /// The same with the bytes of an array.
  @discardableResult
  public func copyIn(
    _ command: String, _ bytes: [UInt8], until deadline: Deadline = .never
  ) throws(PostgresError) -> QueryResult {
    try withBytes(of: bytes) { buffer throws(PostgresError) in try copyIn(command, buffer, until: deadline) }
  }

  /// Ends a `COPY … FROM STDIN` whose bytes have all been written, and waits for what the server says to it.
  @discardableResult
  public func finishCopyIn(until deadline: Deadline) throws(PostgresError) -> QueryResult {
    try endCopy(until: deadline)
    var last: QueryResult?
    while let result = try nextResult(until: deadline) {
      if PQresultStatus(result) == PGRES_FATAL_ERROR {
        let error = serverError(result)
        PQclear(result)
        while let rest = try nextResult(until: deadline) { PQclear(rest) }
        throw error
      }
      last = QueryResult(result)
    }
    guard let last else { throw lostError() }
    return last
  }
}

/// `withUnsafeBytes` with the error's type.
private func withBytes<Value>(
  of bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(PostgresError) -> Value
) throws(PostgresError) -> Value {
  let outcome: Result<Value, PostgresError> = bytes.withUnsafeBytes { buffer in
    do throws(PostgresError) { return .success(try body(buffer)) } catch { return .failure(error) }
  }
  return try outcome.get()
}
