import BlockingIO
import ChangeApply
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import ReplicationStream
import TestSupport
import Testing

@testable import DatabaseSync

/// How a stream is applied.
enum ReplayMode: String, CaseIterable, Codable, Sendable {
  /// Change by change, each transaction committed when it is whole.
  case single
  /// By set-based statements, with limits so small that a transaction is sent in several pieces.
  case batches
  /// Now this way, now that, with sessions that break off anywhere.
  case mixed
}

/// What a replay had to say.
struct ReplayOutcome {
  /// Anything that must not happen.
  var problems: [String] = []
  /// Batches that failed, and were replayed change by change.
  var fallbacks: [String] = []
  var sessions = 0
  /// Changes that found no row, in all sessions.
  var missedRows: UInt64 = 0
  var changes: UInt64 = 0
  /// Whether batches went to a second session.
  var hadSecondSession = false
}

/// Applies a slot's stream to a target as `DatabaseWorker` does, but with a hand on the way of applying.
struct Replay {
  let server: Cluster
  let source: String
  let target: String
  let end: LSN
  let mode: ReplayMode
  let plugin: OutputPlugin
  var random: SeededRandom

  init(
    _ pair: Pair, to target: String, end: LSN, mode: ReplayMode, seed: UInt64, plugin: OutputPlugin = .testDecoding
  ) {
    self.plugin = plugin
    server = pair.server
    source = pair.source
    self.target = target
    self.end = end
    self.mode = mode
    random = SeededRandom(mixing: seed &+ 77)
  }

  mutating func run() throws -> ReplayOutcome {
    var outcome = ReplayOutcome()
    var strictUntil = LSN.invalid
    let deadline = Deadline.after(.seconds(120))
    while outcome.problems.isEmpty {
      outcome.sessions += 1
      switch try attempt(strictUntil, deadline, &outcome) {
      case .done:
        if outcome.missedRows > 0 { outcome.problems.append("\(outcome.missedRows) changes found no row") }
        return outcome
      case .again: continue
      case .strictly(let failure, let until):
        outcome.fallbacks.append("\(failure)")
        // Rows that a set missed and unique values that passed each other are what strict replay is for. A statement
        // that the server does not even understand is a mistake.
        if case .postgres(let error) = failure.reason, isFaulty(error.sqlState) {
          outcome.problems.append("a batch's own fault: \(failure)")
        }
        strictUntil = until
      case .failed(let failure): outcome.problems.append("\(failure)")
      }
    }
    return outcome
  }

  /// A statement, or a binary value, that the server cannot read.
  private func isFaulty(_ state: SQLState?) -> Bool {
    guard let state else { return true }
    return state.classCode == "42" || ["22P03", "22P04", "08P01"].contains(state)
  }

  private enum End {
    case done
    case again
    case strictly(ApplyFailure, LSN)
    case failed(any Error)
  }

  private mutating func attempt(
    _ strictUntil: LSN, _ deadline: Deadline, _ outcome: inout ReplayOutcome
  ) throws -> End {
    try attempt(plugin.makeParser(), strictUntil, deadline, &outcome)
  }

