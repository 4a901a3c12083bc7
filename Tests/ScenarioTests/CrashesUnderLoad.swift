import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Whatever takes part is killed under load, at moments that a seed picks, with fsync on.
  ///
  /// `PGCONVOY_CRASH_KILLS=200` sets how many, `PGCONVOY_CRASH_SECONDS=600` ends the killing earlier than that if need be,
  /// `PGCONVOY_CRASH_SEED=17` sets the seed, which is printed.
  @Suite struct CrashesUnderLoad {
    @Test func loseNothingAndRepeatNothing() async throws {
      let kills = number("PGCONVOY_CRASH_KILLS").map { Int($0) }
      let seed = number("PGCONVOY_CRASH_SEED") ?? 20_241_124
      print("crashes under load: seed \(seed)")
      try await Scenario.run(databases: CrashRun.databases, rate: 10) { scenario in
        for database in CrashRun.databases {
          try await scenario.script(.source, KilledTables.statements, in: database)
        }
        try await scenario.play("migrate")
        try await scenario.killSync()
        // What the worker does not have flushed stays in memory, for a power cut to take.
        for setting in ["wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'"] {
          try await scenario.script(.target, "ALTER SYSTEM SET \(setting)", in: "postgres")
        }
        try await scenario.script(.target, "SELECT pg_reload_conf()", in: "postgres")
        var run = try CrashRun(scenario, seed: seed)
        try await run.perform(
          kills: kills ?? CrashRun.Kind.allCases.count,
          within: .seconds(Int64(number("PGCONVOY_CRASH_SECONDS") ?? 86_400)))
      }
    }

    private func number(_ variable: String) -> UInt64? {
      getenv(variable).flatMap { UInt64(String(cString: $0)) }
    }
  }
}

/// Nothing but the order of commits keeps the heap's rows apart: what is applied twice stays twice.
private enum KilledTables {
  static let statements = """
    CREATE TABLE killed_heap (writer integer, serial integer, filler text);
    CREATE SEQUENCE killed_backlog;
    CREATE TABLE killed_keyed (id integer PRIMARY KEY, hits integer NOT NULL DEFAULT 0);
    INSERT INTO killed_keyed SELECT n FROM generate_series(1, 100) n;
    """
}

private struct CrashRun {
  enum Kind: String, CaseIterable {
    /// `pgconvoy sync`.
    case worker
    /// One that applies; the target's postmaster then ends all others and recovers.
    case targetBackend = "target backend"
    case targetServer = "target server"
    case sourceServer = "source server"
    case walsender
    /// A session that reads a deep backlog by SQL.
    case puller
  }

  static let databases = ["alpha", "beta"]
  /// Above the depth from which a backlog is pulled, in bytes of WAL.
  private static let deepBacklog = 56 << 20
  /// Recoveries, pauses between attempts and a backlog add up on a busy machine.
  private static let patience = Duration.seconds(120)

  private let scenario: Scenario
  private var random: SeededRandom
  private var sync: Program
  private var killed: [Kind: Int] = [:]

  init(_ scenario: Scenario, seed: UInt64) throws {
    self.scenario = scenario
    random = SeededRandom(seed: seed)
    sync = try scenario.start("sync")
  }

  /// Each kind comes about as often as every other; a round of all of them stands in an order of its own.
  mutating func perform(kills: Int, within limit: Duration) async throws {
    let deadline = Deadline.after(limit)
    let stop = Flag()
    let scenario = scenario
    let load = Task {
      try await withThrowingTaskGroup(of: Int.self) { group in
        for (writer, database) in [(1, "alpha"), (2, "beta"), (3, "alpha")] {
          group.addTask { try await write(scenario, database, writer: writer, until: stop) }
        }
        return try await group.reduce(0, +)
      }
    }
    do {
      var due: [Kind] = []
      for _ in 0..<kills where !deadline.hasPassed {
        if due.isEmpty { due = Kind.allCases.shuffled(using: &random) }
        let kind = due.removeLast()
        try await perform(kind)
        killed[kind, default: 0] += 1
        // Every third time the next one comes before the stream has moved on.
        if Int.random(in: 0..<3, using: &random) > 0 { try await streamMovesOn() }
      }
    } catch {
      stop.raise()
      _ = try? await load.value
      _ = await end()
      throw error
    }
    stop.raise()
    #expect(try await load.value > 30)
    print("crashes under load: \(killed.map { "\($0.key.rawValue) \($0.value)" }.sorted().joined(separator: ", "))")
    try await judge()
    let ended = await end()
    #expect([0, 3].contains(ended?.status), "\(ended?.text ?? "")")
  }

