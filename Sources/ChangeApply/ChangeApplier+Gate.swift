public import OriginSession
public import ReplicationModel

/// Somebody who decides, between one source transaction and the next, how the stream goes on.
///
/// While there is one, each source transaction is a target transaction of its own. Both calls are made on the applying
/// thread and may take their time; the answer says whether the gate stays.
public protocol CommitGate: AnyObject {
  /// All that came before `position` is committed on the target and visible there, and nothing else is open.
  func between(_ position: LSN) -> Bool

  /// One more transaction would be visible on the target, the one whose COMMIT ends at `position`; or the stream is
  /// known to hold nothing more up to there. It is asked after `between` only.
  func before(_ position: LSN) -> Bool
}

extension ChangeApplier {
  /// Puts a gate into the stream: at once between two transactions, else at the end of the one under way.
  public func setGate(_ gate: (any CommitGate)?) throws(ApplyFailure) {
    self.gate = gate
    machine.setGate(gate != nil)
    try obey()
  }

  func answer(stays: Bool) {
    if !stays { gate = nil }
    machine.gateAnswered(stays: stays)
  }
}
