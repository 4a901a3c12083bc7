import BlockingIO
import DatabaseSync
import Foundation
import Logging
import PostgresClient
import ReplicationModel

/// One slot to drain, as it travels on the command line of `bench drain`.
struct Lane: Codable {
  var source: String
  var target: String
  var databaseOID: UInt32
  var slot: String
  var origin: String
  var start: String
}

/// What `bench drain` is told: pgconvoy's own workers, one for each lane, in a process of their own so that its CPU
/// time is theirs.
struct DrainOrder: Codable {
  var sourcePort: Int
  var targetPort: Int
  var systemIdentifier: String
  var lanes: [Lane]

  /// Runs the workers until standard input ends. Exit status 1 when one of them parked.
  func run() throws {
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = .warning
      return handler
    }
    let workers = try lanes.map { lane in
      guard let start = LSN(lane.start) else { throw BenchError("'\(lane.start)' is no LSN") }
      let assignment = WorkerAssignment(
        migration: "bench", database: lane.source, databaseOID: lane.databaseOID,
        from: Cluster.parameters(port: sourcePort, database: lane.source, program: "pgconvoy"),
        to: Cluster.parameters(port: targetPort, database: lane.target, program: "pgconvoy"), slot: lane.slot,
        publication: Workload.publication, origin: lane.origin, handOff: start,
        systemIdentifier: systemIdentifier, fromTimeline: 1, toTimeline: 1)
      return DatabaseWorker(assignment, logger: Logger(label: "bench"))
    }
    for worker in workers { worker.start() }
    _ = FileHandle.standardInput.readDataToEndOfFile()
    for worker in workers { worker.requestStop() }
    for worker in workers { _ = worker.waitUntilStopped(until: .after(.seconds(30))) }
    guard workers.allSatisfy({ $0.snapshot.phase != .parked }) else { throw BenchError("a worker parked") }
  }
}
