import Glibc
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension WithServer {
  /// What a server, a database, a role and the operator's environment may have set, and a session of ours has not.
  @Suite struct SessionSettings {
    /// Beside settings: what `ALTER DATABASE` and `ALTER ROLE … IN DATABASE` make of them.
    private static let hostile = [
      ("role", "clerk", "none"), ("idle_session_timeout", "100ms", "0"),
      ("idle_in_transaction_session_timeout", "100ms", "0"), ("statement_timeout", "1ms", "0"),
      ("lock_timeout", "1ms", "0"), ("default_transaction_isolation", "serializable", "read committed"),
      ("default_transaction_read_only", "on", "off"), ("default_transaction_deferrable", "on", "off"),
      ("row_security", "on", "off"), ("exit_on_error", "on", "off"), ("standard_conforming_strings", "off", "on"),
      ("transform_null_equals", "on", "off"), ("array_nulls", "off", "on"),
      ("client_min_messages", "debug5", "warning"),
      ("client_encoding", "LATIN1", "UTF8"),
    ]

    @Test(arguments: ["DATABASE hostile", "ROLE admin IN DATABASE hostile"], [false, true])
    func nothingOfTheServersOwn(place: String, isReplication: Bool) async throws {
      let server = try TestServer.running()
      let admin = try server.connect()
      try admin.script("DROP DATABASE IF EXISTS hostile")
      try admin.script("CREATE DATABASE hostile")
      for (name, value, _) in Self.hostile { try admin.script("ALTER \(place) SET \(name) = '\(value)'") }
      var parameters = server.parameters("hostile")
      parameters.isReplication = isReplication
      let session = try await PostgresSession.connect(parameters)
      for (name, _, ours) in Self.hostile {
        #expect(try await session.script("SHOW \(name)").first == ours, "\(name)")
      }
      #expect(try await session.script("SELECT current_user").first == "admin")
      // Longer than the database would let it be idle.
      let idle = String(await session.backendPID)
      try await eventually("an idle session", within: .seconds(10), every: .milliseconds(50)) {
        try admin.query(
          "SELECT FROM pg_stat_activity WHERE pid = $1::int AND now() - state_change > '300ms'", [idle]
        ).rowCount > 0
      }
      #expect(try await session.script("SELECT 1").first == "1")
      await session.close()
      try admin.script("DROP DATABASE hostile WITH (FORCE)")
    }

    @Test func nothingOfTheOperatorsEnvironment() throws {
      let server = try TestServer.running()
      let elsewhere = [
        "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "SQL, DMY", "PGCLIENTENCODING": "LATIN1", "PGGEQO": "off",
        "PGOPTIONS": "-c statement_timeout=1", "PGHOSTADDR": "127.0.0.9", "PGSERVICE": "nowhere",
        "PGTARGETSESSIONATTRS": "standby", "PGHOST": "nowhere", "PGPORT": "1", "PGDATABASE": "nothing",
        "PGUSER": "nobody",
        "PGAPPNAME": "somebody",
      ]
      for (name, value) in elsewhere { setenv(name, value, 1) }
      defer { for name in elsewhere.keys { unsetenv(name) } }
      var parameters = server.parameters()
      parameters.settings = canonicalTextSettings
      let connection = try PostgresConnection.connect(parameters)
      for (name, ours) in [
        ("TimeZone", "UTC"), ("DateStyle", "ISO, YMD"), ("client_encoding", "UTF8"), ("geqo", "on"),
        ("statement_timeout", "0"), ("application_name", "pgconvoy"),
      ] {
        #expect(try connection.query("SELECT current_setting($1)", [name]).first == ours, "\(name)")
      }
      #expect(getenv("PGTZ") == nil, "programs that are started would have it")
    }
  }
}

/// A server that speaks another language refuses for the same reasons.
@Suite(.enabled("there is no localedef") { German.canBeMade }) struct GermanServer {
  @Test func refusesByTheSameCodes() async throws {
    let locales = try TemporaryDirectory("locales", mode: 0o755)
    try Program.check(["localedef", "-i", "de_DE", "-f", "UTF-8", "\(locales.path)/de_DE.UTF-8"])
    var options = TestServer.options
    options.settings = ["lc_messages": "de_DE.UTF-8"]
    options.environment = ["LOCPATH": locales.path]
    options.hostBasedAuthentication = (options.hostBasedAuthentication ?? "") + "host all nobody 127.0.0.1/32 trust\n"
    try await Cluster.with(options) { server in
      try TestServer.prepare(server)
      let admin = try server.connect()
      let spoken = #expect(throws: PostgresError.self) { try admin.query("SELECT 1 / 0") }
      try #require(spoken?.message == "Division durch Null")
      try admin.script("ALTER ROLE clerk CONNECTION LIMIT 0")

      var clerk = server.parameters(user: "clerk")
      clerk.password = "wrong"
      let refused: [(ConnectionParameters, String, SQLState)] = [
        (clerk, "postgres.wrong-password", .invalidPassword),
        (server.parameters(user: "stranger"), "postgres.no-hba-entry", .invalidAuthorization),
        (server.parameters(user: "nobody"), "postgres.no-role", .invalidAuthorization),
        (server.parameters("missing"), "postgres.unknown-database", .invalidCatalogName),
      ]
      for (parameters, code, state) in refused {
        let error = #expect(throws: PostgresError.self) { try PostgresConnection.connect(parameters) }
        #expect(error?.sqlState == state)
        #expect(error?.convoyError().code.rawValue == code, "\(error?.message ?? "")")
        #expect(error?.isTransient == false)
      }
      clerk.password = "right"
      let late = try #require(throws: PostgresError.self) { try PostgresConnection.connect(clerk) }
      #expect(late.sqlState == .tooManyConnections)
      #expect(late.convoyError().code == "postgres.no-connection-left")
      #expect(late.isTransient)
    }
  }
}

private enum German {
  static var canBeMade: Bool {
    access("/usr/share/i18n/locales/de_DE", R_OK) == 0 && (try? Program.run(["localedef", "--version"]))?.status == 0
  }
}
