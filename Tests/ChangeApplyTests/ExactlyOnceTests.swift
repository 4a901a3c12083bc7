import BlockingIO
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import ChangeApply

/// Groups, progress and failures of an applier, on a real server.
@Suite(.cluster)
struct ExactlyOnceTests {
  private typealias Record = DatabasePair.Record

  private static let table = "CREATE TABLE t (id int PRIMARY KEY, v text)"

  /// How many transactions of the target wrote the rows of `t`.
  private func writers(_ pair: DatabasePair) throws -> Int {
    Int(try pair.target.query("SELECT count(DISTINCT xmin::text) FROM t").first ?? "") ?? -1
  }

  private func rows(_ pair: DatabasePair) throws -> [String] {
    try pair.target.query("SELECT t::text FROM t ORDER BY 1").rows.map { $0.string(0) }
  }

  @Test func groupsTransactionsWhileThereIsMore() throws {
    let pair = try DatabasePair(Self.table)
    for id in 1...7 { try pair.source.script("INSERT INTO t VALUES (\(id))") }
    let records = try pair.changes()
    let commits = records.filter { $0.text.hasPrefix("COMMIT") }.map(\.lsn)
    let applier = try pair.applier(limits: BatchLimits(changes: 3, bytes: 1 << 20))
    var seen: [LSN] = []
    for record in records {
      try applier.apply(record)
      if seen.last != applier.recorded { seen.append(applier.recorded) }
      // Progress is the end of the last COMMIT in the group, and never in between.
      #expect(try pair.progress() == applier.recorded)
    }
    #expect(seen == [pair.start, commits[2], commits[5]])
    #expect(applier.hasOpenGroup)
    try applier.commitGroup()
    #expect(applier.recorded == commits[6])
    #expect(try pair.progress() == commits[6])
    #expect(try writers(pair) == 3)
    #expect(applier.counters.transactions == 7)
    #expect(applier.counters.changes == 7)
    try pair.expectEqual()
  }

