import BlockingIO
import ReplicationModel
import ReplicationStream
import Synchronization

/// The receiving thread of one connection, with its queue.
final class Feed: Sendable {
  /// Bytes that may wait between the two threads.
  static let queueBytes = 16 << 20

  let control = StreamControl()
  let queue: ByteBoundedQueue<StreamChunk>
  private let end = ThreadEnd()
  private let result = Mutex<StreamFailure?>(nil)

  init(startingAt start: LSN, capacity: Int = queueBytes) {
    queue = ByteBoundedQueue(capacity: capacity, roomWakeUp: control.wakeUp)
    control.confirm(start)
  }

  func start(_ reader: SlotReader, name: String) {
    startThread(name: name) {
      do throws(StreamFailure) {
        try reader.run()
      } catch {
        self.result.withLock { $0 = error }
      }
      self.queue.close()
      self.end.signal()
    }
  }

  /// Throws what ended the stream, if it was an error.
  func outcome() throws(StreamFailure) {
    if let failure = result.withLock({ $0 }) { throw failure }
  }

  func stop() {
    control.stop()
    queue.close()
    end.wait()
  }
}
