import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// What a physical copy brings along and must not keep: another stream's progress, transactions that are prepared, an
  /// archive, a subscription.
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
        let archive = try await Self.archive(scenario)
        try await Self.subscribe(scenario)
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
        try await Self.publish(scenario)
        try await scenario.drained()
        try await Self.expectNothingArchived(scenario, archive)
        try await Self.expectNoSubscriber(scenario)

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

    // MARK: the archive

    /// The source archives, and so would a standby of it. Returns the file that says what was archived, and by whom.
    private static func archive(_ scenario: Scenario) async throws -> String {
      let path = scenario.source.dataDirectory + ".archived"
      try await scenario.sql(.source, "ALTER SYSTEM SET archive_mode = 'always'")
      try await scenario.sql(
        .source, "ALTER SYSTEM SET archive_command = \(quotedLiteral("echo $(pwd) %f >>\(path)"))")
      try await scenario.control(
        scenario.source, "restart", "-m", "fast", "-t", "60", "-l", scenario.source.postgresLog)
      return path
    }

    private static func expectNothingArchived(_ scenario: Scenario, _ path: String) async throws {
      for role in [Scenario.Role.source, .target] {
        try await scenario.sql(role, "SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'test', 'x')")
      }
      func lines() -> [Substring] { ((try? readText(path)) ?? "").split(separator: "\n") }
      try await eventually("the source's archive") {
        try await scenario.value(.source, "SELECT archived_count > 0 FROM pg_stat_archiver") == "t"
      }
      #expect(!lines().isEmpty)
      #expect(lines().filter { !$0.hasPrefix(scenario.source.dataDirectory + " ") } == [])
      // Without an archiver, and with no segment marked for one, there is nobody to wait for.
      let archivers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'archiver'"
      #expect(try await scenario.value(.target, archivers) == "0")
      let marked = "SELECT name FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
      #expect(try await scenario.sql(.target, marked) == [])
    }

    // MARK: the subscription

    /// A subscription in one of the source's databases, fed from another one.
    private static func subscribe(_ scenario: Scenario) async throws {
      let table = "CREATE TABLE public.feed_rows (id integer PRIMARY KEY)"
      try await scenario.script(.source, "\(table); CREATE PUBLICATION feed FOR TABLE feed_rows", in: "postgres")
      try await scenario.sql(.source, "SELECT pg_create_logical_replication_slot('inherited', 'pgoutput')")
      try await scenario.sql(.source, table, in: "alpha")
      let uri = try #require(scenario.lab.environment()[Scenario.Role.source.rawValue])
      try await scenario.sql(
        .source,
        """
        CREATE SUBSCRIPTION inherited CONNECTION \(quotedLiteral(uri + "/postgres")) PUBLICATION feed
          WITH (create_slot = false, copy_data = false)
        """, in: "alpha")
      try await publish(scenario)
    }

    private static func publish(_ scenario: Scenario) async throws {
      let rows = "SELECT count(*) FROM feed_rows"
      try await scenario.sql(.source, "INSERT INTO feed_rows SELECT count(*) FROM feed_rows")
      let published = try await scenario.value(.source, rows)
      try await eventually("the row in the source's other database") {
        try await scenario.value(.source, rows, in: "alpha") == published
      }
    }

    /// A worker says in the log that it starts, before it connects.
    private static func expectNoSubscriber(_ scenario: Scenario) async throws {
      let worker = "logical replication apply worker for subscription \"inherited\" has started"
      #expect(try readText(scenario.source.postgresLog).contains(worker))
      #expect(try !readText(scenario.target.postgresLog).contains(worker))
      #expect(try await scenario.value(.target, "SELECT subenabled FROM pg_subscription", in: "alpha") == "f")
    }

    // MARK: prepared transactions

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
