internal import DequeModule

/// A queue between two threads that is bounded by the bytes in it, not by the number of elements.
///
/// `@unchecked Sendable`: every stored property is touched with `condition` locked only.
public final class ByteBoundedQueue<Element: Sendable>: @unchecked Sendable {
  private let condition = ConditionVariable()
  private let capacity: Int
  private var elements: Deque<(element: Element, bytes: Int)> = []
  private var bytes = 0
  private var closed = false
  /// Signalled when a queue that had refused an element has room again.
  private let roomWakeUp: WakeUp?
  private var refused = false

  /// - Parameters:
  ///   - capacity: bytes; an element larger than that is taken when the queue is empty.
  ///   - roomWakeUp: signalled when there is room again after `tryPush` returned false.
  public init(capacity: Int, roomWakeUp: WakeUp? = nil) {
    self.capacity = capacity
    self.roomWakeUp = roomWakeUp
  }

  /// False when there is no room now, or when the queue is closed.
  public func tryPush(_ element: Element, bytes size: Int) -> Bool {
    condition.withLock {
      if closed { return false }
      if bytes > 0 && bytes + size > capacity {
        refused = true
        return false
      }
      elements.append((element, size))
      bytes += size
      condition.signal()
      return true
    }
  }

  /// The next element; nil when the deadline passes first or the queue is closed and empty.
  public func pop(until deadline: Deadline) -> Element? {
    condition.lock()
    defer { condition.unlock() }
    while elements.isEmpty {
      if closed { return nil }
      if !condition.wait(until: deadline) && elements.isEmpty { return nil }
    }
    let (element, size) = elements.removeFirst()
    bytes -= size
    if elements.isEmpty { condition.broadcast() }
    if refused && bytes * 2 <= capacity {
      refused = false
      roomWakeUp?.signal()
    }
    return element
  }

  public var isEmpty: Bool { condition.withLock { elements.isEmpty } }
  public var isClosed: Bool { condition.withLock { closed } }
  /// The bytes waiting in the queue.
  public var byteCount: Int { condition.withLock { bytes } }

  /// Waits until everything has been taken, or the queue is closed.
  public func awaitEmpty() {
    condition.withLock {
      while !elements.isEmpty && !closed { condition.wait() }
    }
  }

  /// Nothing is taken any more; what is inside can still be popped.
  public func close() {
    condition.withLock {
      closed = true
      condition.broadcast()
    }
    roomWakeUp?.signal()
  }
}
