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
  let contender: any Contender
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

  /// Makes the slots, then the backlog, then drains it. Between the two `beforeBacklog` may make slots of its own.
  func run(beforeBacklog: () throws -> Void) throws -> [Result] {
    // Who writes on the source comes first here and last there.
    let (quiet, disturbing) = (contenders.filter { !$0.disturbsSource }, contenders.filter { $0.disturbsSource })
    note("\(workload.name): making slots")
    var entries = try (disturbing + quiet).map { try enter($0) }
    try beforeBacklog()
    note("\(workload.name): writing the backlog")
    let end = try workload.writeBacklog(source)
    let expected = try fingerprints(source, workload.databases)
    let first = disturbing.count
    for round in 0..<rounds {
      // Each round begins with another one.
      for place in 0..<quiet.count {
        try entries[first + (place + round) % quiet.count].take(round, end) { try drain($0, $1, expected) }
      }
    }
    for place in 0..<first { try entries[place].take(0, end) { try drain($0, $1, expected) } }
    return contenders.compactMap { contender in entries.first { $0.result.contender.key == contender.key }?.result }
  }

  /// A contender in this race, with a slot for each of its rounds.
  private struct Entry {
    let workload: String
    let runs: [Run]
    var result: Result

    /// A failure is the contender's result, and the end of its race; it does not hold up the others.
    mutating func take(
      _ round: Int, _ end: String, _ drain: (any Contender, Run) throws -> Measurement
    ) throws {
      var run = runs[round]
      run.end = end
      let label = "\(workload) round \(round + 1): \(result.contender.name)"
      if result.failure == nil {
        do {
          let taken = try drain(result.contender, run)
          result.measurements.append(taken)
          note("\(label): \(format(taken.wall)) s, CPU \(format(taken.cpu)) s")
        } catch {
          result.failure = oneLine("\(error)")
          note("\(label): failed: \(error)")
        }
      }
      try result.contender.clear(run)
      try run.dropTargets()
      try run.dropSlots()
    }
  }

  private func enter(_ contender: any Contender) throws -> Entry {
    let runs = (1...(contender.disturbsSource ? 1 : rounds)).map { round in
      Run(source, target, workload.databases, contender: contender.key, round: round)
    }
    var entry = Entry(workload: workload.name, runs: runs, result: Result(contender: contender))
    do {
      for run in runs { try contender.prepare(run) }
    } catch {
      entry.result.failure = oneLine("\(error)")
      note("\(workload.name): \(contender.name): \(error)")
    }
    return entry
  }

  private func fingerprints(_ cluster: Cluster, _ databases: [String]) throws -> [String] {
    try databases.map { try Workload.fingerprint(cluster.connect($0)) }
  }

  private func drain(_ contender: any Contender, _ run: Run, _ expected: [String]) throws -> Measurement {
    try contender.arrange(run)
    let targets = run.databases.map { run.targetDatabase($0) }
    if contender.writes { try run.warmTargets() }
    let watchers = contender.writes ? try targets.map { try target.connect($0) } : []
    for cluster in [source, target] { try cluster.connect().script("CHECKPOINT") }
    let (sourceBefore, targetBefore, endedBefore) = (source.cpu, target.cpu, CPU.ended())
    let began = now()
    let programs = try contender.start(run)
    defer { for program in programs { program.end() } }
    var failure: (any Error)?
    do {
      if contender.writes {
        var listened = began
        for watcher in watchers {
          try wait(for: "the end of the drain", seconds: limit) {
            if programs.contains(where: { !$0.isRunning }) { throw BenchError("the program ended early") }
            if now() - listened > 1 {
              listened = now()
              if let complaint = contender.complaint(programs) { throw BenchError(complaint) }
            }
            return try watcher.query("SELECT 1 FROM \(Workload.marker)").rowCount > 0
          }
        }
      } else {
        for program in programs { try program.finish(within: limit) }
      }
    } catch {
      failure = error
      let said = programs.map { $0.messages.suffix(2000) }.joined()
      if !said.isEmpty { note("\(contender.name) said:\n\(said)") }
    }
    let wall = now() - began
    let worker =
      contender.writes ? programs.reduce(0) { $0 + CPU.tree($1.identifier) } : CPU.ended() - endedBefore
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
