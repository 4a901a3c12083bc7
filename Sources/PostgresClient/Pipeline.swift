public import BlockingIO
import CLibPQ
import Glibc

/// libpq's pipeline mode: statements are sent without waiting for the answers before them.
/// <https://www.postgresql.org/docs/15/libpq-pipeline-mode.html>
///
/// The caller keeps count: each `send` yields one outcome, each `sync` one `.sync`, in order.
extension PostgresConnection {
  /// The answer to one thing sent.
  public enum PipelineOutcome: Sendable {
    /// Rows that the command touched (0 for commands that touch none).
    case done(affectedRows: Int)
    /// The rows of a SELECT.
    case rows(QueryResult)
    case failed(PostgresError)
    /// Not run, since a statement before it in the same pipeline segment failed.
    case aborted
    case sync
  }

  public func enterPipeline() throws(PostgresError) {
    guard let connection, PQenterPipelineMode(connection) == 1 else { throw lostError() }
  }

  /// Leaves pipeline mode. Every answer must have been read.
  public func leavePipeline() throws(PostgresError) {
    guard let connection, PQexitPipelineMode(connection) == 1 else { throw lostError() }
  }

  /// Queues the preparation of a statement; the server infers the parameters' types.
  public func pipelinePrepare(name: String, sql: String) throws(PostgresError) {
    guard let connection, PQsendPrepare(connection, name, sql, 0, nil) == 1 else { throw lostError() }
  }

  /// Queues a statement with text parameters.
  public func pipelineQuery(_ sql: String, _ values: [String?] = []) throws(PostgresError) {
    guard let connection else { throw lostError() }
    let sent = withCStrings(values) { pointers in
      PQsendQueryParams(connection, sql, Int32(values.count), nil, pointers, nil, nil, 0)
    }
    guard sent == 1 else { throw lostError() }
  }

  /// Queues a prepared statement. The parameters (nil is null) are copied before the call returns.
  ///
  /// - Parameters:
  ///   - formats: for each parameter 0 for a C string in the session's client encoding, or 1 for its type's binary
  ///     form; nil when all are C strings.
  ///   - lengths: bytes of the binary ones.
  public func pipelineExecute(
    name: UnsafePointer<CChar>, parameters: UnsafeBufferPointer<UnsafePointer<CChar>?>,
    lengths: UnsafePointer<Int32>? = nil, formats: UnsafePointer<Int32>? = nil
  ) throws(PostgresError) {
    guard let connection else { throw lostError() }
    let sent = PQsendQueryPrepared(
      connection, name, Int32(parameters.count), parameters.baseAddress, lengths, formats, 0)
    guard sent == 1 else { throw lostError() }
  }

  /// Ends a segment: the server answers all before it, and goes on after an error only behind it.
  public func pipelineSync() throws(PostgresError) {
    guard let connection, PQpipelineSync(connection) == 1 else { throw lostError() }
  }

  /// Asks for the answers so far without ending the segment.
  public func pipelineFlushRequest() throws(PostgresError) {
    guard let connection, PQsendFlushRequest(connection) == 1 else { throw lostError() }
  }

  /// Sends what can be sent and reads what has arrived, without waiting. True when all queued bytes have left.
  @discardableResult
  public func pump() throws(PostgresError) -> Bool {
    guard let connection, PQconsumeInput(connection) == 1 else { throw lostError() }
    let status = PQflush(connection)
    guard status >= 0 else { throw lostError() }
    return status == 0
  }

  /// The next answer that has arrived whole; nil when it would have to wait.
  public func pipelineOutcomeIfReady() throws(PostgresError) -> PipelineOutcome? {
    guard let connection else { throw lostError() }
    while true {
      if PQisBusy(connection) == 1 { return nil }
      guard let result = PQgetResult(connection) else {
        // Nil ends each command's results; a second one says that there is nothing to read.
        if PQisBusy(connection) == 1 { return nil }
        guard let next = PQgetResult(connection) else { return nil }
        return outcome(of: next)
      }
      return outcome(of: result)
    }
  }

  /// Waits for the next answer, sending meanwhile.
  public func pipelineOutcome(until deadline: Deadline) throws(PostgresError) -> PipelineOutcome {
    while true {
      if let outcome = try pipelineOutcomeIfReady() { return outcome }
      let sent = try pump()
      if let outcome = try pipelineOutcomeIfReady() { return outcome }
      let events = Int16(sent ? POLLIN : POLLIN | POLLOUT)
      let ready = poll([(fileDescriptor, events), (interrupt.fileDescriptor, Int16(POLLIN))], until: deadline)
      if ready[1] != 0 {
        throw PostgresError(.cancelled, message: "interrupted", server: serverName)
      }
      if ready[0] == 0 && deadline.hasPassed {
        throw PostgresError(.deadline, message: "no answer before the deadline", server: serverName)
      }
    }
  }

  private func outcome(of result: OpaquePointer) -> PipelineOutcome {
    let status = PQresultStatus(result)
    if status == PGRES_TUPLES_OK { return .rows(QueryResult(result)) }
    defer { PQclear(result) }
    switch status {
    case PGRES_PIPELINE_SYNC: return .sync
    case PGRES_PIPELINE_ABORTED: return .aborted
    case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
      let text = PQcmdTuples(result)
      return .done(affectedRows: text.map { Int(atol($0)) } ?? 0)
    default: return .failed(serverError(result))
    }
  }
}
