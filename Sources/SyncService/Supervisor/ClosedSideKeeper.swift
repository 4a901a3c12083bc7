import HostAdmin
import Inventory
import Journal
import Logging
import MigrationCore
import ReplicationModel

/// Keeps the side closed that nobody is to come into: a copy in its quarantine, and what a cutover or rollback has left,
/// until the migration is finished. Says what others have committed on a server that was left. During a cutover the play
/// itself does so.
struct ClosedSideKeeper: Sendable {
  let context: MigrationContext
  let logger: Logger

  /// Between two looks; more where one takes long.
  private static let pause = Duration.seconds(1)
  /// Between two readings of the closed server's WAL, where there is any.
  private static let readingPause = Duration.seconds(5)

  /// The side that nobody but pgconvoy may come into while the migration stands so; nil while it is in between.
  static func closedSide(_ record: MigrationRecord?) -> Side? {
    // Who stops the workers for good is about to open what was closed.
    guard let record, record.desiredSync != .stopped else { return nil }
    return switch record.state {
    case .cutOver: .source
    case .handedOff, .rolledBack: .target
    default: nil
    }
  }

  func run() async {
    var watch: FenceWatch?
    var reading: Reading?
    var side: Side?
    var trouble: String?
    while !Task.isCancelled {
      do {
        let closed = Self.closedSide(try await context.record())
        if closed != side {
          await watch?.end()
          (watch, reading, side) = (nil, nil, closed)
        }
        if let closed {
          let keeper = watch ?? newWatch(closed)
          watch = keeper
          try await keeper.roundAndAlarm()
          // What others have written to a copy in its quarantine, verification finds at the cutover.
          if try await context.state() != .handedOff {
            var current = reading ?? Reading(side: closed)
            try await read(&current, keeper)
            reading = current
          }
        }
        trouble = nil
      } catch {
        let reason = "\(error)"
        if reason != trouble, !Task.isCancelled {
          logger.warning("a closed side was not looked at, or not closed", metadata: ["reason": "\(reason)"])
        }
        trouble = reason
        try? await Task.sleep(for: .seconds(2))
      }
      try? await Task.sleep(for: Self.pause)
    }
    await watch?.end()
  }

  private func newWatch(_ side: Side) -> FenceWatch {
    FenceWatch(context, side) { try await isStill(side) }
  }

  private func isStill(_ side: Side) async throws -> Bool {
    if Task.isCancelled { return false }
    return try await Self.closedSide(context.record()) == side
  }

  // MARK: commits of others

  /// How far the closed server's WAL has been read.
  private struct Reading {
    var side: Side
    /// Up to where it has been read; nil before the first time.
    var read: WALPosition?
    /// The end as of the time before: a record begins there, and by now it may be on the disk.
    var end: WALPosition?
    var next = ContinuousClock.now
  }

  private func read(_ reading: inout Reading, _ watch: FenceWatch) async throws {
    guard reading.next <= .now else { return }
    reading.next = .now + Self.readingPause
    if reading.read == nil {
      // Where the step that opened the other side has left off.
      let since = try await context.fact(.closedSince)
      reading.read = if let since, since.side == reading.side.rawValue { since.position } else { nil }
    }
    let current = try await watch.position()
    guard let start = reading.read else { return reading.read = current }
    if let end = reading.end, start.lsn < end.lsn {
      guard let flushed = try await watch.flushed(), flushed >= end.lsn else { return }
      do {
        let commits = try await watch.foreignCommits(since: start, until: end)
        try await alarm(commits, reading.side)
      } catch let error as ConvoyError where error.code == "fence.wal-unreadable" {
        logger.warning("it cannot be told whether others have committed on a closed server: \(error)")
      }
      // Nothing is told twice, by whatever process comes next.
      guard try await isStill(reading.side) else { return }
      reading.read = end
      try await context.setFact(.closedSince, ClosedSince(side: reading.side, position: end))
    }
    reading.end = current
  }

  private func alarm(_ commits: [ForeignCommit], _ side: Side) async throws {
    guard !commits.isEmpty else { return }
    let what =
      "\(commits.count) transactions of others were committed there: "
      + few(commits.map(\.description), separator: "; ")
    try await context.alarm([
      FenceBreach(side: side, at: millisecondsSince1970(), what: what, commits: UInt64(commits.count))
    ])
  }
}
