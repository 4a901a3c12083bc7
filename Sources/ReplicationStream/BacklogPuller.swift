public import BlockingIO
import Glibc
public import PostgresClient
public import ReplicationModel

/// Drains a deep backlog by SQL, with the same records as the slot's own stream and several times as fast: a walsender
/// pays two system calls for each record, `pg_logical_slot_get_binary_changes` none.
///
/// Nothing is taken from the worker's slot. Its copies, temporary ones that end with their sessions, are read; the
/// slot itself moves only up to what `StreamControl.confirm` has called durable, as with a stream. Killing anything at
/// any moment is safe for that reason.
///
/// Two sessions take turns: while one hands over its changes the other decodes the next stretch of WAL. A pull takes
/// whole transactions, in commit order; one that begins at a pull's end takes just the transactions that commit behind
/// it. What the server holds for a pull is in its `work_mem` and beyond that in temporary files, which are bounded: a
/// transaction too large for them is left to the walsender, which sends it piece by piece.
public struct BacklogPuller {
  /// Kilobytes of temporary files that one pull may fill on the source.
  private static let temporaryFiles = 1 << 20
  private static let copySlotSince = 120000

  private let request: StreamRequest
  private let queue: ByteBoundedQueue<StreamChunk>
  private let control: StreamControl
  private let limits: PullLimits
  /// The WAL to read at the beginning, or since then where it has become more.
  private var backlog: UInt64
  /// Whether the walsender was left the rest for its records are wide.
  public private(set) var hasWideRecords = false
  private let first: PullSession
  private let second: PullSession
  /// Everything committed before it has been handed over.
  public private(set) var position: LSN
  private var confirmed: LSN

  /// Nil when the backlog is shallow, or when the server has no room for two more slots or does not let us have them:
  /// then the walsender sends all of it.
  public static func open(
    _ source: ConnectionParameters, request: StreamRequest, queue: ByteBoundedQueue<StreamChunk>,
    control: StreamControl, limits: PullLimits = PullLimits()
  ) throws(PostgresError) -> BacklogPuller? {
    var parameters = source
    parameters.isReplication = false
    parameters.settings.merge(pinnedSettings) { _, pinned in pinned }
    let first = try PullSession.connect(parameters, interrupt: control.stopSignal)
    guard first.connection.serverVersion >= copySlotSince else { return nil }
    let sourceEnd = try first.sourceEnd()
    guard sourceEnd > request.start + limits.depth else { return nil }
    let second = try PullSession.connect(parameters, interrupt: control.stopSignal)
    do throws(PostgresError) {
      for session in [first, second] {
        try session.prepare(temporaryKilobytes: temporaryFiles)
        try session.copySlot(request.slot)
      }
      try first.advance(first.slot, to: request.start)
    } catch  where error.reason == .server {
      return nil
    }
    return BacklogPuller(
      request: request, queue: queue, control: control, limits: limits,
      backlog: sourceEnd.rawValue - request.start.rawValue, first: first, second: second)
  }

  private init(
    request: StreamRequest, queue: ByteBoundedQueue<StreamChunk>, control: StreamControl, limits: PullLimits,
    backlog: UInt64, first: PullSession, second: PullSession
  ) {
    self.backlog = backlog
    self.request = request
    self.queue = queue
    self.control = control
    self.limits = limits
    self.first = first
    self.second = second
    position = request.start
    confirmed = request.start
  }

  /// Pulls until the backlog is shallow, or until `control.stop()`. Then the walsender goes on from `position`.
  ///
  /// A pull that the server refuses before its first record (its temporary files are full, or its slot has gone to
  /// somebody else) ends the pulling in good order, and so do wide records. One that the target does not take is given
  /// up, with what has been handed over of it.
  public mutating func run() throws(StreamFailure) {
    do throws(PostgresError) {
      var (current, next) = (first, second)
      var size = limits.first
      var found: UInt64?
      try current.begin(upTo: position + size, request: request)
      while true {
        var pull = Pull()
        do throws(PostgresError) {
          guard try awaitFirstMessage(of: &pull, on: current) else { return }
        } catch  where error.reason == .server {
          return
        }
        let (end, sourceEnd) = try next.standing(of: current)
        let isLast = sourceEnd <= end + limits.rest
        var isRefused = false
        // The first pull is small, and the size of all others is learnt from it.
        if let found, !isLast {
          size = nextSize(after: size, records: found, left: sourceEnd.rawValue - end.rawValue)
          isRefused = try !begin(on: next, behind: current, from: end, size: size)
        }
        guard try handOver(&pull, of: current, upTo: end) else { return }
        position = end
        if isLast || isRefused { return }
        if found == nil {
          hasWideRecords = limits.areWide(records: pull.records, bytes: pull.recordBytes)
          if hasWideRecords { return }
          size = nextSize(after: size, records: pull.bytes, left: sourceEnd.rawValue - end.rawValue)
          guard try begin(on: next, behind: current, from: end, size: size) else { return }
        }
        found = pull.bytes
        swap(&current, &next)
      }
    } catch {
      if hasGivenUp { throw .pullGivenUp(error.message) }
      throw malformed.map { .malformed($0) } ?? .postgres(error)
    }
  }

