import Foundation
import PostgresClient

/// What one drain took, in seconds.
struct Measurement {
  var wall: Double
  var source: Double
  var target: Double
  var worker: Double
  var cpu: Double { source + target + worker }
}

struct Result {
  let contender: String
  let writes: Bool
  var measurements: [Measurement] = []
  var failure: String?

  func median(_ value: (Measurement) -> Double) -> Double { bench.median(measurements.map(value)) }
}

/// One workload: every contender drains the same WAL, round by round, one after the other.
struct Race {
  let source: Cluster
  let target: Cluster
  let workload: Workload
  let contenders: [any Contender]
  let rounds: Int
  /// A contender that takes longer has failed; seconds.
  let limit: Double

  func run() throws -> [Result] {
    note("\(workload.name): making slots")
    var results = contenders.map { Result(contender: $0.name, writes: $0.writes) }
    var runs: [[Run]] = []
    for (number, contender) in contenders.enumerated() {
      var own: [Run] = []
      for round in 1...rounds {
        let run = Run(source, target, workload.databases, contender: contender.key, round: round)
        own.append(run)
        guard results[number].failure == nil else { continue }
        do { try contender.prepare(run) } catch { results[number].failure = "\(error)" }
      }
      runs.append(own)
    }
    note("\(workload.name): writing the backlog")
    let end = try workload.writeBacklog(source)
    let expected = try fingerprints(source, workload.databases)
    for round in 1...rounds {
      // Each round begins with another one.
      for place in contenders.indices {
        let number = (place + round - 1) % contenders.count
        var run = runs[number][round - 1]
        run.end = end
        if results[number].failure == nil {
          do {
            let taken = try drain(contenders[number], run, expected)
            results[number].measurements.append(taken)
            note(
              "\(workload.name) round \(round): \(contenders[number].name): \(format(taken.wall)) s, CPU \(format(taken.cpu)) s"
            )
          } catch {
            results[number].failure = "\(error)"
            note("\(workload.name) round \(round): \(contenders[number].name): failed: \(error)")
          }
        }
        try run.dropTargets()
        try run.dropSlots()
      }
    }
    return results
  }

  private func fingerprints(_ cluster: Cluster, _ databases: [String]) throws -> [String] {
    try databases.map { try Workload.fingerprint(cluster.connect($0)) }
  }

  private func drain(_ contender: any Contender, _ run: Run, _ expected: [String]) throws -> Measurement {
    try contender.arrange(run)
    let targets = run.databases.map { run.targetDatabase($0) }
    var watchers: [PostgresConnection] = []
    if contender.writes {
      for database in targets {
        try target.connect(database).script(
          "SELECT pg_prewarm(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't') AND relpersistence = 'p'")
      }
      watchers = try targets.map { try target.connect($0) }
    }
    for cluster in [source, target] { try cluster.connect().script("CHECKPOINT") }
    let (sourceBefore, targetBefore, endedBefore) = (source.cpu, target.cpu, CPU.ended())
    let began = now()
    let programs = try contender.start(run)
    var failure: (any Error)?
    do {
      if contender.writes {
        for watcher in watchers {
          try wait(for: "the end of the drain", seconds: limit) {
            if programs.contains(where: { !$0.isRunning }) { throw BenchError("the worker ended early") }
            return try watcher.query("SELECT 1 FROM \(Workload.marker)").rowCount > 0
          }
        }
      } else {
        for program in programs { try program.finish() }
      }
    } catch {
      failure = error
      note(programs.map { $0.messages }.joined())
    }
    let wall = now() - began
    let worker = contender.writes ? programs.reduce(0) { $0 + CPU.process($1.identifier) } : CPU.ended() - endedBefore
    let measurement = Measurement(
      wall: wall, source: source.cpu - sourceBefore, target: target.cpu - targetBefore, worker: worker)
    do { try contender.stop(run, programs) } catch { failure = failure ?? error }
    if let failure { throw failure }
    if contender.writes {
      let found = try fingerprints(target, targets)
      for (left, right) in zip(expected, found) where left != right {
        throw BenchError("the target differs: \(right) instead of \(left)")
      }
    }
    return measurement
  }
}
