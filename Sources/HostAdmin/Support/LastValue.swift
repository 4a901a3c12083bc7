import Synchronization

/// Remembers a number, to say a thing once.
package final class LastValue: Sendable {

  package init() {}

  private let value = Mutex<Int?>(nil)

  /// True when the number differs from the one before.
  package func replace(with new: Int) -> Bool {
    value.withLock { old in
      defer { old = new }
      return old != new
    }
  }
}
