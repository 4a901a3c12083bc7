import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// DDL on one side only: `status` names it, and no cutover begins.
  @Suite struct SchemaDrifts {
    static let tables = "CREATE TABLE drifting_items (id integer PRIMARY KEY, price numeric(10, 2));"
    private static let change = "ALTER TABLE drifting_items ALTER price TYPE numeric(10, 4)"

    @Test func areNamedAndKeepTheCutoverFromBeginning() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.sourceApp, Self.change, in: "alpha")
      let words =
        "column public.drifting_items.price: numeric(10,4) on the source, numeric(10,2) on the target"
      try await eventually("the drift in the status") { try await scenario.status("alpha").drift == [words] }
      let table = try await scenario.start("status").result()
      #expect(table.output.contains("lab: database alpha: schemas differ: \(words)\n"), "\(table.text)")
      let steps = try scenario.playbook(steps: ["wait_for_lag"])
      let refused = try await scenario.play(steps, expecting: 1)
      #expect(refused.text.contains("[cutover.schema-drift]") && refused.text.contains(words), "\(refused.text)")

      try await scenario.script(.target, Self.change, in: "alpha")
      try await scenario.play(steps)
    }
  }
}
