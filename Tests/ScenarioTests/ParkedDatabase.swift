import ReplicationModel
import Testing

extension Scenarios.Streaming {
  /// A column that only the source has parks its database, and no other.
  @Suite struct ParkedDatabase {
    static let tables = "CREATE TABLE parked_items (id integer PRIMARY KEY, name text)"

    @Test func goesOnByItselfWhenTheColumnIsThere() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.sourceApp, "INSERT INTO parked_items VALUES (1, 'before')", in: "alpha")
      try await scenario.drained(["alpha"])
      try await scenario.script(.sourceApp, "ALTER TABLE parked_items ADD COLUMN colour text", in: "alpha")
      // Parked at the row that would fail, not at the DDL, and not after it.
      try await scenario.script(.sourceApp, "INSERT INTO parked_items VALUES (2, 'after', 'red')", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }

      let error = try #require(try await scenario.status("alpha").lastError)
      let pattern = #/insert of public\.parked_items, xid \d+, lsn [0-9A-F]+/[0-9A-F]+: .*colour.*/#
      #expect(error.wholeMatch(of: pattern) != nil, "\(error)")
      #expect(try await scenario.sql(.target, "SELECT id FROM parked_items", in: "alpha") == [["1"]])
      #expect(try await scenario.status("beta").phase != .parked)
      try await scenario.drained(["beta"])
      #expect(try await scenario.status("beta").lastError == nil)

      try await scenario.script(.target, "ALTER TABLE parked_items ADD COLUMN colour text", in: "alpha")
      try await eventually("the stream going on") { try await scenario.status("alpha").phase == .streaming }
      try await scenario.drained(["alpha"])
      #expect(
        try await scenario.sql(.target, "SELECT * FROM parked_items ORDER BY id", in: "alpha")
          == [["1", "before", ""], ["2", "after", "red"]])
      #expect(try await scenario.status("alpha").lastError == nil)
    }
  }
}