  private func judge() async throws {
    try await scenario.application("stop")
    try await eventually("the source") { (try? await scenario.value(.source, "SELECT 1")) == "1" }
    try await scenario.drained(within: .seconds(300))
    try await scenario.expectIdentical()
    for database in Self.databases {
      let twice = try await scenario.value(
        .target,
        "SELECT count(*) FROM (SELECT FROM killed_heap GROUP BY writer, serial HAVING count(*) > 1) t", in: database)
      #expect(twice == "0")
      let status = try await scenario.status(database)
      #expect(status.missedRows == 0)
      #expect(status.phase != .parked, "\(status.lastError ?? "")")
    }
    // The judge is no good if one row too many escapes it.
    try await scenario.script(.target, "INSERT INTO killed_heap VALUES (99, 0, 'planted')", in: "alpha")
    await withKnownIssue { try await scenario.expectIdentical(["alpha"]) }
  }

  private func end() async -> Program.Result? {
    sync.signal(SIGTERM)
    return try? await sync.result()
  }

  // MARK: killing

  private mutating func perform(_ kind: Kind) async throws {
    switch kind {
    case .worker:
      try await moment()
      try await killWorker()
      sync = try scenario.start("sync")
    case .targetBackend:
      try await kill(
        .target,
        """
        SELECT pid FROM pg_stat_activity WHERE application_name = 'pgconvoy worker lab' AND datname IN ('alpha', 'beta')
           AND backend_type = 'client backend'
        """)
    case .walsender:
      try await kill(
        .source,
        """
        SELECT s.active_pid FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
         WHERE s.slot_type = 'logical' AND s.database IN ('alpha', 'beta')
        """)
    case .targetServer:
      try await moment()
      try await cutPower(scenario.target)
      // No worker may move the origin before it is read.
      sync.signal(SIGSTOP)
      defer { sync.signal(SIGCONT) }
      try await scenario.startServer(scenario.target)
      try await expectNothingConfirmedThatIsNotDurable()
    case .sourceServer:
      try await moment()
      try await cutPower(scenario.source)
      try await scenario.startServer(scenario.source)
    case .puller:
      // A pull may be over before the moment has passed.
      for _ in 0..<10 {
        try await killWorker()
        let end = try await makeBacklog()
        sync = try scenario.start("sync")
        let scenario = scenario
        let isKilled = try await kill(
          .source,
          """
          SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
             AND query LIKE '%pg_logical_slot_get_binary_changes%' AND state = 'active'
          """, after: 0...150
        ) { try await Self.progress(scenario, ["alpha"]).values.allSatisfy { $0 >= end } }
        if isKilled { return }
      }
      Issue.record("no pull lasted long enough to be killed")
    }
  }

  private mutating func moment(_ milliseconds: ClosedRange<Int> = 0...700) async throws {
    try await Task.sleep(for: .milliseconds(Int.random(in: milliseconds, using: &random)))
  }

  private func killWorker() async throws {
    sync.signal(SIGKILL)
    let result = try await sync.result()
    #expect(result.status == 128 + SIGKILL, "\(result.text)")
  }

  /// Kills one of the processes that a query names, as soon as there is one and a moment has passed.
  ///
  /// - Parameter isOver: there will be none any more.
  /// - Returns: whether one was killed before that.
  @discardableResult
  private mutating func kill(
    _ role: Scenario.Role, _ query: String, after pause: ClosedRange<Int> = 0...700,
    unless isOver: () async throws -> Bool = { false }
  ) async throws -> Bool {
    let checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    var before = ""
    var isKilled = false
    try await eventually("a process to kill: \(query)", within: Self.patience) {
      guard let found = try? await scenario.sql(role, query), !found.isEmpty else {
        return (try? await isOver()) ?? false
      }
      try await moment(pause)
      // It may be gone by now, and another one there.
      guard let again = try? await scenario.sql(role, query), let pid = again.randomElement(using: &random)?.first
      else {
        return false
      }
      before = try await scenario.value(role, checkpointer)
      isKilled = pid_t(pid).map { Glibc.kill($0, SIGKILL) == 0 } ?? false
      return isKilled
    }
    guard isKilled else { return false }
    // The postmaster ends all the others when one of its processes was killed.
    try await eventually("the end of recovery", within: Self.patience) {
      guard let now = try? await scenario.value(role, checkpointer) else { return false }
      return !now.isEmpty && now != before
    }
    return true
  }

