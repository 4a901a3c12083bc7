import Foundation

/// The tables, as Markdown, and the same figures as JSON.
struct Report {
  let rounds: Int
  let scale: Double
  private(set) var races: [(workload: Workload, results: [Result])] = []
  private(set) var decodings: [Decoding.Result] = []
  private(set) var trickles: [Trickle.Result] = []
  private var transactions = 0

  init(rounds: Int, scale: Double) {
    self.rounds = rounds
    self.scale = scale
  }

  mutating func add(_ workload: Workload, _ results: [Result]) { races.append((workload, results)) }
  mutating func add(_ decodings: [Decoding.Result]) { self.decodings += decodings }
  mutating func add(trickle results: [Trickle.Result], transactions: Int) {
    trickles = results
    self.transactions = transactions
  }

  static var machine: String {
    let cpu = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n")
      .first { $0.hasPrefix("model name") }?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) }
    let kernel = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines)
    return "\(cpu ?? "unknown CPU"), \(ProcessInfo.processInfo.activeProcessorCount) cores, "
      + "\(ProcessInfo.processInfo.physicalMemory >> 30) GB of memory, Linux \(kernel ?? "unknown"), "
      + "PostgreSQL \(Cluster.version)"
  }

  var text: String {
    let rounds = rounds == 1 ? "one round" : "medians of \(rounds) interleaved rounds"
    var lines = ["\(Self.machine); \(rounds); scale \(format(scale, 2)).", ""]
    if races.count > 1 { lines += summary }
    for (workload, results) in races { lines += detail(workload, results) }
    if !trickles.isEmpty { lines += caughtUp }
    if !decodings.isEmpty { lines += decodingAlone }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func native(_ results: [Result]) -> Result? {
    results.first { $0.contender.key == Native(isBinary: false).key && !$0.measurements.isEmpty }
  }

  private static func table(_ head: [String], _ rows: [[String]]) -> [String] {
    let rule = "|---|" + String(repeating: "--:|", count: head.count - 1)
    return ["| " + head.joined(separator: " | ") + " |", rule] + rows.map { "| " + $0.joined(separator: " | ") + " |" }
      + [""]
  }

  /// Speed beside native's, for each contender and workload.
  private var summary: [String] {
    let rows = races[0].results.indices.map { number in
      [races[0].results[number].contender.name]
        + races.map { race in
          let result = race.results[number]
          if result.failure != nil || result.measurements.isEmpty { return "failed" }
          guard let native = Self.native(race.results) else { return "" }
          return format(native.median { $0.wall } / result.median { $0.wall })
        }
    }
    return ["### Speed, times that of CREATE SUBSCRIPTION, text", ""]
      + Self.table([""] + races.map { $0.workload.name }, rows)
  }

  private func detail(_ workload: Workload, _ results: [Result]) -> [String] {
    let native = Self.native(results)
    let head = [
      "", "seconds", "min–max", "× native text", "÷ its COPY", "changes/s", "CPU s", "source", "target", "worker",
      "CPU ÷ native",
    ]
    let rows = results.map { result -> [String] in
      guard result.failure == nil, !result.measurements.isEmpty else {
        return [result.contender.name, "failed: \(result.failure ?? "not run")"]
          + Array(repeating: "", count: head.count - 2)
      }
      let (wall, cpu) = (result.median { $0.wall }, result.median { $0.cpu })
      let walls = result.measurements.map { $0.wall }
      let limit = results.first { $0.contender.key == result.contender.limit && !$0.measurements.isEmpty }
      let once = result.measurements.count < rounds ? " (once)" : ""
      return [
        result.contender.name + once, format(wall), "\(format(walls.min() ?? 0))–\(format(walls.max() ?? 0))",
        native.map { format($0.median { $0.wall } / wall) } ?? "",
        limit.map { format(wall / $0.median { $0.wall }) } ?? "",
        "\(Int(Double(workload.changes) / wall))", format(cpu), format(result.median { $0.source }),
        format(result.median { $0.target }), format(result.median { $0.worker }),
        native.map { format(cpu / $0.median { $0.cpu }) } ?? "",
      ]
    }
    return ["### \(workload.name): \(workload.title)", ""] + Self.table(head, rows)
  }

  private var caughtUp: [String] {
    let head = [
      "", "median ms", "p99 ms", "slowest ms", "question ms", "target CPU ms", "worker CPU ms", "source CPU ms",
    ]
    let rows = trickles.map { result -> [String] in
      guard result.failure == nil, !result.measurements.isEmpty else {
        return [result.contender.name, "failed: \(result.failure ?? "not run")"]
          + Array(repeating: "", count: head.count - 2)
      }
      func milliseconds(_ value: (Trickle.Measurement) -> Double) -> String { format(result.median(value) * 1000) }
      return [
        result.contender.name, milliseconds { quantile($0.latencies, 0.5) },
        milliseconds { quantile($0.latencies, 0.99) },
        milliseconds { $0.latencies.max() ?? 0 }, milliseconds { $0.resolution }, milliseconds { $0.target },
        milliseconds { $0.worker }, milliseconds { $0.source },
      ]
    }
    return [
      "### Caught up: \(Trickle.rate) transactions a second, \(transactions) for the latency, as many for the CPU time, "
        + "which is per 1,000 transactions", "",
    ] + Self.table(head, rows)
  }

  private var decodingAlone: [String] {
    let rows = decodings.map {
      [
        "\($0.workload), \($0.plugin)", "\($0.records)", format(Double($0.bytes) / 1e6, 1), format($0.megabytes, 0),
        format($0.millions),
      ]
    }
    return ["### Decoding alone, from memory, on one core", ""]
      + Self.table(["", "records", "MB", "MB/s", "million records/s"], rows)
  }
}
