import TestSupport
import Testing

extension Trait where Self == SharedFixture<Scenario> {
  /// One lab for all tests of a suite, brought to a state before the first of them and ended after the last.
  static func lab(
    _ databases: [String], rate: Double = 40, prepare: @escaping @Sendable (Scenario) async throws -> Void
  ) -> Self {
    SharedFixture(Scenario.$shared) { body in
      try await Scenario.run(databases: databases, rate: rate) { scenario in
        try await prepare(scenario)
        try await body(scenario)
      }
    }
  }
}

extension Scenarios {
  /// Tests that find a migrated lab whose workers stream, and leave it so.
  @Suite(.serialized, .lab(["alpha", "beta"], prepare: streamingLab)) enum Streaming {
    static func scenario() throws -> Scenario { try #require(Scenario.shared) }
  }
}

@Sendable private func streamingLab(_ scenario: Scenario) async throws {
  typealias Suites = Scenarios.Streaming
  for database in ["alpha", "beta"] { try await scenario.script(.source, Suites.KilledWorkers.tables, in: database) }
  try await scenario.script(.source, Suites.TriggerFiresOnce.tables, in: "alpha")
  try await scenario.script(.source, Suites.ParkedDatabase.tables, in: "alpha")
  try await scenario.script(.source, Suites.VerifiedOnline.tables, in: "alpha")
  try await scenario.script(.source, Suites.SchemaDrifts.tables, in: "alpha")
  try await scenario.script(.source, Suites.DriftParks.tables, in: "alpha")
  try await scenario.script(.source, Suites.FenceKeepsWritersOut.tables, in: "beta")
  try await scenario.script(.source, Suites.DatabaseSettings.tables, in: "beta")
  try await scenario.play("migrate")
}
