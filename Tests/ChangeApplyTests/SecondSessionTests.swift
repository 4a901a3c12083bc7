import BlockingIO
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import ChangeApply

/// Batches that go to two sessions, on a real server.
@Suite(.cluster)
struct SecondSessionTests {
  private static let schema = """
    CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i;
    CREATE TABLE u (id int PRIMARY KEY, v text UNIQUE);
    INSERT INTO u VALUES (1, 'a'), (2, 'b')
    """
  /// Full with each transaction of the tests.
  private static let limits = BatchLimits(changes: 10, bytes: 1 << 20, least: 10)

  /// A pair whose target holds back whoever changes row 1 of `t`, and what two transactions have changed on the source.
  private struct Held {
    let pair: DatabasePair
    let holder: PostgresConnection
    let records: [DatabasePair.Record]
    let commits: [LSN]

    init(_ first: String, _ second: String) throws {
      pair = try DatabasePair(SecondSessionTests.schema)
      for script in [first, second] { try pair.source.script(script) }
      records = try pair.changes()
      commits = records.filter { $0.text.hasPrefix("COMMIT") }.map(\.lsn)
      try #require(commits.count == 2)
      holder = try PostgresConnection.connect(pair.target.parameters)
      try holder.script("BEGIN")
      try holder.query("SELECT FROM t WHERE id = 1 FOR UPDATE")
    }

    /// Applies both transactions; returns when the second session has done what it may and waits for the first.
    func applyBoth() throws -> ChangeApplier<TestDecodingParser> {
      let applier = try pair.applier(limits: SecondSessionTests.limits)
      applier.hasBacklog = true
      try applier.apply(records)
      try awaitSessions(1, where: "state = 'idle in transaction'")
      return applier
    }

    /// Has both committed, and the worker end before it has moved the first origin.
    ///
    /// - Returns: what it has called durable.
    func applyBothAndDie() throws -> LSN {
      let applier = try applyBoth()
      try holder.script("COMMIT")
      try applier.drainLanes()
      applier.die()
      try awaitSessions(0)
      return applier.durable
    }

    func awaitSessions(_ number: Int, where condition: String = "true") throws {
      try pair.awaitSessions(number, where: condition, besides: holder.backendPID)
    }

    /// Waits until somebody keeps others from writing to `t`.
    func awaitLock() throws {
      let deadline = Deadline.after(.seconds(20))
      while try pair.target.query(
        "SELECT FROM pg_locks WHERE granted AND mode = 'ShareLock' AND relation = 't'::regclass"
      ).rowCount == 0 {
        guard !deadline.hasPassed else { throw NotThere() }
      }
    }

    func values(_ ids: ClosedRange<Int>) throws -> Set<String> {
      Set(
        try pair.target.query("SELECT v FROM t WHERE id BETWEEN \(ids.lowerBound) AND \(ids.upperBound)").rows.map {
          $0.string(0)
        })
    }

    func secondProgress() throws -> LSN? {
      try pair.target.query(
        "SELECT pg_replication_origin_progress(roname, true) FROM pg_replication_origin WHERE roname = $1",
        [HandOffNames.secondOrigin(beside: pair.origin)]
      ).first.flatMap { LSN($0) }
    }
  }

  private static let first = "UPDATE t SET v = 'first' WHERE id <= 10"
  private static let second = "UPDATE t SET v = 'second' WHERE id BETWEEN 10 AND 20; INSERT INTO t VALUES (101, 'new')"

