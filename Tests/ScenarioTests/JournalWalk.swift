import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// Commands in any order, each with a journal that was lost, is a copy from some phase before, or is another machine's.
  ///
  /// Behind each of them both servers are asked: never are both open, and no acknowledged commit is missing from the one that
  /// is. `PGCONVOY_WALK=60` takes so many steps; `PGCONVOY_WALK_SEED` another way.
  @Suite(.serialized) struct JournalWalk {
    private static func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }
    static let steps = number("PGCONVOY_WALK") ?? 5
    static let seed = number("PGCONVOY_WALK_SEED") ?? 20_261_130

    private static let commands = [
      "migrate", "cutover", "rollback", "unfence", "cutover, killed", "rollback, killed", "sync", "skip", "verify",
      "status",
    ]

    @Test func neverAreBothOpenAndNothingIsLost() async throws {
      var random = SeededRandom(seed: UInt64(Self.seed))
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.play("migrate")
        var journals = [scenario.lab.directory + "/.pgconvoy"]
        for step in 0..<Self.steps {
          journals.append(try journal(scenario, step, among: journals, &random))
          let state = journals[Int.random(in: 0..<journals.count, using: &random)]
          let command = Self.commands[Int.random(in: 0..<Self.commands.count, using: &random)]
          let words = try await run(command, scenario, state, &random)
          try await expectOneTruth(scenario, "step \(step): \(command) with \(state)\n\(words)")
        }
        // Whatever there was: any journal ends it well.
        let last = scenario.workDirectory + "/state-last"
        try await play(scenario, "cutover", last)
        try await expectOneTruth(scenario, "the last cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
        try await play(scenario, "finish", last)
        try await scenario.applicationGoesOn(on: scenario.target)
        try await scenario.expectAcknowledged([scenario.source, scenario.target], on: .target)
      }
    }

    /// A copy of one of them as it is now, to be used later, or the place of one that is lost.
    private func journal(
      _ scenario: Scenario, _ step: Int, among journals: [String], _ random: inout SeededRandom
    ) throws -> String {
      let path = "\(scenario.workDirectory)/state-\(step)"
      let original = journals[Int.random(in: 0..<journals.count, using: &random)]
      guard Bool.random(using: &random), fileExists(original) else { return path }
      try Program.check(["cp", "-a", original, path])
      return path
    }

    private func run(
      _ command: String, _ scenario: Scenario, _ state: String, _ random: inout SeededRandom
    ) async throws -> String {
      switch command {
      case "sync":
        let sync = try scenario.start("sync", "--state", state)
        try await Task.sleep(for: .milliseconds(Int.random(in: 500...2500, using: &random)))
        sync.end()
        return try await sync.result().text
      case "skip":
        return try await scenario.start("skip", "--database", "alpha", "--lsn", "0/1", "--state", state).result().text
      case "verify", "status": return try await scenario.start(command, "--state", state).result().text
      default:
        let name = String(command.prefix { $0 != "," })
        let play = try scenario.start("play", Scenario.shipped(name), "--yes", "--state", state)
        if command.hasSuffix("killed") {
          try await Task.sleep(for: .milliseconds(Int.random(in: 200...3000, using: &random)))
          play.signal(SIGKILL)
        }
        return try await play.result().text
      }
    }

    private func play(_ scenario: Scenario, _ playbook: String, _ state: String) async throws {
      let result = try await scenario.start("play", Scenario.shipped(playbook), "--yes", "--state", state).result()
      try #require(result.status == 0, "\(playbook): \(result.text)")
    }

    /// What applications were told on either server is on the one that is open; where none is, on the one that still has
    /// what the other one is to get.
    private func expectOneTruth(
      _ scenario: Scenario, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let source = try await scenario.refusal(.sourceApp) == nil
      let target = try await scenario.refusal(.targetApp) == nil
      #expect(!(source && target), "both are open behind \(words)", sourceLocation: sourceLocation)
      guard source != target else { return }
      let hosts = [scenario.source, scenario.target].filter { (try? scenario.acknowledgedCount($0)) ?? 0 > 0 }
      try await scenario.expectAcknowledged(hosts, on: source ? .source : .target, sourceLocation: sourceLocation)
    }
  }
}
