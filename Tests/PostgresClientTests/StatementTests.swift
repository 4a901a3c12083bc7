import BlockingIO
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension WithServer {
  /// Statements, their ends, and what they carry.
  @Suite struct Statements {
    @Test(arguments: [
      "it's", "\"quoted\"", "line\nend\r\n\ttab", "back\\slash \\n", "", "Größe 🐘", "$1; DROP TABLE x; --", "{a,b}",
    ]) func aParameterArrivesAsItIs(text: String) throws {
      let connection = try TestServer.running().connect()
      let result = try connection.query("SELECT $1::text, length($1::text), $2::text", [text, nil])
      #expect(result.text(0, 0) == text)
      #expect(result.rows[0].int(1) == text.unicodeScalars.count)
      #expect(result.text(0, 2) == nil)
    }

    @Test func aRefusedStatementNamesItsParts() throws {
      let connection = try TestServer.running().connect()
      try connection.script("CREATE TEMP TABLE t (id integer PRIMARY KEY)")
      try connection.script("INSERT INTO t VALUES (1)")
      let error = #expect(throws: PostgresError.self) { try connection.script("INSERT INTO t VALUES (1)") }
      #expect(error?.reason == .server)
      #expect(error?.sqlState == "23505")
      #expect(error?.table == "t")
      #expect(error?.constraint == "t_pkey")
      #expect(
        error?.description
          == "duplicate key value violates unique constraint \"t_pkey\" (SQLSTATE 23505); Key (id)=(1) already exists.")
      #expect(connection.isOpen)
    }

    @Test func aDeadlineCancelsOnTheServer() throws {
      let server = try TestServer.running()
      let connection = try server.connect()
      let error = #expect(throws: PostgresError.self) {
        try connection.query("SELECT pg_sleep(60)", until: .after(.milliseconds(200)))
      }
      #expect(error?.reason == .deadline)
      #expect(
        error?.convoyError().description == """
          error: \(server.place): no answer before the deadline; cancelled [postgres.deadline]
          hint: look in pg_stat_activity and pg_locks for what it waited for
          """)
      // The statement has ended on the server, and the session is of use.
      let state = try server.connect().query(
        "SELECT state FROM pg_stat_activity WHERE pid = $1", [String(connection.backendPID)]
      ).first
      #expect(state == "idle")
      #expect(try connection.query("SELECT 1").first == "1")
    }

    @Test func cancellingTheTaskCancelsOnTheServer() async throws {
      let server = try TestServer.running()
      let session = try await server.session()
      let watcher = try await server.session()
      let pid = String(await session.backendPID)
      let task = Task { try await session.query("SELECT pg_sleep(60)") }
      try await waitForState(of: pid, "active", watcher)
      task.cancel()
      let error = await #expect(throws: PostgresError.self) { _ = try await task.value }
      #expect(error?.reason == .cancelled)
      #expect(error?.convoyError().code == "postgres.cancelled")
      try await waitForState(of: pid, "idle", watcher)
      #expect(try await session.query("SELECT 1").first == "1")
      await session.close()
      await watcher.close()
    }

    @Test func aTaskThatWasCancelledBeforeSendsNothing() async throws {
      let session = try await TestServer.running().session()
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        try await session.query("SELECT 1")
      }
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(try await session.query("SELECT 2").first == "2")
      await session.close()
    }

    @Test func aConnectionThatIsTerminatedIsLost() async throws {
      let server = try TestServer.running()
      let session = try await server.session()
      let watcher = try await server.session()
      let pid = String(await session.backendPID)
      let task = Task { try await session.query("SELECT pg_sleep(60)") }
      try await waitForState(of: pid, "active", watcher)
      try await watcher.query("SELECT pg_terminate_backend($1::integer)", [pid])
      let error = await #expect(throws: PostgresError.self) { _ = try await task.value }
      #expect(error?.isTransient == true)
      #expect(error?.reason == .connectionLost)
      #expect(error?.message == "terminating connection due to administrator command")
      #expect(await !session.isOpen)
      let next = await #expect(throws: PostgresError.self) { _ = try await session.query("SELECT 1") }
      #expect(next?.reason == .connectionLost)
      #expect(next?.isTransient == true)
      await watcher.close()
    }

    @Test func aNotificationArrives() async throws {
      let server = try TestServer.running()
      let session = try await server.session()
      let other = try await server.session()
      try await session.script("LISTEN pgconvoy_test")
      #expect(try await session.notification(within: .milliseconds(50)) == nil)
      try await other.query("SELECT pg_notify('pgconvoy_test', $1)", ["it's {\"a\":1}\n"])
      let notification = try #require(try await session.notification(within: .seconds(10)))
      #expect(notification.channel == "pgconvoy_test")
      #expect(notification.payload == "it's {\"a\":1}\n")
      await session.close()
      await other.close()
    }

    @Test func settingsWithSpacesAndQuotesArrive() throws {
      var parameters = try TestServer.running().parameters()
      parameters.settings = canonicalTextSettings.merging([
        "search_path": "\"$user\", public", "application_name": "ignored", "custom.text": "back\\slash it's 100 %",
      ]) { _, new in new }
      parameters.applicationName = "a name with 'spaces'"
      let connection = try PostgresConnection.connect(parameters)
      for (name, expected) in [
        ("DateStyle", "ISO, YMD"), ("search_path", "\"$user\", public"), ("custom.text", "back\\slash it's 100 %"),
        ("application_name", "a name with 'spaces'"), ("bytea_output", "hex"), ("TimeZone", "UTC"),
      ] {
        #expect(try connection.query("SELECT current_setting($1)", [name]).first == expected, "\(name)")
      }
    }

    private func waitForState(of pid: String, _ state: String, _ watcher: PostgresSession) async throws {
      try await eventually("pid \(pid) \(state)", within: .seconds(10), every: .milliseconds(10)) {
        try await watcher.query(
          "SELECT 1 FROM pg_stat_activity WHERE pid = $1::integer AND state = $2", [pid, state]
        ).rowCount > 0
      }
    }
  }
}
