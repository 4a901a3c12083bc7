import BlockingIO
import ReplicationModel

/// A group that is closed, until it is known to be committed.
struct ClosedGroup {
  var progress: LSN
  var transactions: UInt64
  var changes: UInt64
}

/// Groups of source transactions: when one begins, ends, and is known to be committed.
extension ChangeApplier {
  func openGroupIfNeeded() {
    if !isGroupOpen { openGroup() }
  }

  func openGroup() {
    isGroupOpen = true
    isGroupBatching = hasBacklog && gate == nil && position >= strictUntil && pipeline.session.encodingSwitch == nil
  }

  func endTransaction(lsn: LSN) throws(ApplyFailure) {
    try askBefore(lsn)
    position = max(position, lsn)
    groupTransactions += 1
    let hasMarker = !transactionMarkers.isEmpty
    if hasMarker {
      groupMarkers += transactionMarkers
      transactionMarkers.removeAll()
      openGroupIfNeeded()
    }
    let isFull =
      limits.areReached(changes: groupChanges, bytes: groupBytes)
      || isGroupBatching && limits.areWorthwhile(changes: groupChanges, bytes: groupBytes) && lanes.isIdle
    if hasMarker || isFull || endsGroup || (position < strictUntil || gate != nil) && isGroupOpen { try closeGroup() }
    endsGroup = false
    if gate != nil {
      try drainLanes()
      askBetween()
    }
  }

  /// Commits the group; its progress is `position`, the end of the last COMMIT in it or a keepalive behind that.
  func closeGroup() throws(ApplyFailure) {
    var commit = GroupCommit(
      progress: position, time: lastCommitTime, xid: sourceTransaction, announcements: groupMarkers.map(announcement))
    let closing = ClosedGroup(progress: position, transactions: groupTransactions, changes: UInt64(groupChanges))
    // Behind, nobody else may ask for a long time: `makeDurable` is for the moments between two transactions.
    if isGroupBatching || hasBacklog, nextFlush.hasPassed {
      commit.flushes = true
      nextFlush = .after(.seconds(1))
    }
    if isGroupBatching {
      committing.append((closing, try submit(commit)))
    } else {
      try useSession()
      try pipeline.commit(commit)
      lanes.noteFirst()
      noteCommitted(closing, BatchOutcome(of: pipeline))
    }
    isGroupOpen = false
    isGroupBatching = false
    isGroupSending = false
    groupChanges = 0
    groupBytes = 0
    groupTransactions = 0
    groupMarkers.removeAll()
  }

  private func noteCommitted(_ group: ClosedGroup, _ outcome: BatchOutcome) {
    recorded = group.progress
    counters.transactions += group.transactions
    counters.changes += group.changes
    counters.missedRows += outcome.missedRows
    durable = max(durable, min(outcome.flushed, recorded))
  }

  /// Waits until the lanes have carried out all that they were given.
  func drainLanes() throws(ApplyFailure) {
    try watchingLanes { () throws(ApplyFailure) in try lanes.drain() }
  }

  /// Takes the session back from its lane, for statements of our own.
  func useSession() throws(ApplyFailure) {
    try drainLanes()
    guard isGroupOpen else { return }
    isGroupSending = true
    try pipeline.beginIfNeeded()
  }

  /// Others look at the first session's origin alone, so it is left behind while batches go to both, and no longer.
  func moveFirstOrigin() throws(ApplyFailure) {
    guard lanes.isLastOnSecond, !isGroupOpen else { return }
    try pipeline.commit(GroupCommit(progress: recorded, time: lastCommitTime))
    lanes.noteFirst()
  }

  /// What the lanes have done is known afterwards, whatever they do now. A batch that failed may be of a group before,
  /// whatever the group in hand is.
  func watchingLanes<Result>(_ body: () throws(ApplyFailure) -> Result) throws(ApplyFailure) -> Result {
    defer {
      while let first = committing.first, case .success(let outcome) = first.turn.outcome {
        committing.removeFirst()
        noteCommitted(first.group, outcome)
      }
    }
    do throws(ApplyFailure) {
      return try body()
    } catch {
      hasFailedBatch = true
      throw error
    }
  }
}
