public import BlockingIO
import Glibc
public import PostgresClient
import ReplicationModel

/// Reads one slot's changes into a queue: a deep backlog by SQL, what follows from its walsender.
public struct SlotReader: Sendable {
  private let source: ConnectionParameters
  private let request: StreamRequest
  private let queue: ByteBoundedQueue<StreamChunk>
  private let control: StreamControl
  private let limits: PullLimits?

  /// - Parameters:
  ///   - source: a connection to the slot's database, with the settings that values are to be printed under.
  ///   - limits: nil where nothing is to be read by SQL.
  public init(
    source: ConnectionParameters, request: StreamRequest, queue: ByteBoundedQueue<StreamChunk>,
    control: StreamControl, limits: PullLimits? = PullLimits()
  ) {
    self.source = source
    self.request = request
    self.queue = queue
    self.control = control
    self.limits = limits
  }

  /// Runs until `control.stop()` or until the source ends the stream, which is no error when it shuts down.
  public func run() throws(StreamFailure) {
    var request = request
    if let pulled = try pullBacklog() {
      request.start = pulled.position
      control.pulled = pulled.position
      // The walsender begins by reading again what was pulled, which would take its time from those who apply it.
      if !pulled.hasWideRecords { awaitApplied() }
    }
    if control.isStopped || queue.isClosed { return }
    var walsender = source
    walsender.isReplication = true
    let connection: PostgresConnection
    do throws(PostgresError) {
      connection = try PostgresConnection.connect(walsender, interrupt: control.stopSignal)
    } catch {
      throw .postgres(error)
    }
    var receiver = try StreamReceiver(
      connection: connection, request: request, durable: self.request.start, queue: queue, control: control)
    try receiver.run()
  }

  /// Waits until all that was passed on is on the target, or until `control.stop()`.
  private func awaitApplied() {
    queue.awaitEmpty()
    while !control.isIdle && !control.isStopped && !queue.isClosed {
      _ = poll([(control.wakeUp.fileDescriptor, Int16(POLLIN))], until: .never)
      control.wakeUp.drain()
    }
  }

  /// Nil where nothing was pulled. The slots that were read are gone then: they would hold the source's WAL.
  private func pullBacklog() throws(StreamFailure) -> (position: LSN, hasWideRecords: Bool)? {
    guard let limits else { return nil }
    let puller: BacklogPuller?
    do throws(PostgresError) {
      puller = try BacklogPuller.open(source, request: request, queue: queue, control: control, limits: limits)
    } catch {
      throw .postgres(error)
    }
    guard var puller else { return nil }
    defer { puller.close() }
    try puller.run()
    return (puller.position, puller.hasWideRecords)
  }
}
