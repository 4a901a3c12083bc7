import BlockingIO
import Dispatch
import Foundation
import PostgresClient
import Synchronization

/// Commits transactions of four changes each, as TPC-B has them, at a steady rate, on a thread of its own. The schedule
/// does not wait for a slow answer: a late transaction is followed by the next ones at once.
final class TrickleWriter: Sendable {
  private struct State {
    /// When COMMIT was answered.
    var committed: [Double] = []
    var failure: String?
  }

  let ids: ClosedRange<Int>
  private let state = Mutex(State())
  private let news = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)

  init(_ parameters: ConnectionParameters, ids: ClosedRange<Int>, rate: Int) {
    self.ids = ids
    startThread(name: "trickle") { [self] in
      do {
        let connection = try PostgresConnection.connect(parameters)
        let began = now()
        for (number, id) in ids.enumerated() {
          let wait = began + Double(number) / Double(rate) - now()
          if wait > 0 { usleep(UInt32(wait * 1e6)) }
          try connection.script(Self.transaction(id))
          let time = now()
          state.withLock { $0.committed.append(time) }
          news.signal()
        }
      } catch {
        state.withLock { $0.failure = "\(error)" }
        news.signal()
      }
      ended.signal()
    }
  }

  /// One message to the server is one transaction.
  private static func transaction(_ id: Int) -> String {
    """
    UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = \(1 + id * 7919 % 500_000);
    UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = \(1 + id * 7919 % 50);
    UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = \(1 + id * 7919 % 5);
    INSERT INTO probe VALUES (\(id))
    """
  }

  /// Waits until the transaction with this place is committed.
  func committed(_ place: Int) throws -> Double {
    news.wait()
    return try state.withLock {
      if let failure = $0.failure { throw BenchError("the trickle ended: \(failure)") }
      return $0.committed[place]
    }
  }

  /// Waits until all are committed.
  func finish() throws {
    ended.wait()
    if let failure = state.withLock({ $0.failure }) { throw BenchError("the trickle ended: \(failure)") }
  }
}

/// Looks at the target, for transactions in the order of their commits.
struct Observer {
  private static let patience = 60.0
  private let connection: PostgresConnection

  init(_ target: Cluster, _ database: String) throws {
    connection = try target.connect(database)
    // Its plan is made while the table is empty, and kept: without these words it would read the whole table.
    try connection.script(
      """
      SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
      PREPARE seen AS SELECT id FROM probe ORDER BY id DESC LIMIT 1
      """)
  }

  private func newest() throws -> Int {
    try connection.script("EXECUTE seen").first.flatMap { Int($0) } ?? 0
  }

  /// Sees every transaction of the writer arrive.
  func watch(_ writer: TrickleWriter) throws -> (latencies: [Double], resolution: Double) {
    var latencies: [Double] = []
    var questions: [Double] = []
    var seen = 0
    var seenAt = 0.0
    for (place, id) in writer.ids.enumerated() {
      let committed = try writer.committed(place)
      while seen < id {
        let asked = now()
        seen = try newest()
        seenAt = now()
        questions.append(seenAt - asked)
        guard seenAt - committed < Self.patience else {
          throw BenchError("a transaction was not there after \(Int(Self.patience)) s")
        }
      }
      // Another's question may have shown it before its own commit was answered.
      latencies.append(max(0, seenAt - committed))
    }
    return (latencies, median(questions))
  }

  func expect(_ id: Int) throws {
    try wait(for: "the end of the trickle", seconds: Self.patience) { try newest() >= id }
  }
}
