import BlockingIO
import ChangeApply
import Glibc
import LogicalDecoding
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import DatabaseSync
@testable import ReplicationStream

/// What a worker tells the source to forget, on a real server.
@Suite(.roundTripServer)
struct ConfirmedProgress {
  /// Chunks end anywhere: with large transactions hardly ever between two of them. A source that waited for that would
  /// keep its WAL until its disk is full.
  @Test(arguments: [true, false]) func isConfirmedWhileEveryChunkEndsInATransaction(batches: Bool) async throws {
    let server = try RoundTripServer.running()
    let (start, durable, stored) = try await onDedicatedThread("confirmed-progress") {
      var pair = try Pair(server, named: "confirmed_\(HandOffNames.random().nonce)")
      let source = try server.connect(pair.source)
      try source.script("CREATE TABLE t (id int PRIMARY KEY, v text)")
      source.close()
      try pair.handOff(to: ["target"])
      let target = pair.targets[0]
      let writer = try server.connect(pair.source)
      for transaction in 0..<24 {
        try writer.script(
          "INSERT INTO t SELECT \(transaction) * 1000 + i, repeat('x', 100) FROM generate_series(1, 1000) i")
      }
      let deadline = Deadline.after(.seconds(30))
      let records = try pair.peek(.testDecoding, until: deadline)
      let session = try ApplySession.open(server.parameters(target), origin: target)
      // Far behind an end that is never reached: in sets, or change by change as after a batch that has failed.
      let feed = Feed(startingAt: pair.start)
      let applier = try ChangeApplier(
        session: session, parser: TestDecodingParser(), start: pair.start, sourceEnd: LSN(UInt64.max / 2),
        identity: "test", strictUntil: batches ? .invalid : LSN(UInt64.max))
      var loop = ApplyLoop(
        applier: applier, feed: feed, base: WorkerSnapshot(migration: "m", database: "d"))
      var next = 0
      while feed.control.durable == pair.start, next + 1002 < records.count, !deadline.hasPassed {
        // To the middle of the next transaction.
        let end = next == 0 ? 500 : next + 1002
        var chunk = StreamChunk()
        for record in records[next..<end] {
          record.bytes.withUnsafeBytes { chunk.append(lsn: record.lsn, record: $0) }
        }
        next = end
        #expect(feed.queue.tryPush(chunk, bytes: chunk.byteCount))
        #expect(try loop.turn())
        #expect(applier.isMidTransaction)
        // A source that writes at this pace: what is committed is flushed once a second.
        usleep(150_000)
      }
      let durable = feed.control.durable
      applier.end()
      session.close()
      let stored = try server.connect().query(
        "SELECT pg_replication_origin_progress($1, true)", [target]
      ).first.flatMap { LSN($0) }
      try pair.drop()
      return (pair.start, durable, stored ?? .invalid)
    }
    #expect(durable > start)
    #expect(durable <= stored)
  }
}