  private var hasGivenUp = false

  /// A source that writes faster than small pulls are read would never be caught up with.
  private mutating func nextSize(after size: UInt64, records found: UInt64, left: UInt64) -> UInt64 {
    backlog = max(backlog, left)
    return limits.bounded(by: backlog).next(after: size, records: found, left: left)
  }

  /// What has come of one pull.
  private struct Pull {
    var rows = PulledRows()
    var chunk = StreamChunk(capacity: StreamReceiver.chunkCapacity)
    /// What was passed on of records.
    var bytes: UInt64 = 0
    var records: UInt64 = 0
    /// Bytes of the records themselves.
    var recordBytes: UInt64 { bytes - min(bytes, (records + 1) * UInt64(StreamChunk.headerLength)) }
  }

  /// Goes on where another session's pull has ended: its slot stands there, and a copy of it is made at once, while
  /// moving our own would mean reading the same WAL again. False where the server refuses: there is no slot any more, say.
  private mutating func begin(
    on session: PullSession, behind other: PullSession, from start: LSN, size: UInt64
  ) throws(PostgresError) -> Bool {
    do throws(PostgresError) {
      try confirm(on: session)
      try session.dropSlot()
      try session.copySlot(other.slot)
    } catch  where error.reason == .server {
      return false
    }
    try session.begin(upTo: start + size, request: request)
    return true
  }

  /// The server sends the first message when all of the pull is decoded, which is when its slot has moved. False when
  /// asked to stop.
  private mutating func awaitFirstMessage(
    of pull: inout Pull, on session: PullSession
  ) throws(PostgresError) -> Bool {
    try session.connection.awaitCopyOut(until: .never)
    while true {
      switch try read(&pull, from: session) {
      case .message: return true
      case .wouldBlock:
        guard try session.awaitInput(orSignal: control.stopSignal) else { return false }
      case .end:
        throw PostgresError(
          .unexpectedReply, message: "a binary COPY without a message", server: session.connection.serverName)
      }
    }
  }

  private mutating func read(
    _ pull: inout Pull, from session: PullSession
  ) throws(PostgresError) -> PostgresConnection.CopyRead {
    var failure: MalformedStreamMessage?
    let outcome = try session.connection.readCopyMessage { bytes in
      do throws(MalformedStreamMessage) { try pull.rows.read(bytes, into: &pull.chunk) } catch { failure = error }
    }
    if let failure {
      malformed = failure
      throw PostgresError(.unexpectedReply, message: failure.reason, server: session.connection.serverName)
    }
    return outcome
  }

  private var malformed: MalformedStreamMessage?

  /// Lets the source forget what is durable on the target; a deep backlog fills its disk.
  private mutating func confirm(on session: PullSession) throws(PostgresError) {
    let durable = control.durable
    guard durable > confirmed + limits.slack else { return }
    try session.advance(request.slot, to: durable)
    confirmed = durable
  }

  /// Ends both sessions, and their slots with them.
  func close() {
    first.connection.close()
    second.connection.close()
  }

  /// Passes on one pull's records; false when asked to stop.
  private mutating func handOver(
    _ pull: inout Pull, of session: PullSession, upTo end: LSN
  ) throws(PostgresError) -> Bool {
    while true {
      if pull.chunk.byteCount >= StreamReceiver.chunkBytes, try !push(&pull) { return false }
      switch try read(&pull, from: session) {
      case .message: continue
      case .wouldBlock:
        guard try session.awaitInput(orSignal: control.stopSignal) else { return false }
      case .end:
        pull.chunk.append(keepalive: end, urgent: false)
        return try push(&pull)
      }
    }
  }

