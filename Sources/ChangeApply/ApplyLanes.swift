import BlockingIO
import OriginSession
import PostgresClient
import ReplicationModel

/// The sessions that batches go to: the first, which also takes everything else, and behind a backlog a second one.
///
/// Groups alternate while the target is what the stream waits for. What a group changes and the one before does not goes
/// in beside that one, the rest once it is committed, and then its own COMMIT: the target sees group after group in the
/// order of the stream, as with one session. See ADR 14.
///
/// Used by the applying thread only.
final class ApplyLanes {
  let first: BatchLane
  private let pipeline: TargetPipeline
  private var second: (lane: BatchLane, pipeline: TargetPipeline)?
  private let usesSecond: Bool
  /// When a second session may be opened, where there is none.
  private var nextTry = Deadline.now()
  /// How long there is no second session where the server had no room for it.
  private static let retryInterval = Duration.seconds(60)
  private var hasUsedSecond = false
  /// The last group that was submitted and may still be under way.
  private var last: CommitTurn?
  /// The keys that it has of each table; nil where the next group may not start beside it.
  private var lastKeys: [RelationName: BatchKeys]?

  /// - Parameter usesSecond: whether there may be a second session.
  init(_ pipeline: TargetPipeline, usesSecond: Bool) {
    self.pipeline = pipeline
    self.usesSecond = usesSecond
    first = BatchLane(BatchWriter(pipeline), interrupt: pipeline.session.connection.interrupt)
  }

  /// What a group has to know of the one before.
  struct Neighbour {
    fileprivate let turn: CommitTurn
    /// Of each table, the keys that rows have to be held back for.
    let keys: [RelationName: BatchKeys]
  }

  /// Whether there is a second session, or may be one.
  var mayUseSecond: Bool { second != nil || usesSecond && nextTry.hasPassed }

  /// The group that the next one may start beside; nil where the next one has to be in the same session, or none is
  /// under way.
  var neighbour: Neighbour? {
    guard mayUseSecond, let last, let lastKeys, last.outcome == nil else { return nil }
    return Neighbour(turn: last, keys: lastKeys)
  }

  /// Hands a group over.
  ///
  /// - Parameters:
  ///   - neighbour: the group that the job was made to go beside; nil for the first session.
  ///   - keys: of each table; nil where the group has changed more than the job says.
  /// - Returns: what comes of it, and the session that has it.
  func submit(
    _ job: BatchJob, to place: GroupPlace, beside neighbour: Neighbour?, keys: [RelationName: BatchKeys]?
  ) throws(ApplyFailure) -> (turn: CommitTurn, session: GroupMachine.Session) {
    var job = job
    var (lane, pipeline, session) = (first, self.pipeline, GroupMachine.Session.first)
    switch place {
    case .first: break
    case .firstAfterLanes: try drain()
    case .firstBesideSecond: job.before = neighbour?.turn
    case .second:
      guard try openSecond(), let second else { break }
      (lane, pipeline, session) = (second.lane, second.pipeline, .second)
      job.before = neighbour?.turn
    }
    let turn = CommitTurn(backend: pipeline.session.backend.pid)
    job.turn = turn
    try lane.submit(job)
    (last, lastKeys) = (turn, keys)
    return (turn, session)
  }

  /// Hands over a piece of a group that goes on, to the first session.
  func submit(piece: BatchJob) throws(ApplyFailure) { try first.submit(piece) }

  private func openSecond() throws(ApplyFailure) -> Bool {
    hasUsedSecond = true
    if second != nil { return true }
    guard let session = pipeline.session.second?.open(beside: pipeline.session.backend) else {
      nextTry = .after(Self.retryInterval)
      return false
    }
    let pipeline = try TargetPipeline(session)
    second = (BatchLane(BatchWriter(pipeline), interrupt: session.connection.interrupt), pipeline)
    return true
  }

  /// Waits until nothing is under way. Then the owner may use the first session.
  func drain() throws(ApplyFailure) {
    (last, lastKeys) = (nil, nil)
    // What failed first is told by either: a group fails with the failure of the one before.
    try first.drain()
    try second?.lane.drain()
  }

  /// Whether nothing is under way, so that what waits may be worth handing over.
  var isIdle: Bool { first.isIdle && second?.lane.isIdle ?? true }

  /// Closes the second session if it has not been used since the last call; nothing may be under way. It comes back when
  /// it is needed.
  func rest() {
    defer { hasUsedSecond = false }
    if !hasUsedSecond { endSecond() }
  }

  func forgetStatements() {
    first.writer.forgetStatements()
    second?.lane.writer.forgetStatements()
  }

  func end() {
    // Both before either is waited for: one may wait for the other.
    first.breakOff()
    second?.lane.breakOff()
    first.end()
    endSecond()
  }

  private func endSecond() {
    second?.lane.end()
    second = nil
    pipeline.session.second?.close()
  }
}
