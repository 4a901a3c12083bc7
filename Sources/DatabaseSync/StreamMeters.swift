import BlockingIO
import ChangeApply
import ReplicationModel
import ReplicationStream

/// Whether changes go in by set-based statements.
struct BacklogSense {
  /// Bytes that wait.
  private static let waitingBytes = 64 << 10

  var flow = FlowMeter()

  /// Far before the end that the source's WAL had when the stream was asked for, a stream is behind, however little of it
  /// waits: a walsender that shares its core with the target may be slower than the target.
  func isThere(waiting bytes: Int, at progress: Progress) -> Bool {
    bytes >= Self.waitingBytes || flow.isDense || progress.received.isFarBefore(progress.sourceEnd)
  }
}

/// Whether a stream comes so densely that it is better applied in sets, even where little of it waits at any moment.
struct FlowMeter {
  /// 13 MB a second.
  private static let denseBytes = 128 << 10
  private static let window: UInt64 = 10_000_000
  private var begin: UInt64 = 0
  private var bytes = 0
  private(set) var isDense = false

  mutating func record(bytes count: Int, at now: UInt64 = Deadline.now().nanoseconds) {
    if now - begin >= Self.window {
      // A window in which nothing came to its end tells nothing about now.
      isDense = bytes >= Self.denseBytes && now - begin < 2 * Self.window
      begin = now
      bytes = 0
    }
    bytes += count
    if bytes >= Self.denseBytes { isDense = true }
  }
}

/// A rate over the last few seconds.
struct RateMeter {
  private static let window: UInt64 = 5_000_000_000
  private var samples: [(time: UInt64, total: UInt64)] = []

  mutating func record(total: UInt64) {
    let now = Deadline.now().nanoseconds
    if let last = samples.last, now - last.time < 200_000_000 { return }
    samples.append((now, total))
    while samples.count > 2 && now - samples[1].time > Self.window { samples.removeFirst() }
  }

  var perSecond: Double {
    guard let first = samples.first, let last = samples.last, last.time > first.time else { return 0 }
    return Double(last.total - first.total) / (Double(last.time - first.time) / 1e9)
  }
}
