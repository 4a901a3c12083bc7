import Foundation
import PostgresClient

/// `bench run --dir DIR [--only W2,W5] [--rounds 3] [--scale 1] [--contenders native_text,pgconvoy_text] [--out FILE]`,
/// which `scripts/bench` calls; `bench drain ORDER`, which it calls itself.
@main
struct Bench {
  static func main() {
    do {
      let arguments = Array(CommandLine.arguments.dropFirst())
      switch arguments.first {
      case "run": try Bench(options: Options(arguments.dropFirst())).run()
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

    func wants(_ name: String) -> Bool { only.isEmpty || only.contains(name) }
  }

  let options: Options

  private func contenders() throws -> [any Contender] {
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let all: [any Contender] = [
      Native(isBinary: false), Native(isBinary: true),
      PgConvoy(program: program, plugin: "test_decoding"), PgConvoy(program: program, plugin: "pgoutput"),
      Receive(plugin: .testDecoding), Receive(plugin: .output), Receive(plugin: .outputBinary),
      Pull(plugin: .testDecoding), Pull(plugin: .output), Pull(plugin: .outputBinary),
    ]
    return options.contenders.isEmpty ? all : all.filter { options.contenders.contains($0.key) }
  }

  func run() throws {
    let workloads = Workload.all(scale: options.scale).filter { options.wants($0.name) }
    let contenders = try contenders()
    let source = Cluster(role: "source", in: options.directory, port: try freePort())
    try source.initialize(preload: [])
    try source.start()
    for workload in workloads {
      note("\(workload.name): loading the base")
      try workload.load(source)
    }
    try source.stop()
    let target = Cluster(role: "target", in: options.directory, port: try freePort())
    try target.copy(from: source)
    try source.start()
    try target.start()
    var report = Report()
    try report.machine(rounds: options.rounds, scale: options.scale)
    for workload in workloads {
      let race = Race(
        source: source, target: target, workload: workload, contenders: contenders, rounds: options.rounds,
        limit: options.limit)
      report.race(workload, try race.run())
      // What is there is worth having, should a later part fail.
      if let out = options.out { try report.text.write(toFile: out, atomically: true, encoding: .utf8) }
    }
    try target.stop()
    try source.stop()
    print(report.text, terminator: "")
  }
}