  /// Waits for room in the queue. A target that takes nothing must not make us hold a snapshot on the source.
  private mutating func push(_ pull: inout Pull) throws(PostgresError) -> Bool {
    pull.chunk.trim()
    var deadline = Deadline.after(limits.patience)
    var waiting = queue.byteCount
    while !queue.tryPush(pull.chunk, bytes: pull.chunk.byteCount) {
      if control.isStopped || queue.isClosed { return false }
      let ready = poll([(control.wakeUp.fileDescriptor, Int16(POLLIN))], until: deadline)
      if ready[0] != 0 { control.wakeUp.drain() }
      guard deadline.hasPassed else { continue }
      let left = queue.byteCount
      guard left < waiting else {
        hasGivenUp = true
        throw PostgresError(
          .deadline, message: "the target took no changes for \(limits.patience)", server: first.connection.serverName)
      }
      waiting = left
      deadline = .after(limits.patience)
    }
    pull.bytes += UInt64(pull.chunk.byteCount)
    pull.records += UInt64(pull.chunk.recordCount)
    pull.chunk = StreamChunk(capacity: StreamReceiver.chunkCapacity)
    return !control.isStopped
  }

  private static let pinnedSettings: [String: String] = [
    "lock_timeout": "60s", "log_statement": "none", "log_min_duration_statement": "-1", "client_min_messages": "error",
    "work_mem": "32MB", "jit": "off",
  ]
}

/// One of the two sessions, with its temporary copy of the slot.
private struct PullSession {
  let connection: PostgresConnection
  /// Temporary slots have their session's lifetime, but their names are the server's.
  let slot: String

  static func connect(
    _ parameters: ConnectionParameters, interrupt: WakeUp
  ) throws(PostgresError) -> PullSession {
    let connection = try PostgresConnection.connect(parameters, interrupt: interrupt)
    return PullSession(connection: connection, slot: "pgconvoy_pull_\(connection.backendPID)")
  }

  func sourceEnd() throws(PostgresError) -> LSN {
    try position(connection.query("SELECT pg_catalog.pg_current_wal_flush_lsn()").first)
  }

  func prepare(temporaryKilobytes: Int) throws(PostgresError) {
    // The bytes of pgoutput are in the client's encoding, and must be the database's own.
    try connection.query(
      """
      SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), false),
             pg_catalog.set_config('temp_file_limit', $1, false)
      """, ["\(temporaryKilobytes)kB"])
  }

  /// Makes this session's slot, which stands where the original does.
  func copySlot(_ original: String) throws(PostgresError) {
    try connection.query("SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2, true)", [original, slot])
  }

  func dropSlot() throws(PostgresError) {
    try connection.query("SELECT pg_catalog.pg_drop_replication_slot($1)", [slot])
  }

  /// Decoding without output: quick, and it lets go of the WAL before.
  func advance(_ slot: String, to position: LSN) throws(PostgresError) {
    try connection.query("SELECT pg_catalog.pg_replication_slot_advance($1, $2::pg_lsn)", [slot, position.description])
  }

  /// Has the server decode the transactions that commit between the slot's position and another one, and one beyond
  /// where it straddles the end; returns while it does.
  func begin(upTo end: LSN, request: StreamRequest) throws(PostgresError) {
    let options = request.options.flatMap { [$0.name, $0.value] }.map { quotedLiteral($0) }
    let list = options.isEmpty ? "" : ", VARIADIC ARRAY[\(options.joined(separator: ", "))]"
    try connection.sendCopyOut(
      """
      COPY (SELECT lsn, data FROM pg_catalog.pg_logical_slot_get_binary_changes(
        \(quotedLiteral(slot)), '\(end)', NULL\(list))) TO STDOUT (FORMAT binary)
      """)
  }

  /// Where another session's slot stands after its decoding, and where the source's WAL ends.
  func standing(of other: PullSession) throws(PostgresError) -> (end: LSN, sourceEnd: LSN) {
    let result = try connection.query(
      """
      SELECT confirmed_flush_lsn, pg_catalog.pg_current_wal_flush_lsn()
      FROM pg_catalog.pg_replication_slots WHERE slot_name = $1
      """, [other.slot])
    guard result.rowCount == 1 else {
      throw PostgresError(
        .unexpectedReply, message: "temporary slot \(other.slot) is gone", server: connection.serverName)
    }
    return (try position(result.text(0, 0)), try position(result.text(0, 1)))
  }

  /// False when the signal came.
  func awaitInput(orSignal signal: WakeUp) throws(PostgresError) -> Bool {
    let ready = poll(
      [(connection.fileDescriptor, Int16(POLLIN)), (signal.fileDescriptor, Int16(POLLIN))], until: .never)
    if ready[1] != 0 { return false }
    try connection.consumeInput()
    return true
  }

  private func position(_ text: String?) throws(PostgresError) -> LSN {
    guard let position = text.flatMap({ LSN($0) }) else {
      throw PostgresError(.unexpectedReply, message: "the server gave no position", server: connection.serverName)
    }
    return position
  }
}