  private mutating func attempt(
    _ parser: some RecordParser, _ strictUntil: LSN, _ deadline: Deadline, _ outcome: inout ReplayOutcome
  ) throws -> End {
    let session = try open(until: deadline)
    defer { session.close() }
    let start = try #require(
      server.connect().query("SELECT pg_replication_origin_progress($1, true)", [target]).first.flatMap { LSN($0) })
    var parameters = server.parameters(source)
    parameters.settings.merge(canonicalTextSettings) { _, canonical in canonical }
    parameters.settings["client_encoding"] = session.encoding
    let feed = Feed(startingAt: start)
    let pulled = PullLimits(
      depth: 0, rest: 0, first: UInt64(random.int(1...16)) << 12, largest: 256 << 10, wide: .max)
    feed.start(
      SlotReader(
        source: parameters,
        request: StreamRequest(
          slot: target, start: start, options: plugin.options(publication: Pair.publication)),
        queue: feed.queue, control: feed.control,
        limits: mode != .single && random.one(in: 2) ? pulled : PullLimits()),
      name: "recv")
    defer { feed.stop() }
    let limits =
      mode == .single
      ? BatchLimits() : BatchLimits(changes: random.int(2...40), bytes: 1 << 20, least: random.int(1...40))
    let applier = try ChangeApplier(
      session: session, parser: parser, start: start, identity: HandOffNames.random().nonce,
      limits: limits, strictUntil: strictUntil,
      usesSecondSession: strictUntil == .invalid || random.one(in: 2))
    defer { outcome.missedRows += applier.counters.missedRows }
    var untilBreak = mode == .mixed && outcome.sessions < 4 ? random.int(1...200) : Int.max
    do {
      while true {
        feed.control.isIdle = feed.queue.isEmpty
        guard let chunk = feed.queue.pop(until: deadline) else {
          if isTaken(feed) && !deadline.hasPassed { return .again }
          try feed.outcome()
          return .failed(Unfinished())
        }
        var isDone = false
        try chunk.forEach { (item) throws(ApplyFailure) in
          guard !isDone, untilBreak > 0 else { return }
          untilBreak -= 1
          switch item {
          case .record(let lsn, let bytes):
            applier.hasBacklog = mode == .batches || mode == .mixed && random.one(in: 2)
            try applier.apply(lsn: lsn, record: bytes, in: chunk.storage)
            isDone = lsn > end && !applier.isMidTransaction
          case .keepalive(let walEnd, _): try applier.keepalive(walEnd, record: false)
          }
          if mode == .single || mode == .mixed && random.one(in: 30) { try applier.commitGroup() }
        }
        if isDone {
          try applier.commitGroup()
          try applier.recordPosition()
          try applier.makeDurable()
          feed.control.confirm(applier.durable)
          outcome.changes = applier.counters.changes
          outcome.hadSecondSession =
            try server.connect().query(
              "SELECT FROM pg_replication_origin_status WHERE external_id = $1",
              [HandOffNames.secondOrigin(beside: target)]
            ).rowCount > 0
          try expectNoPullBesideTheWalsender(until: deadline)
          return .done
        }
        if untilBreak <= 0 { return .again }
      }
    } catch let failure as ApplyFailure {
      return applier.isBatching && (!failure.isTransient || failure.isDeadlock)
        ? .strictly(failure, applier.replayEnd) : .failed(failure)
    } catch {
      return .failed(error)
    }
  }

  /// Slots of a pull that is over would hold the source's WAL for as long as the stream goes on.
  private func expectNoPullBesideTheWalsender(until deadline: Deadline) throws {
    let connection = try server.connect()
    while try connection.query(
      """
      SELECT FROM pg_replication_slots p JOIN pg_replication_slots s ON s.slot_name = $1
        JOIN pg_stat_replication r ON r.pid = s.active_pid
       WHERE p.temporary AND p.database = $2 AND p.slot_name LIKE 'pgconvoy_pull_%'
      """, [target, source]
    ).rowCount > 0 {
      guard !deadline.hasPassed else { throw SlotsOfAPull() }
      try connection.query("SELECT pg_sleep(0.01)")
    }
  }

  private struct SlotsOfAPull: Error {}

  private struct Unfinished: Error {}

  /// Whether the session before still holds the slot.
  private func isTaken(_ feed: Feed) -> Bool {
    do throws(StreamFailure) {
      try feed.outcome()
      return false
    } catch {
      guard case .postgres(let problem) = error else { return false }
      return problem.sqlState == .objectInUse
    }
  }

  /// The session before may not be gone yet.
  private func open(until deadline: Deadline) throws -> ApplySession {
    try whenFree(until: deadline) { try ApplySession.open(server.parameters(target), origin: target) }
  }
}
