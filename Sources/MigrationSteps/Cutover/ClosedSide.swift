import ClosingReports
import HostAdmin
import Inventory
import Journal
import MigrationCore
import ReplicationModel

/// The side that a cutover closes, shown to be closed: the fence stands and is in force, nobody is inside, and nobody
/// but pgconvoy has committed anything since the drain.
struct ClosedSide {
  let context: MigrationContext
  let direction: StreamDirection

  private var side: Side { direction.from }
  private var host: String { context.host(side).name }

  private static let end = Found<WALPosition>("closed_side.end", placeholder: "")
  /// Whether others have committed there while the other side was opened.
  static let wasWrittenTo = Found<Bool>("closed_side.written", placeholder: "")

  /// From now on every commit of others counts: what was committed before is behind the markers that come now.
  func beginning() -> Deed {
    .aside { _ in
      guard try await Fence(context: context, side: side).isUp() else {
        // A playbook may drain without a fence of ours.
        return try await context.removeFact(.closedSince)
      }
      let watch = await context.fenceWatch(side)
      await watch.begin()
      try await context.setFact(.closedSince, ClosedSince(side: side, position: try await watch.position()))
    }
  }

  /// The last look before the other side is opened.
  ///
  /// - Throws: when performed, `fence.leaked` where others have committed since the drain, `fence.not-proven` where that
  ///   cannot be told and the fence did not stand all the time.
  func proving() -> [Deed] {
    closing() + [
      .look(side, "call the \(direction.noun) off if others have committed on \(host) since the drain") { found in
        guard let since = try await since(), let end = found[Self.end] else { return }
        do {
          let commits = try await context.fenceWatch(side).foreignCommits(since: since, until: end)
          guard commits.isEmpty else { throw leaked(commits) }
        } catch let error as ConvoyError where error.code == "fence.wal-unreadable" {
          try await refuseUnproven(error)
        }
        try await context.setFact(.closedSince, ClosedSince(side: side, position: end))
      }
    ]
  }

  /// The first look behind the opening: what came in meanwhile is not there, and is not dropped.
  func lookingBack() -> [Deed] {
    closing() + [
      .look(side, "keep the slots of \(host) if others have committed there meanwhile") { found in
        guard let since = try await since(), let end = found[Self.end] else { return }
        do {
          let commits = try await context.fenceWatch(side).foreignCommits(since: since, until: end)
          if !commits.isEmpty {
            found[Self.wasWrittenTo] = true
            try await warn(commits)
          }
        } catch let error as ConvoyError where error.code == "fence.wal-unreadable" {
          try await noteUnread(error)
        }
        try await context.setFact(.closedSince, ClosedSince(side: side, position: end))
        await context.fenceWatch(side).begin()
      }
    ]
  }

  /// Closes it once more if it is not, and makes the end of what was written by then durable.
  private func closing() -> [Deed] {
    [
      .aside { found in
        guard try await since() != nil else { return }
        let watch = await context.fenceWatch(side)
        await watch.pause()
        try await watch.roundAndAlarm()
        found[Self.end] = try await watch.position()
      },
      .sql(side, HandOffSQL.flush),
    ]
  }

  /// Nil where the side is none that is to be closed.
  private func since() async throws -> WALPosition? {
    var isClosed = try await context.isHeldUp(direction)
    if !isClosed { isClosed = try await context.isOver(direction) }
    guard isClosed, let since = try await context.fact(.closedSince), since.side == side.rawValue else { return nil }
    return since.position
  }

  // MARK: what is told

  private func leaked(_ commits: [ForeignCommit]) -> ConvoyError {
    ConvoyError(
      "fence.leaked", "\(commits.count) transactions of others came through behind the fence", at: place,
      hint: "find out what let them in, then run the \(direction.noun) again",
      cause: few(commits.map(\.description), separator: "; "))
  }

  private func refuseUnproven(_ error: ConvoyError) async throws {
    let breaches = try await context.fact(.fenceBreaches) ?? []
    guard breaches.contains(where: { $0.side == side.rawValue }) else { return try await noteUnread(error) }
    throw ConvoyError(
      "fence.not-proven", "the fence of \(host) did not stand all the time, and whether anybody wrote cannot be told",
      at: place, hint: error.hint, cause: error.cause)
  }

  private func noteUnread(_ error: ConvoyError) async throws {
    context.progress("\(error.message): \(error.cause ?? "")")
    try await context.updateReport { report in
      report.note(.warning, "\(error.message); the markers and the watch over its fence found nothing")
    }
  }

  private func warn(_ commits: [ForeignCommit]) async throws {
    let what =
      "\(commits.count) transactions of others were committed while the \(direction.toName) was opened: "
      + few(commits.map(\.description), separator: "; ")
    try await context.alarm([
      FenceBreach(side: side, at: millisecondsSince1970(), what: what, commits: UInt64(commits.count))
    ])
    try await context.updateReport { report in
      report.note(.failure, "on \(host) \(what). They are not on the other side; the slots there keep their rows")
    }
  }

  private var place: ConvoyError.Place { context.place("open_\(direction.toName)", side) }
}

extension MigrationContext {
  /// Refuses to call a cutover a success behind which its closed side was written to.
  ///
  /// - Throws: `fence.written-behind`.
  func refuseWrittenBehind(_ direction: StreamDirection) async throws {
    let breaches = try await fact(.fenceBreaches) ?? []
    let commits = breaches.filter { $0.side == direction.from.rawValue }.reduce(0) { $0 + $1.commits }
    guard commits > 0 else { return }
    let host = host(direction.from).name
    throw ConvoyError(
      "fence.written-behind",
      "\(host) should have been closed: \(commits) transactions of others are there and not on the \(direction.toName)",
      at: place(StepName.report, direction.from),
      hint: "the report names their tables; carry their rows over by hand, from there")
  }
}
