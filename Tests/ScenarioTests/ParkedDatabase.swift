import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// A column that only the source has parks its database, and no other.
  @Suite struct ParkedDatabase {
    static let tables = """
      CREATE TABLE parked_items (id integer PRIMARY KEY, name text);
      CREATE TABLE parked_skips (id integer PRIMARY KEY, name text);
      """

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

    /// Only the named transaction, all of it, and only when its LSN is named.
    @Test func stepsOverTheNamedTransaction() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      func skip(_ lsn: String, of database: String = "alpha") async throws -> Program.Result {
        try await scenario.start("skip", "--database", database, "--lsn", lsn).result()
      }
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (1, 'before')", in: "alpha")
      try await scenario.drained(["alpha"])
      try await scenario.script(.target, "INSERT INTO parked_skips VALUES (3, 'in the way')", in: "alpha")
      // In one transaction: what would go through, and what does not.
      try await scenario.script(
        .sourceApp, "BEGIN; INSERT INTO parked_skips VALUES (2, 'lost'), (3, 'lost'), (4, 'lost'); COMMIT", in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (5, 'after')", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      let error = try #require(try await scenario.status("alpha").lastError)
      let place = try #require(error.firstMatch(of: #/xid (\d+), lsn ([0-9A-F]+/[0-9A-F]+)/#))
      let (xid, lsn) = (String(place.1), String(place.2))

      for (wrong, words) in [("0/1", "parked at \(lsn), not at 0/1"), ("not-an-lsn", "no LSN")] {
        let refused = try await skip(wrong)
        #expect(refused.status != 0 && refused.text.contains(words), "\(refused.text)")
      }
      let elsewhere = try await skip(lsn, of: "beta")
      #expect(elsewhere.status == 1 && elsewhere.text.contains("not parked"), "\(elsewhere.text)")
      #expect(try await scenario.status("alpha").phase == .parked)

      let done = try await skip(lsn)
      #expect(done.status == 0, "\(done.text)")
      #expect(done.output.contains("xid \(xid), 3 changes of public.parked_skips"), "\(done.text)")
      try await scenario.drained(["alpha", "beta"])
      #expect(
        try await scenario.sql(.target, "SELECT * FROM parked_skips ORDER BY id", in: "alpha")
          == [["1", "before"], ["3", "in the way"], ["5", "after"]])
      let again = try await skip(lsn)
      #expect(again.status == 1 && again.text.contains("not parked"), "\(again.text)")
    }

    /// Nobody syncs when the order is given: it waits for the next process, which steps over just this.
    @Test func anOrderOutlivesTheProcess() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.target, "INSERT INTO parked_skips VALUES (12, 'in the way')", in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (11, 'there')", in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (12, 'lost')", in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (13, 'after')", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      let error = try #require(try await scenario.status("alpha").lastError)
      let lsn = String(try #require(error.firstMatch(of: #/lsn ([0-9A-F]+/[0-9A-F]+)/#)).1)
      try await scenario.killSync()
      let order = try await scenario.start("skip", "--database", "alpha", "--lsn", lsn).result()
      #expect(order.status == 0 && order.output.hasPrefix("ordered:"), "\(order.text)")
      try await scenario.play("migrate")
      try await scenario.drained(["alpha"])
      #expect(
        try await scenario.sql(.target, "SELECT * FROM parked_skips WHERE id > 10 ORDER BY id", in: "alpha")
          == [["11", "there"], ["12", "in the way"], ["13", "after"]])
    }

    /// A walsender that nobody reads would keep the source from stopping; so would one whose reader does not confirm
    /// the end. With a database parked and the others streaming, the source stops, and all go on when it is back.
    @Test func theSourceCanBeStopped() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      try await scenario.script(.target, "INSERT INTO parked_skips VALUES (22, 'in the way')", in: "alpha")
      try await scenario.script(.sourceApp, "INSERT INTO parked_skips VALUES (22, 'there')", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      try await scenario.drained(["beta"])
      try await scenario.control(scenario.source, "stop", "-m", "fast", "-t", "30")
      try await scenario.startServer(scenario.source)
      try await scenario.script(.target, "DELETE FROM parked_skips WHERE id = 22", in: "alpha")
      try await scenario.drained(["alpha", "beta"], within: .seconds(90))
      #expect(
        try await scenario.sql(.target, "SELECT name FROM parked_skips WHERE id = 22", in: "alpha") == [["there"]])
    }
  }
}