  private func cutPower(_ host: LabHost) async throws { try await scenario.control(host, "stop", "-m", "immediate") }

  // MARK: the stream

  /// What the source thinks was confirmed, against what survived on the target. Temporary slots are a puller's copies.
  private func expectNothingConfirmedThatIsNotDurable() async throws {
    let slots = try await scenario.sql(
      .source, "SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots WHERE NOT temporary")
    let origins = try await scenario.sql(.target, "SELECT external_id, remote_lsn FROM pg_replication_origin_status")
    let durable = Dictionary(uniqueKeysWithValues: origins.map { ($0[0], LSN($0[1])) })
    #expect(slots.count > Self.databases.count)
    for slot in slots {
      let progress = try #require(durable[slot[0]] ?? nil, "no origin for \(slot[0])")
      let confirmed = try #require(LSN(slot[1]))
      #expect(confirmed <= progress, "\(slot[0]): confirmed \(confirmed), durable \(progress)")
    }
  }

  private static func progress(_ scenario: Scenario, _ databases: [String] = databases) async throws -> [String: LSN] {
    let rows = try await scenario.sql(
      .target,
      """
      SELECT o.external_id, o.remote_lsn FROM pg_replication_origin_status o
        JOIN pg_database d ON o.external_id LIKE 'pgconvoy%\\_' || d.oid WHERE d.datname = ANY ($1::text[])
      """, ["{" + databases.joined(separator: ",") + "}"])
    return Dictionary(uniqueKeysWithValues: try rows.map { ($0[0], try #require(LSN($0[1]))) })
  }

  private func streamMovesOn() async throws {
    let before = try await Self.progress(scenario)
    #expect(before.count == Self.databases.count)
    try await eventually("progress of both databases", within: Self.patience) {
      guard let now = try? await Self.progress(scenario) else { return false }
      return before.allSatisfy { (now[$0.key] ?? .invalid) > $0.value }
    }
  }

  /// Lets so much WAL of narrow rows build up behind alpha's slot that a worker begins by pulling.
  ///
  /// - Returns: where it ends.
  private func makeBacklog() async throws -> LSN {
    var goal = LSN.invalid
    try await eventually("a backlog", within: Self.patience) {
      // The source may be recovering from the kill before.
      let rows = try? await scenario.sql(
        .source,
        """
        SELECT min(confirmed_flush_lsn), pg_current_wal_insert_lsn() FROM pg_replication_slots
         WHERE database = 'alpha' AND NOT temporary
        """
      )
      guard let row = rows?.first, let confirmed = LSN(row[0]), let end = LSN(row[1]) else { return false }
      if end > confirmed + UInt64(Self.deepBacklog) {
        goal = end
        return true
      }
      _ = try? await scenario.sql(
        .source,
        "INSERT INTO killed_heap SELECT 0, nextval('killed_backlog'), 'narrow' FROM generate_series(1, 60000)",
        in: "alpha")
      return false
    }
    return goal
  }
}

/// Small transactions and large ones, with a rollback now and then; returns how many committed. Goes on when the
/// source comes back; what it was then told nothing about may have been committed or not.
private func write(_ scenario: Scenario, _ database: String, writer: Int, until stop: Flag) async throws -> Int {
  var serial = 0
  var committed = 0
  while !stop.isRaised {
    guard let session = try? await scenario.session(.sourceApp, database) else {
      try await Task.sleep(for: .milliseconds(20))
      continue
    }
    do {
      while !stop.isRaised {
        let count = committed % 10 == 9 ? 2000 : 3
        serial += count
        try await session.script(
          """
          BEGIN;
          INSERT INTO killed_heap
            SELECT \(writer), n, repeat('x', 50) FROM generate_series(\(serial - count), \(serial - 1)) n;
          UPDATE killed_keyed SET hits = hits + 1 WHERE id = \(1 + writer * 20 + committed % 20);
          \(committed % 7 == 6 ? "ROLLBACK" : "COMMIT")
          """)
        committed += 1
        try await Task.sleep(for: .milliseconds(15))
      }
    } catch is PostgresError {}
    await session.close()
  }
  return committed
}
