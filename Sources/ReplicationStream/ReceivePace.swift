import BlockingIO
public import ReplicationModel

extension LSN {
  /// Bytes of WAL before the source's end in which a stream is late anyway.
  private static let farBehind: UInt64 = 8 << 20

  /// Whether a stream that has come so far is a backlog, whatever of it is at hand, and its latency of no interest.
  public func isFarBefore(_ sourceEnd: LSN) -> Bool { sourceEnd.bytes(since: self) > Self.farBehind }
}

/// Whether a walsender is better left alone for a moment than waited for.
///
/// It sends record by record: whoever takes them as they come wakes up for each, and costs the sender more. Large
/// records are worth a wake-up, and would fill the socket meanwhile.
struct ReceivePace {
  static let pause = Duration.milliseconds(1)
  /// Bytes in a millisecond from which a stream is dense.
  private static let denseBytes = 4 << 10
  private static let window: UInt64 = 1_000_000
  /// Bytes of a record, on average, from which it is large.
  private static let largeBytes = 2 << 10

  private let sourceEnd: LSN
  private var last = LSN.invalid
  /// Since the last question.
  private var fresh = (records: 0, bytes: 0)
  /// Since the window began.
  private var recent = (records: 0, bytes: 0)
  private var begin: UInt64 = 0

  init(sourceEnd: LSN) { self.sourceEnd = sourceEnd }

  @inline(__always)
  mutating func record(bytes count: Int, lsn: LSN) {
    fresh.records += 1
    fresh.bytes += count
    last = lsn
  }

  /// To be asked when the socket is dry: by what has come within the last millisecond.
  mutating func pauses(at now: UInt64 = Deadline.now().nanoseconds) -> Bool {
    if now - begin > Self.window {
      begin = now
      recent = (0, 0)
    }
    recent.records += fresh.records
    recent.bytes += fresh.bytes
    fresh = (0, 0)
    // Not where nothing has come either.
    return (last.isFarBefore(sourceEnd) || recent.bytes >= Self.denseBytes)
      && recent.bytes < recent.records * Self.largeBytes
  }
}
