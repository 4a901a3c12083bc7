import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// Suites that share the server, one test after the other.
@Suite(.serialized, .roundTripServer) enum RoundTripSuites {}

extension RoundTripSuites {
  /// Random schemas and transactions, decoded and applied in every way; all must end as the source did.
  ///
  /// `PGCONVOY_ROUNDTRIP_SEEDS=17` or `=1-500` chooses the seeds, `PGCONVOY_ROUNDTRIP_TRANSACTIONS=200` how many
  /// transactions each has; the same numbers are the same run. `PGCONVOY_ROUNDTRIP_VERBOSE=1` tells what was refused.
  /// A seed that fails is cut down, and what is left is written into `Tests/RoundTripCases`, where `KeptRoundTrips` finds it.
  @Suite struct RandomRoundTrips {
    static let seeds: [UInt64] = {
      guard let text = getenv("PGCONVOY_ROUNDTRIP_SEEDS").map({ String(cString: $0) }) else { return Array(1...20) }
      let bounds = text.split(separator: "-").compactMap { UInt64($0) }
      return bounds.count == 2 && bounds[0] <= bounds[1] ? Array(bounds[0]...bounds[1]) : bounds
    }()

    static let transactions = getenv("PGCONVOY_ROUNDTRIP_TRANSACTIONS").flatMap { Int(String(cString: $0)) } ?? 40

    @Test(arguments: seeds) func endsAsTheSource(seed: UInt64) async throws {
      let server = try RoundTripServer.running()
      let problems = try await onDedicatedThread("round-trip") {
        try roundTrip(server, RandomCase(seed: seed, transactions: Self.transactions))
      }
      #expect(problems.isEmpty, "seed \(seed):\n\(problems.joined(separator: "\n"))")
    }
  }
}

/// One seed's run; what went wrong. A failing one is cut down, and kept.
private func roundTrip(_ server: Cluster, _ random: RandomCase) throws -> [String] {
  let run = CaseRun(server: server, isVerbose: getenv("PGCONVOY_ROUNDTRIP_VERBOSE") != nil)
  var texts: [String] = []
  for (mode, problems) in try run.problems(of: random) {
    texts += problems.map { "\(mode): \($0)" }
    var one = random
    one.mode = mode
    let quiet = CaseRun(server: server)
    // Which of two sessions waits for the other can depend on timing.
    guard try !quiet.problems(of: one).isEmpty else {
      texts.append("\(mode): it went well a second time")
      continue
    }
    var shrinker = Shrinker(until: .after(.seconds(180))) { candidate in
      ((try? quiet.problems(of: candidate))?.isEmpty ?? true) == false
    }
    let smallest = shrinker.shrink(one)
    texts += try quiet.problems(of: smallest).flatMap(\.texts).map { "\(mode), cut down: \($0)" }
    texts.append("\(mode): kept in \(try KeptCases.keep(smallest))")
  }
  return texts
}
