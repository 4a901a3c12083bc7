import BlockingIO
import OriginSession
import ReplicationModel

/// Groups of source transactions: what the machine says is done here, and answered.
extension ChangeApplier {
  /// Does what is to be done before the stream goes on.
  func obey() throws(ApplyFailure) {
    while let step = machine.next() {
      switch step {
      case .awaitLanes: try drainLanes()
      case .askLanes: machine.lanes(areIdle: lanes.isIdle)
      case .close: try closeGroup()
      case .moveFirstOrigin(let progress):
        try pipeline.commit(GroupCommit(progress: progress, time: lastCommitTime))
        machine.movedFirstOrigin()
      case .flush(let recorded):
        try pipeline.flush(reaching: recorded)
        machine.flushed(pipeline.flushed)
      case .askBefore(let position): answer(stays: gate?.before(position) ?? false)
      case .askBetween(let position): answer(stays: gate?.between(position) ?? false)
      case .rest: lanes.rest()
      }
    }
  }

  private func closeGroup() throws(ApplyFailure) {
    let end = machine.end(now: .now())
    let commit = GroupCommit(
      progress: end.progress, time: lastCommitTime, xid: sourceTransaction,
      announcements: markers.inGroup.map { announcement($0, at: end.progress) }, flushes: end.flushes)
    if end.isBatching {
      let submitted = try submit(commit, end)
      turns.append(submitted.turn)
      machine.handedOver(to: submitted.session)
    } else {
      try useSession()
      try pipeline.commit(commit)
      let outcome = BatchOutcome(of: pipeline)
      note(machine.committed(flushed: outcome.flushed), outcome)
    }
    markers.inGroup.removeAll()
  }

  private func note(_ group: ClosedGroup, _ outcome: BatchOutcome) {
    counters.transactions += group.transactions
    counters.changes += group.changes
    counters.missedRows += outcome.missedRows
  }

  /// Waits until the lanes have carried out all that they were given.
  func drainLanes() throws(ApplyFailure) {
    guard machine.lanesAreBusy else { return }
    try watchingLanes { () throws(ApplyFailure) in try lanes.drain() }
    machine.drained()
  }

  /// Takes the session back from its lane, for statements of our own.
  func useSession() throws(ApplyFailure) {
    try drainLanes()
    if machine.sends() { try pipeline.beginIfNeeded() }
  }

  /// What the lanes have done is known afterwards, whatever they do now.
  func watchingLanes<Result>(_ body: () throws(ApplyFailure) -> Result) throws(ApplyFailure) -> Result {
    defer {
      while let turn = turns.first, case .success(let outcome) = turn.outcome,
        let group = machine.answered(flushed: outcome.flushed)
      {
        turns.removeFirst()
        note(group, outcome)
      }
    }
    do throws(ApplyFailure) {
      return try body()
    } catch {
      machine.batchFailed()
      throw error
    }
  }
}
