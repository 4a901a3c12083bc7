import BlockingIO
import ChangeApply
import LogicalDecoding
import OriginSession
import PostgresClient
public import ReplicationModel

/// A verifier's wish: a snapshot of the target that holds just what the source had committed up to an LSN.
public struct SnapshotOrder: Sendable, Equatable {
  public var id: Int64
  /// The last COMMIT's end at most; nil while the verifier is about to find out, which the worker waits for.
  public var until: LSN?

  public init(id: Int64, until: LSN?) {
    self.id = id
    self.until = until
  }
}

/// What became of a verifier's wish.
public enum SnapshotAnswer: Sendable, Equatable {
  /// The worker waits between two transactions: nothing of the source is on the target that is not committed by now.
  case held
  /// A transaction on the target has the snapshot, and stays open until the order is gone.
  case exported(snapshot: String)
  case failed(String)
}

/// Where verifiers' orders reach a worker. `@unchecked Sendable`: every property is touched with `condition` locked
/// only.
final class SnapshotMailbox: @unchecked Sendable {
  private let condition = ConditionVariable()
  private var current: SnapshotOrder?
  private var news: (id: Int64, answer: SnapshotAnswer)?

  var order: SnapshotOrder? { condition.withLock { current } }

  func place(_ order: SnapshotOrder?) {
    condition.withLock {
      current = order
      condition.broadcast()
    }
  }

  /// Ends a wait, so that whoever waits looks round.
  func wake() { condition.withLock { condition.broadcast() } }

  func answer(_ id: Int64, _ answer: SnapshotAnswer) { condition.withLock { news = (id, answer) } }

  func takeAnswer() -> (id: Int64, answer: SnapshotAnswer)? {
    condition.withLock {
      defer { news = nil }
      return news
    }
  }

  /// Waits until the order names its LSN; nil when it is gone, the time is over, or the worker is to stop.
  func awaitPosition(of id: Int64, until deadline: Deadline, orUntil isStopping: () -> Bool) -> LSN? {
    condition.withLock {
      while let order = current, order.id == id, !isStopping() {
        if let position = order.until { return position }
        if !condition.wait(until: deadline) { return nil }
      }
      return nil
    }
  }
}

/// A worker's part in a verification while it runs: it waits until the verifier has a snapshot of the source, applies
/// just what that holds, opens a snapshot on the target, and goes on.
///
/// The worker is held up for as long as the source takes to make a slot, and never longer than `patience`. It is never
/// made to fail: whatever goes wrong is the verifier's trouble.
final class SnapshotExport: CommitGate {
  /// How long the worker waits for the verifier at most.
  static let patience = Duration.seconds(30)

  private let mailbox: SnapshotMailbox
  private let target: ConnectionParameters
  private let isStopping: () -> Bool
  private var order: SnapshotOrder?
  /// Up to where the order wants all, once the worker knows that it is not past it.
  private var until: LSN?
  private var holder: PostgresConnection?

  init(mailbox: SnapshotMailbox, target: ConnectionParameters, isStopping: @escaping () -> Bool) {
    self.mailbox = mailbox
    self.target = target
    self.isStopping = isStopping
  }

  /// Looks for orders; called between two turns.
  func attend(_ applier: ChangeApplier<some RecordParser>) throws(ApplyFailure) {
    let wanted = mailbox.order
    guard wanted?.id != order?.id else { return }
    // The one before is gone, and whoever needed its snapshot has it.
    holder?.close()
    holder = nil
    order = wanted
    until = nil
    try applier.setGate(wanted == nil ? nil : self)
  }

  func between(_ position: LSN) -> Bool {
    guard let order, mailbox.order?.id == order.id else { return false }
    if until != nil { return true }
    mailbox.answer(order.id, .held)
    guard let named = mailbox.awaitPosition(of: order.id, until: .after(Self.patience), orUntil: isStopping) else {
      mailbox.answer(order.id, .failed("the verifier named no position within \(Self.patience)"))
      return false
    }
    guard position <= named else {
      mailbox.answer(order.id, .failed("the worker is at \(position) already, beyond \(named)"))
      return false
    }
    until = named
    return true
  }

  func before(_ position: LSN) -> Bool {
    guard let order, let until, mailbox.order?.id == order.id else { return false }
    if position <= until { return true }
    do throws(PostgresError) {
      mailbox.answer(order.id, .exported(snapshot: try export()))
    } catch {
      mailbox.answer(order.id, .failed("no snapshot on \(error.server): \(error)"))
    }
    return false
  }

  private func export() throws(PostgresError) -> String {
    let deadline = Deadline.after(.seconds(10))
    let connection = try PostgresConnection.connect(target)
    try connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", until: deadline)
    let snapshot = try connection.query("SELECT pg_catalog.pg_export_snapshot()", until: deadline).first
    guard let snapshot else {
      throw PostgresError(.unexpectedReply, message: "a snapshot without a name", server: connection.serverName)
    }
    holder = connection
    return snapshot
  }
}
