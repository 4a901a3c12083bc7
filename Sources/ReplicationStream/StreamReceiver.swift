public import BlockingIO
import Glibc
public import PostgresClient
public import ReplicationModel
import Synchronization

/// What the applying thread tells the receiving one.
public final class StreamControl: Sendable {
  private let state = Mutex<(durable: LSN, stop: Bool, idle: Bool, pulled: LSN)>((.invalid, false, false, .invalid))
  /// Ends the receiver's wait: there is something to confirm, or room in the queue, or it is to stop.
  public let wakeUp = WakeUp()
  /// Ends a statement on the source that the receiving thread waits for. Signalled by `stop()` alone.
  public let stopSignal = WakeUp()

  public init() {}

  /// Everything before `position` is durable on the target; the source may forget it.
  public func confirm(_ position: LSN) {
    state.withLock { $0.durable = max($0.durable, position) }
    wakeUp.signal()
  }

  /// Makes the receiver send a last confirmation and disconnect.
  public func stop() {
    state.withLock { $0.stop = true }
    wakeUp.signal()
    stopSignal.signal()
  }

  /// Whether the applying thread has committed all that it was given. It says so itself.
  public var isIdle: Bool {
    get { state.withLock { $0.idle } }
    set {
      let before = state.withLock { state in
        defer { state.idle = newValue }
        return state.idle
      }
      if newValue && !before { wakeUp.signal() }
    }
  }

  /// What was read by SQL: everything committed before it. Invalid where nothing was.
  var pulled: LSN {
    get { state.withLock { $0.pulled } }
    set { state.withLock { $0.pulled = newValue } }
  }

  public var durable: LSN { state.withLock { $0.durable } }
  public var isStopped: Bool { state.withLock { $0.stop } }
}

/// Why a stream could not go on.
public enum StreamFailure: Error, Sendable {
  case postgres(PostgresError)
  case malformed(MalformedStreamMessage)
  /// A pull held a snapshot on the source and nobody took its changes. A walsender waits as long as it takes.
  case pullGivenUp(String)
}

/// Which slot to stream, from where, with which options of its plugin.
public struct StreamRequest: Sendable {
  public var slot: String
  /// The server skips transactions whose commit lies before it. Never behind the slot's confirmed flush position:
  /// the server would silently start later.
  public var start: LSN
  public var options: [(name: String, value: String)]
  /// Where the source's WAL ended when the stream was asked for: what lies far before it is late anyway.
  public var sourceEnd: LSN

  public init(
    slot: String, start: LSN, options: [(name: String, value: String)], sourceEnd: LSN = .invalid
  ) {
    self.slot = slot
    self.start = start
    self.options = options
    self.sourceEnd = sourceEnd
  }

  /// `START_REPLICATION SLOT … LOGICAL …`
  public var command: String {
    let list = options.map { "\(quotedIdentifier($0.name)) '\($0.value)'" }.joined(separator: ", ")
    return "START_REPLICATION SLOT \(quotedIdentifier(slot)) LOGICAL \(start)" + (list.isEmpty ? "" : " (\(list))")
  }
}

/// The receiving half of a worker: one plain loop on a thread of its own.
///
/// It reads the walsender's messages, packs them into chunks for the applying thread, and answers with what that
/// thread has made durable. While the queue is full it stops reading, but goes on answering, so that a slow target
/// never looks like a dead receiver to the source.
public struct StreamReceiver {
  /// A chunk is handed over when it has grown to this many bytes, or when the socket is dry.
  public static let chunkBytes = 256 << 10
  /// With room for the record that makes it full.
  static let chunkCapacity = chunkBytes + (8 << 10)

  private let connection: PostgresConnection
  private let queue: ByteBoundedQueue<StreamChunk>
  private let control: StreamControl
  private var feedback: FeedbackPolicy
  private var pace: ReceivePace

