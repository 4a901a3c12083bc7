import PostgresClient
import ReplicationModel
import Testing

extension Scenarios {
  /// What a physical copy brings along and must not keep: another stream's progress, transactions that are prepared.
  @Suite(.serialized) struct InheritedOrigin {
    private static let tables = """
      CREATE TABLE inherited_rows (writer integer NOT NULL, serial integer NOT NULL);
      SELECT pg_replication_origin_create('pgconvoy_0123456789ab_' || oid) FROM pg_database;
      SELECT pg_replication_origin_create('someone_else');
      SELECT pg_replication_origin_advance(roname, 'FFFF/0') FROM pg_replication_origin;
      """

    @Test func skipsNothingAndPreparedRowsComeOnce() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await scenario.script(.source, Self.tables, in: "alpha")
        let stop = Flag()
        let writers = Task {
          try await withThrowingTaskGroup(of: Int.self) { group in
            for writer in 1...6 { group.addTask { try await Self.write(scenario, writer, until: stop) } }
            return try await group.reduce(0, +)
          }
        }
        let result = try await scenario.play("migrate")
        stop.raise()
        let committed = try await writers.value
        // Otherwise none was open at the hand-off, and the test has shown nothing.
        #expect(result.output.contains("rolled back prepared transaction"), "\(result.text)")
        #expect(result.output.contains("dropped inherited replication origin someone_else"), "\(result.text)")
        #expect(result.output.contains("dropped inherited replication origin pgconvoy_0123456789ab_"))
        try await scenario.application("stop")
        try await scenario.drained()

        #expect(try await scenario.sql(.target, "SELECT FROM pg_prepared_xacts").isEmpty)
        #expect(
          try await scenario.sql(
            .target,
            "SELECT roname FROM pg_replication_origin WHERE roname LIKE '%0123456789ab%' OR roname = 'someone_else'"
          ).isEmpty)
        try await scenario.expectIdentical()
        let rows = "SELECT count(*), count(DISTINCT (writer, serial)) FROM inherited_rows"
        let expected = [["\(committed * 2)", "\(committed * 2)"]]
        #expect(try await scenario.sql(.source, rows, in: "alpha") == expected)
        #expect(try await scenario.sql(.target, rows, in: "alpha") == expected)
      }
    }

    /// Two-phase transactions that stay prepared for a while, so that some are at whatever moment L falls.
    private static func write(_ scenario: Scenario, _ writer: Int, until stop: Flag) async throws -> Int {
      let session = try await scenario.session(.sourceApp, "alpha")
      var serial = 0
      while !stop.isRaised {
        try await session.script(
          """
          BEGIN; INSERT INTO inherited_rows VALUES (\(writer), \(2 * serial)), (\(writer), \(2 * serial + 1));
          PREPARE TRANSACTION 'inherited \(writer) \(serial)'
          """)
        try await Task.sleep(for: .milliseconds(150))
        try await session.script("COMMIT PREPARED 'inherited \(writer) \(serial)'")
        serial += 1
      }
      await session.close()
      return serial
    }
  }
}
