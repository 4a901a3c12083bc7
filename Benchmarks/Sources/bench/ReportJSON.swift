import Foundation

extension Report {
  private struct Figures: Encodable {
    struct Drain: Encodable {
      var workload: String
      var contender: String
      var failure: String?
      var seconds: [Double]
      var source: [Double]
      var target: [Double]
      var worker: [Double]
    }
    struct Latency: Encodable {
      var contender: String
      var failure: String?
      var median: [Double]
      var p99: [Double]
      var source: [Double]
      var target: [Double]
      var worker: [Double]
    }
    struct Decode: Encodable {
      var workload: String
      var plugin: String
      var records: Int
      var bytes: Int
      var seconds: [Double]
    }
    var machine: String
    var rounds: Int
    var scale: Double
    var drains: [Drain]
    var trickle: [Latency]
    var decoding: [Decode]
  }

  /// Every measurement, not the medians only; all times in seconds, the trickle's CPU time per 1,000 transactions.
  var json: Data {
    get throws {
      let drains = races.flatMap { race in
        race.results.map { result in
          Figures.Drain(
            workload: race.workload.name, contender: result.contender.key, failure: result.failure,
            seconds: result.measurements.map { $0.wall }, source: result.measurements.map { $0.source },
            target: result.measurements.map { $0.target }, worker: result.measurements.map { $0.worker })
        }
      }
      let trickle = trickles.map { result in
        Figures.Latency(
          contender: result.contender.key, failure: result.failure,
          median: result.measurements.map { quantile($0.latencies, 0.5) },
          p99: result.measurements.map { quantile($0.latencies, 0.99) },
          source: result.measurements.map { $0.source }, target: result.measurements.map { $0.target },
          worker: result.measurements.map { $0.worker })
      }
      let decoding = decodings.map {
        Figures.Decode(
          workload: $0.workload, plugin: $0.plugin, records: $0.records, bytes: $0.bytes, seconds: $0.passes)
      }
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      return try encoder.encode(
        Figures(
          machine: Self.machine, rounds: rounds, scale: scale, drains: drains, trickle: trickle, decoding: decoding))
    }
  }
}