  /// Starts streaming on a replication connection.
  ///
  /// - Parameter durable: what the target has for certain, where that is less than the stream's start.
  public init(
    connection: PostgresConnection, request: StreamRequest, durable: LSN? = nil,
    queue: ByteBoundedQueue<StreamChunk>, control: StreamControl, startTimeout: Duration = .seconds(60)
  ) throws(StreamFailure) {
    self.connection = connection
    self.queue = queue
    self.control = control
    feedback = FeedbackPolicy(start: request.start, durable: durable ?? request.start, now: .now())
    pace = ReceivePace(sourceEnd: request.sourceEnd)
    do throws(PostgresError) {
      try connection.startCopyBoth(request.command, until: .after(startTimeout))
    } catch {
      throw .postgres(error)
    }
  }

  /// Runs until `control.stop()` or until the source ends the stream, which is no error when it shuts down.
  public mutating func run() throws(StreamFailure) {
    do throws(PostgresError) {
      var chunk = StreamChunk()
      while !control.isStopped {
        feedback.becameDurable(control.durable)
        try sendFeedbackIfDue()
        let ended = try receive(into: &chunk)
        if !ended, chunk.byteCount < Self.chunkBytes, connection.availableInput > 0 {
          try connection.consumeInput()
          continue
        }
        let isBlocked = !chunk.isEmpty && !handOver(&chunk)
        if ended || queue.isClosed { break }
        let pauses = pace.pauses()
        // Left out, for a connection that has ended is ready for ever, whatever is asked.
        let socket = isBlocked || pauses ? -1 : connection.fileDescriptor
        let ready = poll(
          [(socket, Int16(POLLIN)), (control.wakeUp.fileDescriptor, Int16(POLLIN))],
          until: pauses ? min(.after(ReceivePace.pause), feedback.nextUpdate) : feedback.nextUpdate)
        if ready[1] != 0 { control.wakeUp.drain() }
        if ready[0] != 0 { try connection.consumeInput() }
      }
      feedback.becameDurable(control.durable)
      let last = feedback.forcedUpdate(now: .now(), clock: postgresClock())
      try connection.writeCopyMessage(last.bytes, until: .after(.seconds(2)))
    } catch {
      throw malformed.map { .malformed($0) } ?? .postgres(error)
    }
    if let malformed { throw .malformed(malformed) }
  }

  private var malformed: MalformedStreamMessage?

  /// Moves whole messages from libpq into the chunk. True when the stream has ended.
  private mutating func receive(into chunk: inout StreamChunk) throws(PostgresError) -> Bool {
    while malformed == nil {
      if chunk.byteCount >= Self.chunkBytes && !handOver(&chunk) { return false }
      var failure: MalformedStreamMessage?
      let outcome = try connection.readCopyMessage { bytes in
        do throws(MalformedStreamMessage) {
          let message = try StreamMessage(bytes)
          feedback.receive(message)
          switch message {
          case .data(let start, _):
            pace.record(bytes: bytes.count, lsn: start)
            chunk.append(lsn: start, record: UnsafeRawBufferPointer(rebasing: bytes[StreamMessage.dataHeaderLength...]))
          case .keepalive(let walEnd, let urgent):
            chunk.append(keepalive: walEnd, urgent: urgent)
          }
        } catch {
          failure = error
        }
      }
      malformed = failure
      switch outcome {
      case .message: continue
      case .wouldBlock: return false
      case .end: return true
      }
    }
    return true
  }

  private func handOver(_ chunk: inout StreamChunk) -> Bool {
    chunk.trim()
    guard queue.tryPush(chunk, bytes: chunk.byteCount) else { return false }
    // The next chunk is likely to be as large as this one; a trickle never pays for a backlog's buffer.
    chunk = StreamChunk(capacity: min(chunk.byteCount, Self.chunkCapacity))
    return true
  }

  private mutating func sendFeedbackIfDue() throws(PostgresError) {
    guard let update = feedback.update(now: .now(), clock: postgresClock()) else { return }
    try connection.writeCopyMessage(update.bytes, until: .after(.seconds(30)))
  }
}

/// Microseconds since 2000-01-01 UTC, PostgreSQL's own clock.
func postgresClock() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return (Int64(time.tv_sec) - 946_684_800) * 1_000_000 + Int64(time.tv_nsec) / 1000
}
