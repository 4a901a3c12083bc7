import BlockingIO
import ChangeApply
import Logging
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import ReplicationStream
import Synchronization

/// One attempt: from the start's rules to the end of a connection.
extension DatabaseWorker {
  /// One connection's worth of work; returns when asked to stop.
  func stream(_ policy: inout RetryPolicy) throws {
    let session = try openSession()
    lifecycle.attach(session.interrupts)
    defer {
      lifecycle.detach()
      session.close()
    }
    let start = try checkedStart()
    try stream(from: start, of: start.plugin.makeParser(), to: session, &policy)
  }

  private func stream(
    from start: StartPosition, of parser: some RecordParser, to session: ApplySession, _ policy: inout RetryPolicy
  ) throws {
    let options = policy.options
    var source = assignment.from.canonical
    // What test_decoding prints is in the database's encoding anyway; pgoutput would convert it.
    source.settings["client_encoding"] = session.encoding
    let feed = Feed(startingAt: start.position)
    feed.start(
      SlotReader(
        source: source,
        request: StreamRequest(
          slot: assignment.slot, start: start.position,
          options: start.plugin.options(publication: assignment.publication), sourceEnd: start.sourceEnd),
        queue: feed.queue, control: feed.control, limits: options.pulls ? PullLimits() : nil),
      name: "recv-\(assignment.database)")
    defer { feed.stop() }
    let applier = try ChangeApplier(
      session: session, parser: parser, start: start.position, sourceEnd: start.sourceEnd,
      identity: HandOffNames.random().nonce, limits: options.oneByOne ? .oneTransaction : BatchLimits(),
      strictUntil: options.strictUntil, steppingOver: policy.steppingOver,
      statements: assignment.statements, leavingOut: orders.withLock { $0.due },
      fates: SourceCatalogs(from: assignment.from, to: assignment.to),
      usesSecondSession: options.secondSession)
    defer { applier.end() }
    logger.info("streaming", metadata: ["from": "\(start.position)"])
    policy.noteStart()
    status.withLock {
      // Parked, it is so until it has come past the place.
      if $0.phase != .parked { $0.phase = .catchingUp }
      $0.position = start.position
      $0.durable = start.position
      $0.hasCaughtUp = false
    }
    var loop = ApplyLoop(applier: applier, feed: feed, base: snapshot)
    let exports = SnapshotExport(mailbox: snapshots, target: assignment.to) { self.lifecycle.isStopRequested }
    while !lifecycle.isStopRequested {
      let more: Bool
      do {
        // Before anything else is said of this turn, and also when it fails behind the transaction.
        defer {
          take(applier.steppedOver, &policy)
          takeStatements(applier.takeLeftOut(), carriedOut: applier.takeCarriedOut())
        }
        more = try advance(&loop, exports, applier)
      }
      if loop.hasApplied { policy.noteProgress() }
      publish(loop.figures, sourceEnd: start.sourceEnd)
      if !more {
        try feed.outcome()
        throw PostgresError(
          .connectionLost, message: "the source ended the stream", server: assignment.from.displayName)
      }
    }
    try loop.finish()
    publish(loop.figures, sourceEnd: start.sourceEnd)
  }

  /// Notes that progress has moved past a transaction, whatever comes after it in the same turn.
  private func take(_ done: SteppedOver?, _ policy: inout RetryPolicy) {
    guard policy.steppingOver != nil, let done, done.commit != nil else { return }
    orders.withLock {
      $0.done.append(done)
      $0.due.remove(done.lsn)
    }
    policy.noteSteppedOver()
  }

  private func takeStatements(_ leftOut: [SteppedOver], carriedOut: [String]) {
    for statement in carriedOut { logger.info("carried out", metadata: ["statement": "\(statement)"]) }
    guard !leftOut.isEmpty else { return }
    for left in leftOut { logger.warning("left a statement out, as ordered", metadata: ["statement": "\(left)"]) }
    orders.withLock { orders in
      orders.done += leftOut
      orders.due.subtract(leftOut.map(\.lsn))
    }
  }

  /// One turn of the loop; a failure says how far a batch that is in hand has to be replayed.
  private func advance<Parser: RecordParser>(
    _ loop: inout ApplyLoop<Parser>, _ exports: SnapshotExport, _ applier: ChangeApplier<Parser>
  ) throws(AttemptFailure) -> Bool {
    do throws(ApplyFailure) {
      // A gate ends the group in hand, which may fail as in any other turn.
      try exports.attend(applier)
      return try loop.turn()
    } catch {
      throw .apply(error, replayEnd: loop.replayEnd(after: error))
    }
  }

  private func openSession() throws -> ApplySession {
    do throws(PostgresError) {
      let writing = try WritingSettings.read(assignment.from)
      return try ApplySession.open(assignment.to, origin: assignment.origin, writing: writing)
    } catch {
      if RetryPolicy.isExplainedByRules(error) { _ = try checkedStart() }
      throw error
    }
  }

  /// Where and how the stream starts.
  private struct StartPosition {
    var position: LSN
    /// Where the source's WAL ended just before.
    var sourceEnd: LSN
    var plugin: OutputPlugin
  }

  private func checkedStart() throws -> StartPosition {
    let source = try PostgresConnection.connect(assignment.from.canonical)
    let target = try PostgresConnection.connect(assignment.to.canonical)
    let invariants = try StartInvariants.read(source: source, target: target, assignment: assignment)
    let position = try invariants.startPosition(for: assignment)
    guard let name = invariants.slot?.plugin, let plugin = OutputPlugin(rawValue: name) else {
      let known = OutputPlugin.allCases.map(\.name).joined(separator: " and ")
      throw ConvoyError(
        "sync.slot-plugin", "slot \(assignment.slot) is of plugin \(invariants.slot?.plugin ?? "")",
        at: assignment.place, hint: "pgconvoy reads \(known); this slot is none of its own")
    }
    return StartPosition(position: position, sourceEnd: invariants.sourceFlush, plugin: plugin)
  }

  private func publish(_ figures: ApplyFigures, sourceEnd: LSN) {
    let before = snapshot.goneRows
    for (table, count) in figures.goneRows where before[table] == nil {
      logger.warning(
        "left out rows of a table that the \(assignment.fromName) has no more",
        metadata: ["table": "\(table)", "rows": "\(count)"])
    }
    status.withLock {
      let isStillParked = $0.phase == .parked && !figures.isCaughtUp && figures.position < $0.parkedAt ?? .invalid
      if !isStillParked {
        $0.phase = figures.isCaughtUp ? .streaming : .catchingUp
        $0.parkedAt = nil
        // A transaction that is not through yet may be the one that fails.
        if figures.isCaughtUp || figures.position > $0.position { $0.interruptedAt = nil }
      }
      $0.position = figures.position
      $0.durable = figures.durable
      $0.transactions = figures.transactions
      $0.changes = figures.changes
      $0.missedRows = figures.missedRows
      $0.goneRows = figures.goneRows
      $0.changesPerSecond = figures.changesPerSecond
      $0.secondsBehind = figures.secondsBehind
      if figures.isCaughtUp {
        $0.lastError = nil
        // A walsender may send a keepalive from anywhere on its way.
        $0.hasCaughtUp = $0.hasCaughtUp || figures.position >= sourceEnd
      }
    }
  }
}
