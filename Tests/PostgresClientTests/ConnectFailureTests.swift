import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension WithServer {
  /// Why no connection came about, as a person reads it.
  @Suite struct ConnectFailures {
    private func failure(_ parameters: ConnectionParameters) -> PostgresError? {
      #expect(throws: PostgresError.self) { try PostgresConnection.connect(parameters) }
    }

    @Test func aWrongPassword() throws {
      let server = try TestServer.running()
      var parameters = server.parameters(user: "clerk")
      parameters.password = "wrong"
      let error = failure(parameters)
      #expect(error?.reason == .connect)
      #expect(error?.sqlState == .invalidPassword)
      #expect(error?.isTransient == false)
      #expect(
        error?.convoyError(at: .host("db")).description == """
          error: host db: \(server.place): password authentication failed for user "clerk" (SQLSTATE 28P01) \
          [postgres.wrong-password]
          hint: check the passfile (one line host:port:database:user:password, mode 0600)
          """)
    }

    /// libpq says below the server's words where the password came from.
    @Test func aWrongPasswordFromAPassfile() throws {
      let server = try TestServer.running()
      let directory = try TemporaryDirectory()
      var parameters = server.parameters(user: "clerk")
      parameters.passfile = try directory.write("*:*:*:clerk:wrong\n", to: "passfile", mode: 0o600)
      let error = failure(parameters)
      #expect(error?.sqlState == .invalidPassword)
      #expect(error?.convoyError().code == "postgres.wrong-password")
    }

    @Test func noPassword() throws {
      let server = try TestServer.running()
      let error = failure(server.parameters(user: "clerk"))
      #expect(error?.isTransient == false)
      #expect(
        error?.convoyError().description == """
          error: \(server.place): fe_sendauth: no password supplied [postgres.no-password]
          hint: give the password by passfile, password_command or password_env
          """)
    }

    @Test func noEntryInTheHBAFile() throws {
      let server = try TestServer.running()
      let error = failure(server.parameters(user: "stranger"))
      #expect(error?.sqlState == .invalidAuthorization)
      #expect(error?.isTransient == false)
      #expect(
        error?.convoyError().description == """
          error: \(server.place): no pg_hba.conf entry for host "127.0.0.1", user "stranger", database "postgres", \
          no encryption (SQLSTATE 28000) [postgres.no-hba-entry]
          hint: add a line for this user, database and address to pg_hba.conf on that host and reload the server; or reach it through SSH (via: ssh)
          """)
    }

    @Test func aRejectingEntry() throws {
      let server = try TestServer.running()
      #expect(
        failure(server.parameters(user: "outcast"))?.convoyError().description == """
          error: \(server.place): pg_hba.conf rejects connection for host "127.0.0.1", user "outcast", database \
          "postgres", no encryption (SQLSTATE 28000) [postgres.hba-rejects]
          hint: a reject line in pg_hba.conf keeps this user out; is the host fenced?
          """)
    }

    @Test func nobodyListens() throws {
      let port = try freePort()
      let parameters = ConnectionParameters(host: "127.0.0.1", port: port, user: "admin", database: "postgres")
      let error = failure(parameters)
      #expect(error?.reason == .connect)
      #expect(error?.isTransient == true)
      #expect(
        error?.convoyError().description == """
          error: 127.0.0.1:\(port)/postgres: Connection refused [postgres.unreachable]
          hint: is the server running, and does it listen on that address and port?
          """)
    }

    @Test func noServerBehindTheSocket() throws {
      let parameters = ConnectionParameters(host: "/nowhere", port: 5432, user: "admin", database: "postgres")
      #expect(
        failure(parameters)?.convoyError().description == """
          error: /nowhere:5432/postgres: No such file or directory [postgres.unreachable]
          hint: is the server running, and does it listen on that address and port?
          """)
    }

    @Test func anUnknownDatabase() throws {
      let server = try TestServer.running()
      let error = failure(server.parameters("no such \"thing\""))
      #expect(error?.sqlState == .invalidCatalogName)
      #expect(error?.isTransient == false)
      #expect(
        error?.convoyError().description == """
          error: 127.0.0.1:\(server.port)/no such "thing": database "no such "thing"" does not exist \
          (SQLSTATE 3D000) [postgres.unknown-database]
          hint: compare the name with \\l on that server
          """)
    }

    @Test func anUnknownRole() throws {
      let server = try TestServer.running()
      // Without an entry for it, a role that does not exist looks like one that does.
      #expect(failure(server.parameters(user: "nobody"))?.convoyError().code == "postgres.no-hba-entry")
    }

    @Test func aServerThatDoesNotAnswer() throws {
      let listener = try SilentListener()
      var parameters = ConnectionParameters(
        host: "127.0.0.1", port: listener.port, user: "admin", database: "postgres", connectTimeout: 1)
      parameters.sslmode = "disable"
      let error = failure(parameters)
      #expect(error?.isTransient == true)
      #expect(
        error?.convoyError().description == """
          error: 127.0.0.1:\(listener.port)/postgres: no answer within 1 s [postgres.unreachable]
          hint: is the server running, and does it listen on that address and port?
          """)
    }

    @Test func aPasswordNeverShows() throws {
      let server = try TestServer.running()
      var parameters = server.parameters(user: "clerk")
      parameters.password = "s3cret-word"
      let error = failure(parameters)
      #expect(error.map { "\($0)\($0.convoyError())\($0.server)".contains("s3cret") } == false)
    }
  }
}
