import BlockingIO

/// How long to leave a walsender's socket alone after it has been read dry.
///
/// A walsender hands over record by record, one `send(2)` each, and a reader that waits on the socket is woken by every
/// one of them: on one machine that doubles what a record costs the source. While records come fast it is cheaper for
/// both sides to let some gather. A trickle is never made to wait, and neither is a sender whose records are so large
/// that its buffers would be full before the pause is over.
///
/// A pure value: told what was read and when, it says how long to pause.
struct ReadPace {
  /// Records in a millisecond from which pausing pays. Two hundred transactions a second of four changes are 1.2.
  static let recordsPerMillisecond: UInt64 = 10
  /// Bytes that may gather: what a socket's buffers hold in any case.
  static let gathering: UInt64 = 64 << 10
  static let longest: UInt64 = 500_000
  static let shortest: UInt64 = 50_000
  /// Over what the rate is taken, at least; nanoseconds.
  static let window: UInt64 = 5_000_000

  private var began: UInt64
  private var records: UInt64 = 0
  private var bytes: UInt64 = 0
  private var pause: UInt64 = 0

  init(now: Deadline) { began = now.nanoseconds }

  mutating func received(bytes count: Int) {
    records += 1
    bytes += UInt64(count)
  }

  /// The socket is dry: nanoseconds to leave it alone, 0 to wait on it.
  mutating func pause(now: Deadline) -> UInt64 {
    let elapsed = now.nanoseconds - began
    guard elapsed >= Self.window else { return pause }
    let isFast = records * 1_000_000 >= elapsed * Self.recordsPerMillisecond
    // How long the sender needs for as much as may gather.
    let time = bytes == 0 ? .max : Self.gathering * elapsed / bytes
    pause = isFast && time >= Self.shortest ? min(time, Self.longest) : 0
    began = now.nanoseconds
    records = 0
    bytes = 0
    return pause
  }
}
