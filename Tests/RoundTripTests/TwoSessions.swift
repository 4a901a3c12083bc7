import BlockingIO
import ChangeApply
import Glibc
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import Synchronization
import TestSupport
import Testing

@testable import DatabaseSync

/// Batches in two sessions beside each other, which are ended at any moment, as is the server.
@Suite(.serialized, .roundTripServer)
struct TwoSessions {
  /// `PGCONVOY_TWO_SESSIONS=200` runs so many seeds.
  static let seeds = 1...(getenv("PGCONVOY_TWO_SESSIONS").flatMap { UInt64(String(cString: $0)) } ?? 3)

  @Test(arguments: seeds) func loseNothingAndRepeatNothing(seed: UInt64) async throws {
    let server = try RoundTripServer.running()
    let problem = try await onDedicatedThread("two-sessions") {
      var run = try Run(server, seed)
      let problem = try run.problem()
      if run.hadSecond { Self.seedsWithTwo.withLock { $0 += 1 } }
      return problem
    }
    #expect(problem == nil, "seed \(seed)")
    // One that fails early may replay all of it in one session.
    if seed == Self.seeds.upperBound { #expect(Self.seedsWithTwo.withLock { $0 } > 0) }
  }

  private static let seedsWithTwo = Mutex(0)

  private struct Run {
    let server: Cluster
    var random: SeededRandom
    var pair: Pair
    var target: String { pair.targets[0] }
    let records: [StreamEntry]
    /// The ends of its transactions, where progress can stand.
    let ends: Set<LSN>
    /// What the source would have been told.
    var durable = LSN.invalid
    var strictUntil = LSN.invalid
    var failures: [String: Int] = [:]
    var hadSecond = false

    init(_ server: Cluster, _ seed: UInt64) throws {
      self.server = server
      random = SeededRandom(mixing: seed)
      pair = try Pair(server, named: "two_\(HandOffNames.random().nonce)")
      let source = try server.connect(pair.source)
      try source.script(
        """
        CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 300) i;
        CREATE TABLE u (id text, part int, v text UNIQUE, PRIMARY KEY (id, part));
        INSERT INTO u SELECT 'row ' || i, i % 3, 'v' || i FROM generate_series(1, 100) i;
        CREATE TABLE log (line text);
        CREATE TABLE f (a int, b text); ALTER TABLE f REPLICA IDENTITY FULL;
        INSERT INTO f SELECT i % 10, 'twice' FROM generate_series(1, 20) i
        """)
      source.close()
      try pair.handOff(to: ["target"])
      try Self.write(&random, try server.connect(pair.source))
      // A target that is slower than the stream.
      try server.connect(pair.targets[0]).script(
        "ALTER TABLE t ADD CHECK (pg_sleep(0.0003) IS NOT NULL) NOT VALID")
      records = try pair.peek(.testDecoding, until: .after(.seconds(30)))
      ends = Set(records.filter { $0.bytes.starts(with: "COMMIT".utf8) }.map(\.lsn))
    }

    /// Transactions that change what those before them have changed, or have left alone.
    private static func write(_ random: inout SeededRandom, _ source: PostgresConnection) throws {
      var present = Set(1...300)
      var next = 301
      for transaction in 0..<400 {
        var statements: [String] = []
        for _ in 0..<random.int(1...8) {
          switch random.int(0...9) {
          case 0:
            statements.append("INSERT INTO t VALUES (\(next), 'new \(transaction)')")
            present.insert(next)
            next += 1
          case 1:
            guard let gone = present.randomElement(using: &random) else { continue }
            present.remove(gone)
            statements.append("DELETE FROM t WHERE id = \(gone)")
            guard random.one(in: 2) else { continue }
            statements.append("INSERT INTO t VALUES (\(gone), 'again \(transaction)')")
            present.insert(gone)
          case 2:
            let row = random.int(1...100)
            statements.append("UPDATE u SET v = 'v\(row) \(transaction)' WHERE id = 'row \(row)'")
          case 3 where random.one(in: 10):
            statements.append(unusual(transaction, &random))
          case 4:
            statements.append("INSERT INTO log VALUES ('\(transaction)')")
          default:
            statements.append("UPDATE t SET v = '\(transaction)' WHERE id = \(random.int(1...next))")
          }
        }
        try source.script("BEGIN; " + statements.joined(separator: "; ") + "; COMMIT")
      }
    }

    /// What no batch takes, or hardly.
    private static func unusual(_ transaction: Int, _ random: inout SeededRandom) -> String {
      let row = random.int(1...100)
      switch random.int(0...5) {
      case 0:
        // A unique value that passes from row to row.
        return """
          UPDATE u SET v = 'freed \(transaction)' WHERE id = 'row \(row)';
          UPDATE u SET v = 'v\(row)' WHERE id = 'row \(101 - row)' AND NOT EXISTS (SELECT FROM u x WHERE x.v = 'v\(row)')
          """
      case 1: return "UPDATE f SET b = '\(transaction)' WHERE a = \(row % 10)"
      case 2: return "UPDATE u SET part = part + 3 WHERE id = 'row \(row)'"
      case 3: return "TRUNCATE log"
      case 4: return "UPDATE t SET v = 'many \(transaction)' WHERE id BETWEEN \(row) AND \(row + 60)"
      default:
        return "DELETE FROM u WHERE id = 'row \(row)'; INSERT INTO u VALUES ('row \(row)', 0, 'anew \(transaction)')"
      }
    }

    /// What went wrong.
    mutating func problem() throws -> String? {
      let deadline = Deadline.after(.seconds(60))
      for attempt in 0... {
        guard !deadline.hasPassed else { return "no end; \(failures)" }
        let session = try open(until: deadline)
        defer { session.close() }
        let progress = try progress()
        guard progress >= durable else { return "progress \(progress) is behind \(durable), which was called durable" }
        guard ends.contains(progress) || progress == pair.start else {
          return "progress \(progress) is no transaction's end"
        }
        let applier = try ChangeApplier(
          session: session, parser: TestDecodingParser(), start: progress, identity: "test",
          limits: BatchLimits(changes: random.int(4...16), bytes: 1 << 20, least: random.int(8...16)),
          strictUntil: strictUntil, usesSecondSession: strictUntil < progress)
        defer { applier.end() }
        applier.hasBacklog = true
        let trouble = attempt < 15 ? Trouble(server, target, &random) : nil
        defer { trouble?.end.wait() }
        do throws(ApplyFailure) {
          try apply(behind: progress, to: applier)
          try applier.commitGroup()
          try applier.makeDurable()
        } catch {
          failures[error.description, default: 0] += 1
          durable = max(durable, applier.durable)
          if applier.isBatching, !error.isTransient || error.isDeadlock { strictUntil = applier.replayEnd }
          trouble?.end.wait()
          hadSecond = try hadSecond || hasSecondProgress()
          continue
        }
        trouble?.end.wait()
        hadSecond = try hadSecond || hasSecondProgress()
        guard applier.recorded == records.last?.lsn else { return "it ended at \(applier.recorded)" }
        let differences = try pair.differences(from: target)
        if differences.isEmpty { try finish(session, applier) }
        return differences.isEmpty ? nil : differences.joined(separator: "\n")
      }
      return nil
    }

    private func finish(_ session: ApplySession, _ applier: ChangeApplier<TestDecodingParser>) throws {
      applier.end()
      session.close()
      try pair.drop()
    }

    private func apply(behind progress: LSN, to applier: ChangeApplier<TestDecodingParser>) throws(ApplyFailure) {
      var transaction: [StreamEntry] = []
      for record in records {
        transaction.append(record)
        guard ends.contains(record.lsn), record.bytes.starts(with: "COMMIT".utf8) else { continue }
        if record.lsn > progress {
          for record in transaction {
            let storage = StableBytes(capacity: max(record.bytes.count, 1))
            record.bytes.withUnsafeBytes { bytes in
              if let base = bytes.baseAddress { storage.base.copyMemory(from: base, byteCount: bytes.count) }
            }
            try applier.apply(
              lsn: record.lsn, record: UnsafeRawBufferPointer(start: storage.base, count: record.bytes.count),
              in: storage)
          }
        }
        transaction.removeAll()
      }
    }

    private func progress() throws -> LSN {
      try server.connect().query("SELECT pg_replication_origin_progress($1, true)", [target]).first.flatMap { LSN($0) }
        ?? .invalid
    }

    private func hasSecondProgress() throws -> Bool {
      try server.connect().query(
        "SELECT FROM pg_replication_origin_status WHERE external_id = $1",
        [HandOffNames.secondOrigin(beside: target)]
      ).rowCount > 0
    }

    private func open(until deadline: Deadline) throws -> ApplySession {
      while true {
        do throws(PostgresError) {
          return try ApplySession.open(server.parameters(target), origin: target)
        } catch {
          if !error.isTransient || deadline.hasPassed { throw error }
        }
      }
    }
  }

  /// Ends one of the target's sessions after a while, or the server.
  private struct Trouble {
    let end = ThreadEnd()

    init(_ server: Cluster, _ target: String, _ random: inout SeededRandom) {
      let end = self.end
      let kind = random.int(0...9)
      let delay = UInt32(random.int(0...120_000))
      startThread(name: "trouble") {
        defer { end.signal() }
        // The moment is the test's input: nothing in particular is waited for.
        usleep(delay)
        if kind == 0 { return }
        if kind == 1 {
          try? server.crash()
          return
        }
        _ = try? server.connect().query(
          """
          SELECT pg_terminate_backend(pid, 5000) FROM (
            SELECT pid FROM pg_stat_activity WHERE datname = $1 ORDER BY backend_start \(kind < 6 ? "ASC" : "DESC") LIMIT 1
          ) one
          """, [target])
      }
    }
  }
}
