import BlockingIO
import Foundation
import PostgresClient

/// Caught up: how long a transaction takes from its commit on the source to the target, and what a steady trickle of
/// them costs. The contenders take turns, round by round.
///
/// Each turn has two parts of equal length. In the first an observer asks the target for the transaction that has just
/// been committed, again and again until it is visible, and rests until the next one is committed. In the second nobody
/// asks, and CPU time is counted.
struct Trickle {
  struct Measurement {
    /// From the answer to COMMIT to the answer that shows the row; seconds.
    var latencies: [Double]
    /// How long the observer's question takes: what is measured is late by up to so much.
    var resolution: Double
    /// CPU seconds per 1,000 transactions.
    var source: Double
    var target: Double
    var worker: Double
  }

  struct Result {
    let contender: any Contender
    var measurements: [Measurement] = []
    var failure: String?

    func median(_ value: (Measurement) -> Double) -> Double { bench.median(measurements.map(value)) }
  }

  static let name = "trickle"
  static let rate = 200

  let source: Cluster
  let target: Cluster
  let workload: Workload
  let contenders: [any Contender]
  let rounds: Int
  /// Transactions in each of the two parts.
  let count: Int

  init(
    _ source: Cluster, _ target: Cluster, _ workload: Workload, contenders: [any Contender], rounds: Int, scale: Double
  ) {
    self.source = source
    self.target = target
    self.workload = workload
    self.contenders = contenders.filter { $0.writes && !$0.disturbsSource }
    self.rounds = rounds
    count = Workload.scaled(8 * Self.rate, scale, multipleOf: Self.rate)
  }

  /// The base; its backlog is written as it goes.
  static func workload() -> Workload {
    Workload(
      name: name, title: "", databases: [name], changes: 0,
      base: { cluster, database in
        try Workload.pgbenchBase(scale: 5)(cluster, database)
        try cluster.connect(database).script("CREATE TABLE probe (id bigint PRIMARY KEY)")
      },
      backlog: { _, _ in throw BenchError("a trickle has no backlog") })
  }

  func run() throws -> [Result] {
    var results = contenders.map { Result(contender: $0) }
    let runs = contenders.map { contender in
      (1...rounds).map { Run(source, target, workload.databases, contender: contender.key, round: $0) }
    }
    for (number, contender) in contenders.enumerated() {
      do {
        for run in runs[number] { try contender.prepare(run) }
      } catch {
        results[number].failure = oneLine("\(error)")
      }
    }
    var last = 0
    for round in 0..<rounds {
      for place in contenders.indices {
        let number = (place + round) % contenders.count
        let run = runs[number][round]
        if results[number].failure == nil {
          do {
            let taken = try turn(contenders[number], run, from: &last)
            results[number].measurements.append(taken)
            note(
              "\(Self.name) round \(round + 1): \(contenders[number].name): median "
                + "\(format(median(taken.latencies) * 1000)) ms, CPU of the target \(format(taken.target, 3)) s")
          } catch {
            results[number].failure = oneLine("\(error)")
            note("\(Self.name) round \(round + 1): \(contenders[number].name): failed: \(error)")
          }
        }
        try contenders[number].clear(run)
        try run.dropTargets()
        try run.dropSlots()
      }
    }
    return results
  }

  /// Since all slots are as old as the base, a contender begins with what the others before it had to bring.
  private func turn(_ contender: any Contender, _ run: Run, from last: inout Int) throws -> Measurement {
    try contender.arrange(run)
    try run.warmTargets()
    for cluster in [source, target] { try cluster.connect().script("CHECKPOINT") }
    let programs = try contender.start(run)
    defer { for program in programs { program.end() } }
    var stopped = false
    defer { if !stopped { try? contender.stop(run, programs) } }
    let observer = try Observer(target, run.targetDatabase(Self.name))

    // A second of the same, to warm up whatever there is.
    _ = try observer.watch(try write(Self.rate, &last))
    let watched = try observer.watch(try write(count, &last))

    let before = (source: source.cpu, target: target.cpu, worker: cpu(programs))
    let writer = try write(count, &last)
    try writer.finish()
    try observer.expect(last)
    let after = (source: source.cpu, target: target.cpu, worker: cpu(programs))
    let thousands = Double(count) / 1000

    stopped = true
    try contender.stop(run, programs)
    let (left, right) = (
      try Workload.fingerprint(source.connect(Self.name)),
      try Workload.fingerprint(target.connect(run.targetDatabase(Self.name)))
    )
    guard left == right else { throw BenchError("the target differs: \(right) instead of \(left)") }
    return Measurement(
      latencies: watched.latencies, resolution: watched.resolution,
      source: (after.source - before.source) / thousands, target: (after.target - before.target) / thousands,
      worker: (after.worker - before.worker) / thousands)
  }

  private func cpu(_ programs: [Program]) -> Double { programs.reduce(0) { $0 + CPU.tree($1.identifier) } }

  private func write(_ count: Int, _ last: inout Int) throws -> TrickleWriter {
    defer { last += count }
    return TrickleWriter(
      Cluster.parameters(port: source.port, database: Self.name), ids: last + 1...last + count, rate: Self.rate)
  }
}
