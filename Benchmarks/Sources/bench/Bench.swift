import Foundation
import LogicalDecoding
import PostgresClient

/// `bench run --dir DIR OPTIONS`, which `scripts/bench` calls; `bench drain ORDER`, which it calls itself.
@main
struct Bench {
  static func main() {
    do {
      let arguments = Array(CommandLine.arguments.dropFirst())
      switch arguments.first {
      case "run":
        Interruption.arm()
        try Bench(options: Options(arguments.dropFirst())).run()
      case "drain" where arguments.count == 2:
        try JSONDecoder().decode(DrainOrder.self, from: Data(arguments[1].utf8)).run()
      default: throw BenchError("usage: bench run OPTIONS | bench drain ORDER; see scripts/bench")
      }
    } catch {
      note("\(error)")
      exit(1)
    }
  }

  struct Options {
    var directory = ""
    var only: [String] = []
    var contenders: [String] = []
    var rounds = 3
    var scale = 1.0
    var limit = 900.0
    var out: String?
    var json: String?

    init(_ arguments: ArraySlice<String>) throws {
      var rest = arguments
      while let option = rest.popFirst() {
        guard let value = rest.popFirst() else { throw BenchError("\(option) needs a value") }
        switch option {
        case "--dir": directory = value
        case "--only": only = value.split(separator: ",").map(String.init)
        case "--contenders": contenders = value.split(separator: ",").map(String.init)
        case "--rounds": rounds = try Self.number(option, value)
        case "--scale": scale = try Self.number(option, value)
        case "--limit": limit = try Self.number(option, value)
        case "--out": out = value
        case "--json": json = value
        default: throw BenchError("unknown option \(option)")
        }
      }
      guard !directory.isEmpty else { throw BenchError("--dir is needed") }
      guard rounds >= 1, scale > 0 else { throw BenchError("--rounds and --scale must be positive") }
    }

    private static func number<Number: LosslessStringConvertible>(_ option: String, _ value: String) throws -> Number {
      guard let number = Number(value) else { throw BenchError("\(option): '\(value)' is no number") }
      return number
    }

    /// A part of the run: a workload, or the trickle.
    func wants(_ part: String) -> Bool { only.isEmpty || only.contains(part) }
    /// A contender, or `decode`.
    func lets(_ key: String) -> Bool { contenders.isEmpty || contenders.contains(key) }
  }

  let options: Options

  private func contenders() throws -> [any Contender] {
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let all: [any Contender] = [
      Native(isBinary: false), Native(isBinary: true), Pglogical(), Pgcopydb(directory: options.directory),
      PgConvoy(program: program, plugin: .testDecoding), PgConvoy(program: program, plugin: .output),
      Receive(plugin: .testDecoding), Receive(plugin: .output), Receive(plugin: .outputBinary),
      Pull(plugin: .testDecoding), Pull(plugin: .output), Pull(plugin: .outputBinary),
    ]
    try check(options.contenders, among: all.map { $0.key } + [Decoding.name], "--contenders")
    return all.filter { options.lets($0.key) }
  }

  private func check(_ wanted: [String], among known: [String], _ option: String) throws {
    for name in wanted where !known.contains(name) {
      throw BenchError("\(option): there is no '\(name)', but \(known.joined(separator: ", "))")
    }
  }

  func run() throws {
    let workloads = Workload.all(scale: options.scale)
    try check(options.only, among: workloads.map { $0.name } + [Trickle.name], "--only")
    let contenders = try contenders()
    let wanted = workloads.filter { options.wants($0.name) }
    let trickle = options.wants(Trickle.name) ? Trickle.workload() : nil

    let source = Cluster(role: "source", in: options.directory, port: try freePort())
    let bases = wanted + (trickle.map { [$0] } ?? [])
    try source.initialize()
    try source.start()
    for workload in bases {
      note("\(workload.name): loading the base")
      try workload.load(source)
    }
    try source.stop()
    let target = Cluster(role: "target", in: options.directory, port: try freePort())
    try target.copy(from: source)
    try source.start(preloading: Pglogical.isInstalled ? Pglogical.library : nil)
    try target.start()
    for database in bases.flatMap({ $0.databases }) { try Pglogical.provide(source, database) }

    var report = Report(rounds: options.rounds, scale: options.scale)
    for workload in wanted {
      let race = Race(
        source: source, target: target, workload: workload, contenders: contenders, rounds: options.rounds,
        limit: options.limit)
      let decoding =
        options.lets(Decoding.name) && workload.databases.count == 1
        ? [PluginOptions.testDecoding, .output].map { Decoding(plugin: $0, workload: workload, source: source) } : []
      report.add(workload, try race.run { for part in decoding { try part.prepare() } })
      report.add(try decoding.map { try $0.measure() })
      try keep(report)
    }
    if let trickle {
      let race = Trickle(
        source, target, trickle, contenders: contenders, rounds: options.rounds, scale: options.scale)
      report.add(trickle: try race.run(), transactions: race.count)
      try keep(report)
    }
    try target.stop()
    try source.stop()
    print(report.text, terminator: "")
  }

  /// What is there is worth having, should a later part fail.
  private func keep(_ report: Report) throws {
    if let out = options.out { try report.text.write(toFile: out, atomically: true, encoding: .utf8) }
    if let json = options.json { try report.json.write(to: URL(fileURLWithPath: json)) }
  }
}
