import BlockingIO
import OriginSession
import PostgresClient
import ReplicationModel

/// A group's place among those that are committed one after the other, whichever session carries each out.
///
/// `@unchecked Sendable`: `result` is touched with `condition` locked only.
final class CommitTurn: @unchecked Sendable {
  private let condition = ConditionVariable()
  private var result: Result<BatchOutcome, ApplyFailure>?
  /// The process that carries the group out.
  private let backend: Int32

  init(backend: Int32) { self.backend = backend }

  /// Said once, by the group's lane.
  func settle(_ result: Result<BatchOutcome, ApplyFailure>) {
    condition.withLock {
      self.result = result
      condition.broadcast()
    }
  }

  /// Nil while it is under way.
  var outcome: Result<BatchOutcome, ApplyFailure>? { condition.withLock { result } }

  /// How long the one behind waits before it looks whether it is itself what the group waits for.
  private static var suspicion: Duration { .seconds(1) }

  /// Waits until the group is committed. Throws when it failed, and when it waits for a lock of the session that asks:
  /// the server sees no deadlock in that, since it does not know that this session waits too.
  func awaitCommit(in pipeline: TargetPipeline) throws(ApplyFailure) {
    while true {
      if let result = wait(until: .after(Self.suspicion)) {
        switch result {
        case .success: return
        case .failure(let error): throw error
        }
      }
      if try pipeline.blocks(backend) {
        throw ApplyFailure(.batchMismatch, "the batch before waits for a lock of this one")
      }
    }
  }

  private func wait(until deadline: Deadline) -> Result<BatchOutcome, ApplyFailure>? {
    condition.withLock {
      while result == nil, condition.wait(until: deadline) {}
      return result
    }
  }
}