  /// The group behind starts, and is seen only when the one before it is.
  @Test func aGroupGoesInBesideTheOneBefore() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    let applier = try held.applyBoth()
    #expect(try held.values(1...20) == ["old"])
    #expect(applier.recorded == held.pair.start)
    try held.holder.script("COMMIT")
    try applier.commitGroup()
    #expect(applier.recorded == held.commits[1])
    #expect(applier.counters.transactions == 2)
    #expect(applier.counters.changes == 22)
    // Who looks at the first origin sees all of it.
    #expect(try held.pair.progress() == held.commits[1])
    #expect(try held.secondProgress() == held.commits[1])
    try held.pair.expectEqual()
    try applier.makeDurable()
    #expect(applier.durable == held.commits[1])
  }

  @Test func aWorkerThatDiesLeavesTheFurtherOriginToTheNext() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    let durable = try held.applyBothAndDie()
    // What the source was told, and what others look at, is never ahead of the first origin.
    #expect(try held.pair.progress() == held.commits[0])
    #expect(durable <= held.commits[0])
    #expect(try held.secondProgress() == held.commits[1])
    let next = try held.pair.applier(from: held.commits[1], limits: Self.limits)
    #expect(try held.pair.progress(durable: true) == held.commits[1])
    next.hasBacklog = true
    try next.apply(held.pair.remaining(held.records, after: held.commits[1]))
    try next.commitGroup()
    try held.pair.expectEqual()
  }

  /// Who waits for an announcement looks at the first origin.
  @Test func aMarkerIsTheFirstSessions() throws {
    let held = try Held(
      Self.first,
      "BEGIN; \(Self.second); SELECT pg_logical_emit_message(true, 'pgconvoy.marker', 'ab12'); COMMIT")
    try held.holder.script("COMMIT")
    // The first group is under way when the second one comes.
    try held.pair.target.script("ALTER TABLE t ADD CHECK (pg_sleep(0.02) IS NOT NULL) NOT VALID")
    let applier = try held.pair.applier(limits: Self.limits)
    applier.hasBacklog = true
    try applier.apply(held.records)
    try applier.drainLanes()
    #expect(try held.pair.progress() == held.commits[1])
    #expect(try held.secondProgress() == nil)
    try held.pair.expectEqual()
  }

  /// A session of a worker that is gone may still have its COMMIT before it.
  @Test func nobodyBeginsWhileTheSecondOriginIsHeld() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    _ = try held.applyBothAndDie()
    let other = try PostgresConnection.connect(held.pair.target.parameters)
    let origin = HandOffNames.secondOrigin(beside: held.pair.origin)
    try other.query("SELECT pg_replication_origin_session_setup($1)", [origin])
    let failure = #expect(throws: PostgresError.self) {
      _ = try ApplySession.open(held.pair.cluster.parameters(held.pair.name + "_target"), origin: held.pair.origin)
    }
    #expect(failure?.sqlState == .objectInUse)
    #expect(failure?.isTransient == true)
    #expect(try held.pair.progress() == held.commits[0])
    other.close()
    _ = try held.pair.applier(from: held.commits[1])
    #expect(try held.pair.progress() == held.commits[1])
  }

  /// A worker that has slept through the end of its first session must not go on in another: the next one has begun.
  @Test func noSecondSessionComesToOneThatIsGone() throws {
    let pair = try DatabasePair(Self.schema)
    let session = try ApplySession.open(pair.cluster.parameters(pair.name + "_target"), origin: pair.origin)
    defer { session.close() }
    let second = try #require(session.second)
    #expect(second.open(beside: session.backend) != nil)
    second.close()
    try pair.awaitSessions(1)
    try pair.target.script("SELECT pg_terminate_backend(\(session.backend.pid), 10000)")
    try pair.awaitSessions(0)
    #expect(second.open(beside: session.backend) == nil)
  }

  /// The server sees no deadlock: that the second session waits for the first is known here only.
  @Test func aGroupThatWaitsForTheOneBehindItGetsItsWay() throws {
    let held = try Held(
      "BEGIN; UPDATE t SET v = 'first' WHERE id < 10; UPDATE u SET v = 'c' WHERE id = 1; COMMIT",
      """
      BEGIN; UPDATE u SET v = 'd' WHERE id = 1; UPDATE u SET v = 'c' WHERE id = 2;
      UPDATE t SET v = 'second' WHERE id BETWEEN 11 AND 18; COMMIT
      """)
    let applier = try held.applyBoth()
    try held.holder.script("COMMIT")
    let failure = #expect(throws: ApplyFailure.self) { try applier.commitGroup() }
    #expect(failure?.reason == .batchMismatch)
    #expect(applier.isBatching)
    #expect(applier.replayEnd >= held.commits[1])
    applier.die()
    try held.awaitSessions(0)
    // Once more, as a worker does.
    let progress = try held.pair.progress()
    #expect(progress <= held.commits[0])
    let next = try held.pair.applier(from: progress, limits: Self.limits, strictUntil: applier.replayEnd)
    next.hasBacklog = true
    try next.apply(held.pair.remaining(held.records, after: progress))
    try next.commitGroup()
    try held.pair.expectEqual()
  }

  /// A failure is the group's own, and what stood beside it is gone.
  @Test func aFailureTakesTheGroupBehindWithIt() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    let applier = try held.applyBoth()
    // The set will not hit this row any more.
    try held.holder.query("DELETE FROM t WHERE id = 1")
    try held.holder.script("COMMIT")
    let failure = #expect(throws: ApplyFailure.self) { try applier.commitGroup() }
    #expect(failure?.reason == .batchMismatch)
    #expect(failure?.description.contains("10 rows hit 9") == true, "\(String(describing: failure))")
    #expect(applier.recorded == held.pair.start)
    applier.die()
    #expect(try held.pair.progress() == held.pair.start)
    #expect(try held.secondProgress() ?? .invalid == .invalid)
    #expect(try held.values(2...20) == ["old"])
  }

  @Test func oneSessionIsEnoughWhereThereCanBeNoOther() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    let applier = try held.pair.applier(limits: Self.limits)
    let origin = HandOffNames.secondOrigin(beside: held.pair.origin)
    let other = try PostgresConnection.connect(held.pair.target.parameters)
    try other.query("SELECT pg_replication_origin_create($1)", [origin])
    try other.query("SELECT pg_replication_origin_session_setup($1)", [origin])
    applier.hasBacklog = true
    try held.holder.script("COMMIT")
    try applier.apply(held.records)
    try applier.commitGroup()
    #expect(applier.recorded == held.commits[1])
    #expect(try held.pair.progress() == held.commits[1])
    #expect(try held.secondProgress() ?? .invalid == .invalid)
    try held.pair.expectEqual()
  }

  /// Rows that come new would fill an index's pages from two sides: nothing is gained by a second session.
  @Test func insertsAloneNeedNoSecondSession() throws {
    let held = try Held(
      "INSERT INTO t SELECT i, 'new' FROM generate_series(201, 210) i",
      "INSERT INTO t SELECT i, 'new' FROM generate_series(211, 220) i")
    let applier = try held.pair.applier(limits: Self.limits)
    applier.hasBacklog = true
    let parameters = held.pair.target.parameters
    startThread(name: "blocker") {
      guard let blocker = try? PostgresConnection.connect(parameters) else { return }
      defer { blocker.close() }
      // Until the first group waits for it; the other one comes at once.
      _ = try? blocker.script(
        """
        BEGIN; LOCK TABLE t IN SHARE MODE;
        DO $$ BEGIN
          WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 't'::regclass) LOOP END LOOP;
        END $$;
        COMMIT
        """)
    }
    try held.awaitLock()
    try applier.apply(held.records)
    try applier.commitGroup()
    #expect(try held.secondProgress() == nil)
    try held.pair.expectEqual()
  }

  @Test func theSecondSessionGoesWhenItIsNotUsed() throws {
    let held = try Held(Self.first, "BEGIN; \(Self.second); COMMIT")
    let applier = try held.applyBoth()
    try held.holder.script("COMMIT")
    try applier.commitGroup()
    try held.awaitSessions(2)
    // Used since it was opened, and then not.
    try applier.rest()
    try held.awaitSessions(2)
    try applier.rest()
    try held.awaitSessions(1)
    // It comes back.
    let pair = held.pair
    try pair.source.script("UPDATE t SET v = 'third' WHERE id <= 10")
    try pair.source.script("UPDATE t SET v = 'fourth' WHERE id BETWEEN 31 AND 40")
    let records = try pair.changes()
    try held.holder.script("BEGIN")
    try held.holder.query("SELECT FROM t WHERE id = 1 FOR UPDATE")
    try applier.apply(records)
    try held.awaitSessions(1, where: "state = 'idle in transaction'")
    try held.holder.script("COMMIT")
    try applier.commitGroup()
    try pair.expectEqual()
  }
}

private struct NotThere: Error {}

extension DatabasePair {
  /// Waits until so many sessions of appliers are there, or are in some state.
  fileprivate func awaitSessions(_ number: Int, where condition: String = "true", besides other: Int32 = 0) throws {
    let deadline = Deadline.after(.seconds(20))
    while try target.query(
      """
      SELECT FROM pg_stat_activity
       WHERE datname = current_database() AND pid NOT IN ($1, pg_backend_pid()) AND \(condition)
      """, ["\(other)"]
    ).rowCount != number {
      guard !deadline.hasPassed else { throw NotThere() }
      try target.query("SELECT pg_sleep(0.01)")
    }
  }
}

extension ChangeApplier {
  /// What is left of a worker that was killed.
  fileprivate func die() {
    end()
    pipeline.session.close()
  }
}
