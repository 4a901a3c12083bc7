import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel
import Testing

/// Suites that share the server, one test after the other.
@Suite(.serialized, .roundTripServer) enum RoundTripSuites {}

extension RoundTripSuites {
  /// Random schemas and transactions, decoded and applied in every way; all must end as the source did.
  ///
  /// `PGCONVOY_ROUNDTRIP_SEEDS=17` or `=1-500` chooses the seeds, `PGCONVOY_ROUNDTRIP_TRANSACTIONS=200` how many
  /// transactions each has; the same numbers are the same run. `PGCONVOY_ROUNDTRIP_VERBOSE=1` tells what was refused.
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
        try roundTrip(server, seed, transactions: Self.transactions)
      }
      #expect(problems.isEmpty, "seed \(seed):\n\(problems.joined(separator: "\n"))")
    }
  }
}

/// One seed's run; what went wrong.
private func roundTrip(
  _ server: RoundTripServer.Running, _ seed: UInt64, transactions: Int
) throws -> [String] {
  let schema = SchemaGenerator(seed: seed)
  var pair = try Pair(server, named: "seed_\(seed)")
  let isVerbose = getenv("PGCONVOY_ROUNDTRIP_VERBOSE") != nil
  do {
    let connection = try server.connect(pair.source)
    for statement in schema.statements {
      do throws(PostgresError) {
        try connection.script(statement)
      } catch {
        // Initial rows may break a constraint; definitions must be good.
        guard statement.hasPrefix("INSERT") else { throw Broken(text: "\(error): \(statement)") }
      }
    }
  }
  // Making databases takes most of the time, so the third way is for every second seed.
  let modes = seed % 2 == 0 ? ReplayMode.allCases : [.single, .batches]
  try pair.handOff(to: modes.map(\.rawValue))
  var generator = TransactionGenerator(seed: seed, tables: schema.tables, materializedView: schema.materializedView)
  do {
    var driver = try SourceDriver(server, pair.source)
    try driver.run(&generator, transactions: transactions)
    if isVerbose {
      print("seed \(seed): \(driver.succeeded) statements done")
      for (state, refusal) in driver.refused.sorted(by: { $0.key < $1.key }) {
        print("  \(state) × \(refusal.count): \(refusal.example)")
      }
    }
  }
  let end = try pair.end()
  var problems: [String] = []
  for (mode, target) in zip(modes, pair.targets) {
    var replay = Replay(pair, to: target, end: end, mode: mode, seed: seed)
    let outcome = try replay.run()
    if isVerbose {
      print("seed \(seed), \(mode): \(outcome.changes) changes in the last of \(outcome.sessions) sessions")
      for fallback in outcome.fallbacks { print("  fallback: \(fallback)") }
    }
    problems += outcome.problems.map { "\(mode): \($0)" }
    if outcome.problems.isEmpty { problems += try pair.differences(from: target).map { "\(mode): \($0)" } }
  }
  try pair.drop()
  return problems
}

struct Broken: Error, CustomStringConvertible {
  var text: String
  var description: String { text }
}