  @Test func aLargeTransactionIsNeverCommittedInParts() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i")
    let records = try pair.changes()
    let applier = try pair.applier(limits: BatchLimits(changes: 10, bytes: 1000))
    try applier.apply(Array(records.dropLast()))
    try applier.commitGroup()
    try applier.recordPosition()
    try applier.keepalive(LSN(UInt64.max / 2), record: true)
    #expect(applier.isMidTransaction)
    #expect(try pair.progress() == pair.start)
    #expect(try rows(pair).isEmpty)
    try applier.apply(records[records.count - 1])
    #expect(try writers(pair) == 1)
    try pair.expectEqual()
  }

  /// A large transaction whose changes go one by one would have its whole stream kept otherwise.
  @Test func onlyRecordsOfWaitingChangesAreKept() throws {
    let pair = try DatabasePair("CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL")
    try pair.source.script("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i")
    try pair.source.script("BEGIN; UPDATE t SET b = 'y'; DELETE FROM t WHERE a > 9; COMMIT")
    let records = try pair.changes()
    let applier = try pair.applier()
    applier.hasBacklog = true
    let first = try #require(records.firstIndex { $0.text.hasPrefix("COMMIT") })
    try applier.apply(Array(records[..<first]))
    #expect(applier.records.kept.count == 50)
    try applier.apply(Array(records[first...].dropLast()))
    #expect(applier.records.kept.count == 0)
    try applier.apply(records[records.count - 1])
    try applier.commitGroup()
    try pair.expectEqual()
    applier.end()
  }

  /// Room of a large batch would stay with tables whose changes go one by one, one after the other.
  @Test func roomIsForBatchesOnly() throws {
    let pair = try DatabasePair(
      "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE f (a int, b text); ALTER TABLE f REPLICA IDENTITY FULL"
    )
    try pair.source.script("INSERT INTO f VALUES (1, 'x')")
    try pair.source.script("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 20000) i")
    try pair.source.script("UPDATE f SET b = 'y'")
    let records = try pair.changes()
    let applier = try pair.applier()
    applier.hasBacklog = true
    let update = try #require(records.firstIndex { $0.text.hasPrefix("table public.f: UPDATE") })
    // Up to the BEGIN before it.
    try applier.apply(Array(records[..<(update - 1)]))
    try applier.commitGroup()
    #expect(applier.spareRoom != nil)
    try applier.apply(Array(records[(update - 1)...]))
    try applier.commitGroup()
    #expect(applier.spareRoom != nil)
    try pair.expectEqual()
    applier.end()
  }

  /// Columns that were altered by hand on both sides while their types are known from before: the bytes of one type may
  /// be a value of another one.
  @Test(
    arguments: [
      ("bigint", "double precision", "5"), ("double precision", "bigint", "5"), ("integer", "real", "5"),
      ("text", "bytea", "'\\x41'::bytea"), ("bytea", "text", "'\\x41'"), ("numeric", "double precision", "0.5"),
    ] as [(String, String, String)])
  func rowsOfAnAlteredTableAreNotWrittenInTheFormOfBefore(before: String, after: String, value: String) throws {
    let pair = try DatabasePair("CREATE TABLE t (id int PRIMARY KEY, v \(before))")
    try pair.source.script("INSERT INTO t VALUES (1, NULL)")
    var records: [DatabasePair.Record] = []
    do {
      let applier = try pair.applier()
      defer { applier.end() }
      applier.hasBacklog = true
      try applier.apply(try pair.changes())
      try applier.commitGroup()
      for side in [pair.source, pair.target] {
        try side.script("ALTER TABLE t ALTER v TYPE \(after) USING NULL")
      }
      try pair.source.script("INSERT INTO t VALUES (2, \(value))")
      records = try pair.changes()
      let failure = #expect(throws: ApplyFailure.self) {
        try applier.apply(records)
        try applier.commitGroup()
      }
      #expect(failure?.reason == .batchMismatch)
    }
    try pair.applyBacklog(records)
    try pair.expectEqual()
  }

  @Test func nothingIsDurableBeforeItWasFlushed() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t VALUES (1)")
    let applier = try pair.applier()
    try applier.apply(try pair.changes())
    try applier.makeDurable()
    #expect(applier.durable == pair.start)
    try applier.commitGroup()
    #expect(applier.durable == pair.start)
    try applier.makeDurable()
    #expect(applier.durable == applier.recorded)
    // Commits are asynchronous and the WAL writer sleeps, so it was this that brought the commit to the disk.
    let isFlushed = try pair.target.query(
      """
      SELECT s.local_lsn <= pg_current_wal_flush_lsn() FROM pg_replication_origin_status s WHERE external_id = $1
      """, [pair.origin])
    #expect(isFlushed.first == "t")
    #expect(try pair.progress(durable: true) == applier.durable)
  }

  @Test func aKeepaliveMovesProgressOnlyBetweenTransactions() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t VALUES (1)")
    let records = try pair.changes()
    let applier = try pair.applier()
    let far = LSN(records[records.count - 1].lsn.rawValue + 1000)
    try applier.apply(records[0])
    try applier.keepalive(far, record: true)
    #expect(try pair.progress() == pair.start)
    try applier.apply(Array(records.dropFirst()))
    #expect(applier.hasOpenGroup)
    // What is open is committed along with the position.
    try applier.keepalive(far, record: true)
    #expect(!applier.hasOpenGroup)
    #expect(try pair.progress() == far)
    #expect(try rows(pair) == ["(1,)"])
    // An older one changes nothing.
    try applier.keepalive(pair.start, record: true)
    #expect(try pair.progress() == far)
  }

  @Test func afterAFailureTheWholeGroupIsGoneAndProgressStays() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t VALUES (1, 'a')")
    try pair.source.script("INSERT INTO t VALUES (2, 'b')")
    let records = try pair.changes()
    let commits = records.filter { $0.text.hasPrefix("COMMIT") }.map(\.lsn)
    try pair.target.script("INSERT INTO t VALUES (2, 'mine')")
    do {
      let applier = try pair.applier()
      let failure = #expect(throws: ApplyFailure.self) {
        try applier.apply(records)
        try applier.commitGroup()
      }
      #expect(failure?.isTransient == false)
      #expect(failure?.relation == RelationName(schema: "public", name: "t"))
      #expect(failure?.operation == "insert")
      #expect(failure?.lsn == records[records.count - 2].lsn)
      #expect(failure?.xid == UInt32(records[3].text.split(separator: " ")[1]))
      #expect(
        failure?.description
          == "insert of public.t, xid \(failure?.xid ?? 0), lsn \(records[4].lsn): duplicate key value violates unique "
          + "constraint \"t_pkey\" (SQLSTATE 23505); Key (id)=(2) already exists.")
    }
    #expect(try pair.progress() == pair.start)
    #expect(try rows(pair) == ["(2,mine)"])
    // Once it is mended, the same stream goes through.
    try pair.target.script("DELETE FROM t")
    let applier = try pair.applier()
    try applier.apply(records)
    try applier.commitGroup()
    #expect(try pair.progress() == commits[1])
    try pair.expectEqual()
  }

  /// The server has rolled back, but whatever the session did next would be a transaction of its own, and could move
  /// progress past rows that were never applied.
  @Test(arguments: [false, true]) func nothingMovesProgressAfterAFailure(hasBacklog: Bool) throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t VALUES (1, 'a')")
    try pair.source.script("INSERT INTO t VALUES (2, 'b')")
    try pair.source.script("INSERT INTO t VALUES (3, 'c')")
    let records = try pair.changes()
    try pair.target.script("INSERT INTO t VALUES (2, 'mine')")
    let applier = try pair.applier()
    applier.hasBacklog = hasBacklog
    #expect(throws: ApplyFailure.self) {
      try applier.apply(Array(records.prefix(6)))
      try applier.commitGroup()
    }
    // A worker throws the session away instead.
    try? applier.commitGroup()
    try? applier.apply(Array(records.suffix(3)))
    try? applier.commitGroup()
    try? applier.keepalive(LSN(UInt64.max / 2), record: true)
    try? applier.recordPosition()
    try? applier.makeDurable()
    #expect(applier.recorded == pair.start)
    #expect(try pair.progress() == pair.start)
    #expect(try rows(pair) == ["(2,mine)"])
  }

  /// Someone who finds out that a table has no usable identity gives it one, on the source alone.
  @Test(arguments: ["a int, b text", "a int PRIMARY KEY, b text"])
  func anIdentityThatOnlyTheSourceHas(source: String) throws {
    let pair = try DatabasePair("CREATE TABLE t (\(source)); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, 'z')")
    do {
      try pair.replicate(
        """
        ALTER TABLE t REPLICA IDENTITY FULL;; UPDATE t SET b = 'y' WHERE a = 1;; DELETE FROM t WHERE a = 2;;
        UPDATE t SET a = 9 WHERE a = 3
        """)
      try pair.expectEqual()
    } catch let failure as ApplyFailure {
      #expect(failure.reason == .noIdentity || failure.reason == .drift, "\(failure)")
    }
  }

  /// The answer to a COMMIT may be lost although it was done: the origin's progress alone says so.
  @Test func aConnectionLostAtTheCommitNeverAppliesTwice() throws {
    let pair = try DatabasePair("CREATE TABLE t (id int)")
    try pair.source.script("INSERT INTO t VALUES (1)")
    let records = try pair.changes()
    let session = try ApplySession.open(pair.cluster.parameters(pair.name + "_target"), origin: pair.origin)
    let applier = try ChangeApplier(
      session: session, parser: TestDecodingParser(), start: pair.start, identity: "test")
    try applier.apply(records)
    // A transaction that waits for its lock holds the group back until the session has been ended.
    try pair.target.script("SELECT pg_terminate_backend(\(session.connection.backendPID), 10000)")
    let failure = #expect(throws: ApplyFailure.self) { try applier.commitGroup() }
    #expect(failure?.isTransient == true)
    session.close()
    let again = try pair.applier(from: try pair.progress())
    let progress = try pair.progress()
    try again.apply(records.contains { $0.lsn <= progress && $0.text.hasPrefix("COMMIT") } ? [] : records)
    try again.commitGroup()
    #expect(try rows(pair) == ["(1)"])
    #expect(try pair.progress() == records[records.count - 1].lsn)
  }

  @Test func theOriginBelongsToOneSession() throws {
    let pair = try DatabasePair(Self.table)
    let applier = try pair.applier()
    let error = #expect(throws: PostgresError.self) {
      _ = try ApplySession.open(pair.cluster.parameters(pair.name + "_target"), origin: pair.origin)
    }
    #expect(error?.sqlState == "55006")
    #expect(error?.isTransient == true)
    #expect(applier.recorded == pair.start)
  }

  @Test func missedRowsAreCountedAndMoveProgress() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t VALUES (1), (2)")
    _ = try pair.changes()
    let applier = try pair.replicate("UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2")
    #expect(applier.counters.missedRows == 2)
    #expect(try pair.progress() == applier.recorded)
    #expect(applier.recorded > pair.start)
  }

  /// A trigger that fires ALWAYS can swallow a row without an error.
  @Test func anInsertThatStoresNoRowIsMissed() throws {
    let pair = try DatabasePair(Self.table)
    try pair.target.script(
      """
      CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION swallow();
      ALTER TABLE t ENABLE ALWAYS TRIGGER swallow
      """)
    let applier = try pair.replicate("INSERT INTO t VALUES (1, 'a')")
    #expect(applier.counters.missedRows == 1)
  }

  @Test func aMarkerIsAnnouncedWithTheProgressThatPassesIt() throws {
    let pair = try DatabasePair(Self.table)
    try pair.target.script("LISTEN pgconvoy_marker")
    try pair.source.script("INSERT INTO t VALUES (1)")
    try pair.source.script("SELECT pg_logical_emit_message(true, 'pgconvoy.marker', '0123abc')")
    try pair.source.script("SELECT pg_logical_emit_message(true, 'pgconvoy.marker', 'not \"a\" nonce')")
    try pair.source.script("SELECT pg_logical_emit_message(false, 'pgconvoy.marker', 'fff')")
    try pair.source.script("SELECT pg_logical_emit_message(true, 'pgconvoy.markers', 'fff')")
    let records = try pair.changes()
    let applier = try pair.applier()
    var passed: LSN?
    for record in records {
      try applier.apply(record)
      if applier.recorded != pair.start, passed == nil { passed = record.lsn }
    }
    try applier.commitGroup()
    let announced = try pair.target.notification(until: .after(.seconds(10)))
    let marker = try #require(passed)
    #expect(
      announced?.payload == "{\"nonce\":\"0123abc\",\"lsn\":\"\(marker)\",\"changes\":1,\"applier\":\"test\"}")
    #expect(try pair.target.notification(until: .after(.milliseconds(50))) == nil)
    #expect(try pair.progress() >= marker)
  }

  @Test func rowsOfMaterializedViewsAreSkipped() throws {
    let pair = try DatabasePair(
      """
      \(Self.table); CREATE MATERIALIZED VIEW m AS SELECT id, v FROM t; CREATE UNIQUE INDEX ON m (id)
      """)
    let applier = try pair.replicate("INSERT INTO t VALUES (1, 'a'); REFRESH MATERIALIZED VIEW CONCURRENTLY m")
    #expect(applier.counters.skippedRows == 1)
    #expect(try rows(pair) == ["(1,a)"])
  }

  @Test func namesAndValuesInAnotherEncoding() throws {
    let pair = try DatabasePair(
      "CREATE TABLE \"größe\" (\"ä\" int PRIMARY KEY, \"ö\" text, \"ü\" text)", encoding: "LATIN1")
    try pair.source.script("INSERT INTO \"größe\" VALUES (1, 'né', 'ß'), (2, 'x', NULL)")
    try pair.source.script("UPDATE \"größe\" SET \"ü\" = 'å' WHERE \"ä\" = 1; DELETE FROM \"größe\" WHERE \"ä\" = 2")
    let applier = try pair.applier()
    let records = try pair.changes()
    #expect(records.contains { $0.bytes.contains(0xF6) && !$0.bytes.contains(0xC3) }, "LATIN1's own bytes")
    try applier.apply(records)
    try applier.commitGroup()
    try pair.expectEqual()
    #expect(applier.counters.missedRows == 0)
  }

  // MARK: records written by hand

  private func apply(_ pair: DatabasePair, _ records: [String]) throws -> ApplyCounters {
    let applier = try pair.applier(from: try pair.progress())
    let base = try pair.progress().rawValue
    let texts = ["BEGIN 7"] + records + ["COMMIT 7 (at 2026-11-23 05:03:23.86362+00)"]
    try applier.apply(texts.enumerated().map { Record(LSN(base + UInt64($0) + 1), $1) })
    try applier.commitGroup()
    return applier.counters
  }

  /// A column that the source drops moves the others: what was prepared for the old tuple must not serve the new one.
  @Test func aDroppedColumnMovesNoValues() throws {
    let pair = try DatabasePair("CREATE TABLE t (id int PRIMARY KEY, b text, c text, d text, e text)")
    let counters = try apply(
      pair,
      [
        "table public.t: INSERT: id[integer]:1 b[text]:'b' c[text]:'c' d[text]:'d'",
        "table public.t: UPDATE: id[integer]:1 b[text]:unchanged-toast-datum c[text]:'c1' d[text]:'d1'",
        "table public.t: UPDATE: id[integer]:1 c[text]:'c2' d[text]:'d2'",
        "table public.t: UPDATE: id[integer]:1 c[text]:'c3' d[text]:'d3' e[text]:unchanged-toast-datum",
      ])
    #expect(try rows(pair) == ["(1,b,c3,d3,)"])
    #expect(counters.missedRows == 0)
  }

  /// The batch looks at tuples, too; what it has seen must not pass for what the statements were made for.
  @Test func aDroppedColumnMovesNoValuesBehindABatch() throws {
    let pair = try DatabasePair("CREATE TABLE t (id int PRIMARY KEY, b text, c text, d text, e text)")
    let applier = try pair.applier()
    let texts = [
      "BEGIN 1", "table public.t: INSERT: id[integer]:1 b[text]:'b' c[text]:'c' d[text]:'d'",
      "table public.t: UPDATE: id[integer]:1 b[text]:unchanged-toast-datum c[text]:'c1' d[text]:'d1'", "COMMIT 1",
      "BEGIN 2", "table public.t: UPDATE: id[integer]:1 c[text]:'c2' d[text]:'d2' e[text]:'e'", "COMMIT 2",
      "BEGIN 3", "table public.t: UPDATE: id[integer]:1 c[text]:'c3' d[text]:'d3' e[text]:unchanged-toast-datum",
      "COMMIT 3",
    ]
    for (index, text) in texts.enumerated() {
      applier.hasBacklog = (4...6).contains(index)
      try applier.apply(Record(LSN(pair.start.rawValue + UInt64(index) + 1), text))
      if text.hasPrefix("COMMIT") { try applier.commitGroup() }
    }
    #expect(try rows(pair) == ["(1,b,c3,d3,e)"])
  }

  /// A transaction's changes may stand before the COMMIT of another one in the WAL: the end of what came in can lie
  /// before the transaction that failed.
  @Test func aTransactionThatBeganEarlyIsReplayedStrictlyToo() throws {
    let pair = try DatabasePair("CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)")
    try pair.target.script("INSERT INTO t VALUES (1, 1), (2, 2)")
    let base = pair.start.rawValue
    let swap = [
      "table public.t: UPDATE: id[integer]:1 v[integer]:3", "table public.t: UPDATE: id[integer]:2 v[integer]:1",
      "table public.t: UPDATE: id[integer]:1 v[integer]:2",
    ]
    var records = [Record(LSN(base + 1), "BEGIN 5")]
    for number in 101...105 {
      let text = "table public.t: INSERT: id[integer]:\(number) v[integer]:\(number)"
      records.append(Record(LSN(base + 800 + UInt64(number)), text))
    }
    records += [Record(LSN(base + 1000), "COMMIT 5"), Record(LSN(base + 2), "BEGIN 4")]
    for (index, text) in swap.enumerated() { records.append(Record(LSN(base + 3 + UInt64(index)), text)) }
    for number in 10..<19 {
      let text = "table public.t: INSERT: id[integer]:\(number) v[integer]:\(number)"
      records.append(Record(LSN(base + UInt64(number)), text))
    }
    records.append(Record(LSN(base + 1100), "COMMIT 4"))
    let outcome = try pair.applyBacklog(records, limits: BatchLimits(changes: 5))
    #expect(outcome.replays > 0)
    #expect(try rows(pair).filter { $0.hasPrefix("(1,") || $0.hasPrefix("(2,") } == ["(1,2)", "(2,1)"])
    #expect(try rows(pair).count == 16)
    #expect(try pair.progress() == LSN(base + 1100))
  }

  @Test func aBatchNeverMakesUpAValue() throws {
    let pair = try DatabasePair("CREATE TABLE t (id text PRIMARY KEY, v text DEFAULT 'made up')")
    let base = pair.start.rawValue
    let records = [
      Record(LSN(base + 1), "BEGIN 5"),
      Record(LSN(base + 2), "table public.t: INSERT: id[text]:'1' v[text]:unchanged-toast-datum"),
      Record(LSN(base + 3), "COMMIT 5"),
    ]
    let failure = #expect(throws: ApplyFailure.self) { _ = try pair.applyBacklog(records) }
    #expect(failure?.reason == .unreadable)
    #expect(try rows(pair).isEmpty)
  }

  @Test func aMissedRowOfABatchIsCountedOnce() throws {
    let pair = try DatabasePair(Self.table)
    try pair.source.script("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 20) i")
    try pair.replicate("SELECT 1")
    try pair.target.script("DELETE FROM t WHERE id = 7")
    try pair.source.script("UPDATE t SET v = 'b'")
    try pair.source.script("DELETE FROM t WHERE id > 10")
    let outcome = try pair.applyBacklog(try pair.changes())
    // The update that found no row was applied in a session of its own; that it was missed must not be forgotten.
    #expect(outcome == (1, 1))
    #expect(try rows(pair).count == 9)
  }

  /// Statements of single rows in a batching group are answered whenever the session is waited for: while a piece of
  /// the group is carried out, before a change that cannot wait in a batch, or at the end.
  @Test(arguments: [
    ["table public.t: INSERT: id[integer]:11 v[text]:'x'"],
    (11...15).map { "table public.t: INSERT: id[integer]:\($0) v[text]:'x'" },
    [
      "table public.t: INSERT: id[integer]:11 v[text]:'x'",
      "table public.t: UPDATE: old-key: id[integer]:11 new-tuple: id[integer]:12 v[text]:'x'",
    ],
    ["table public.u: INSERT: id[integer]:1", "table public.t: INSERT: id[integer]:11 v[text]:'x'"],
  ])
  func aMissedRowInABatchingGroupIsCounted(then others: [String]) throws {
    let pair = try DatabasePair("\(Self.table); CREATE TABLE u (id int PRIMARY KEY)")
    let base = pair.start.rawValue
    let missed = "table public.t: UPDATE: old-key: id[integer]:7 new-tuple: id[integer]:8 v[text]:'x'"
    let texts = ["BEGIN 5", missed] + others + ["COMMIT 5"]
    let records = texts.enumerated().map { Record(LSN(base + UInt64($0) + 1), $1) }
    #expect(try pair.applyBacklog(records, limits: BatchLimits(changes: 3)).missedRows == 1)
    #expect(try pair.progress() == records.last?.lsn)
  }

  @Test(arguments: [
    "table public.t: INSERT: id[integer]:1 v[text]:unchanged-toast-datum",
    "table public.t: UPDATE: id[integer]:unchanged-toast-datum v[text]:'x'",
    "table public.t: DELETE: id[integer]:unchanged-toast-datum",
  ])
  func aValueThatIsNotThereIsNeverMadeUp(_ record: String) throws {
    let pair = try DatabasePair("CREATE TABLE t (id text PRIMARY KEY, v text)")
    let failure = #expect(throws: ApplyFailure.self) { _ = try apply(pair, [record]) }
    #expect(failure?.reason == .unreadable)
    #expect(try rows(pair).isEmpty)
  }

  @Test(arguments: [
    (
      "table public.gone: INSERT: a[integer]:1",
      "insert of public.gone, xid 7, lsn 0/0: table public.gone does not exist"
    ),
    (
      "table public.t: INSERT: id[integer]:1 w[integer]:1",
      "insert of public.t, xid 7, lsn 0/0: column w of table public.t does not exist"
    ),
    (
      "table public.none: DELETE: (no-tuple-data)",
      "delete of public.none, xid 7, lsn 0/0: table public.none has no replica identity, so its deletes name no row"
    ),
    (
      "table public.none: UPDATE: a[integer]:1",
      "update of public.none, xid 7, lsn 0/0: table public.none has no replica identity"
    ),
    ("BEGIN 8", "xid 7, lsn 0/0: BEGIN inside a transaction"),
    ("COMMIT PREPARED 'x', txid 8", "xid 7, lsn 0/0: a two-phase record"),
    ("table public.t: INSERT: id[integer", "xid 7, lsn 0/0: malformed record:"),
  ])
  func whatCannotBeAppliedIsNamed(_ record: String, _ text: String) throws {
    let pair = try DatabasePair("\(Self.table); CREATE TABLE none (a int)")
    try pair.source.script("CREATE TABLE gone (a int)")
    let failure = #expect(throws: ApplyFailure.self) { _ = try apply(pair, [record]) }
    var shown = failure
    if shown?.lsn != nil { shown?.lsn = .invalid }
    #expect(shown?.description.hasPrefix(text) == true, "\(failure?.description ?? "")")
    #expect(failure?.isTransient == false)
    #expect(try pair.progress() == pair.start)
  }

  @Test func aChangeOutsideATransactionIsRefused() throws {
    let pair = try DatabasePair(Self.table)
    let applier = try pair.applier()
    #expect(throws: ApplyFailure.self) {
      try applier.apply(Record(LSN(1), "table public.t: INSERT: id[integer]:1 v[text]:null"))
    }
    let other = try DatabasePair(Self.table).applier()
    #expect(throws: ApplyFailure.self) { try other.apply(Record(LSN(1), "COMMIT 5")) }
  }
}
