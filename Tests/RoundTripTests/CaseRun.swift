import BlockingIO
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport

/// Runs cases on the suite's server.
struct CaseRun {
  let server: Cluster
  var isVerbose = false

  /// What went wrong, by the way of applying. A definition that the source refuses throws.
  func problems(of random: RandomCase) throws -> [(mode: ReplayMode, texts: [String])] {
    var pair = try Pair(
      server, named: "case_\(random.seed)_\(HandOffNames.random().nonce)", options: random.encoding.options)
    do {
      let found = try run(random, &pair)
      try pair.drop()
      return found
    } catch {
      try? pair.drop()
      throw error
    }
  }

  private func run(_ random: RandomCase, _ pair: inout Pair) throws -> [(mode: ReplayMode, texts: [String])] {
    let encoding = random.encoding == .sqlASCII ? "SQL_ASCII" : "UTF8"
    let connection = try server.connect(pair.source, encoding: encoding)
    for statement in random.definitions {
      do throws(PostgresError) {
        try connection.script(statement)
      } catch {
        // Initial rows may break a constraint; definitions must be good.
        guard statement.hasPrefix("INSERT") else { throw Broken(text: "\(error): \(statement)") }
      }
    }
    connection.close()
    try pair.handOff(to: random.modes.map(\.rawValue), plugin: random.plugin)
    for target in pair.targets {
      let drifting = try server.connect(target)
      for statement in random.drift { try drifting.script(statement) }
    }
    try set(random.sourceSettings, of: [pair.source])
    try set(random.targetSettings, of: pair.targets)
    var driver = try SourceDriver(server, pair.source, encoding: encoding)
    try driver.run(random.units)
    if isVerbose { tell(random, driver) }
    let end = try pair.end()
    var found: [(mode: ReplayMode, texts: [String])] = []
    for (mode, target) in zip(random.modes, pair.targets) {
      var replay = Replay(pair, to: target, end: end, mode: mode, seed: random.seed, plugin: random.plugin)
      let outcome = try replay.run()
      if isVerbose { tell(random, mode, outcome) }
      try server.connect().script("ALTER DATABASE \(quotedIdentifier(target)) RESET ALL")
      found.append(
        (mode, outcome.problems.isEmpty ? try pair.differences(from: target) : outcome.problems))
    }
    return found.filter { !$0.texts.isEmpty }
  }

  private func set(_ settings: [String], of databases: [String]) throws {
    let admin = try server.connect()
    for database in databases {
      for setting in settings { try admin.script("ALTER DATABASE \(quotedIdentifier(database)) SET \(setting)") }
    }
  }

  private func tell(_ random: RandomCase, _ driver: SourceDriver) {
    print(
      "seed \(random.seed), \(random.encoding.rawValue), \(random.plugin.rawValue): \(driver.succeeded) statements done"
    )
    for (state, refusal) in driver.refused.sorted(by: { $0.key < $1.key }) {
      print("  \(state) × \(refusal.count): \(refusal.example)")
    }
  }

  private func tell(_ random: RandomCase, _ mode: ReplayMode, _ outcome: ReplayOutcome) {
    let beside = outcome.hadSecondSession ? ", with a second one beside it" : ""
    print(
      "seed \(random.seed), \(mode): \(outcome.changes) changes in the last of \(outcome.sessions) sessions\(beside)")
    for fallback in outcome.fallbacks { print("  fallback: \(fallback)") }
  }
}

struct Broken: Error, CustomStringConvertible {
  var text: String
  var description: String { text }
}
