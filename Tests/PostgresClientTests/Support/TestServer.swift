import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel
import Testing

@testable import Lab

/// A PostgreSQL of the tests' own on a free port of this machine, for as long as a suite runs.
///
/// Role `admin` is a superuser that needs no password; `clerk` has one; `stranger` has no entry in pg_hba.conf, and
/// `outcast` a rejecting one.
struct TestServer: SuiteTrait, TestScoping {
  @TaskLocal static var current: TestServer.Running?

  struct Running: Sendable {
    var directory: String
    var port: Int

    func parameters(_ user: String = "admin", _ database: String = "postgres") -> ConnectionParameters {
      ConnectionParameters(host: "127.0.0.1", port: port, user: user, database: database, connectTimeout: 5)
    }

    func connect(_ user: String = "admin") throws -> PostgresConnection {
      try PostgresConnection.connect(parameters(user))
    }

    func session() async throws -> PostgresSession { try await PostgresSession.connect(parameters()) }

    /// What libpq puts in front of the server's words nowhere to be seen.
    var place: String { "127.0.0.1:\(port)/postgres" }
  }

  static func running() throws -> Running { try #require(current) }

  var isRecursive: Bool { false }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    let directory = "/tmp/pgconvoy-client-tests-\(HandOffNames.random().nonce)"
    let server = try await onDedicatedThread("server-up") { try Self.up(directory) }
    do {
      try await Self.$current.withValue(server) { try await function() }
    } catch {
      try? await onDedicatedThread("server-down") { try Self.down(directory) }
      throw error
    }
    try await onDedicatedThread("server-down") { try Self.down(directory) }
  }

  private static func up(_ directory: String) throws -> Running {
    let account = try Prerequisites.postgresAccount()
    let bin = Lab.defaultPgBin()
    try makeDirectory(directory, mode: 0o700, owner: account)
    do {
      let data = directory + "/data"
      try ChildProcess.check(
        bin + "/initdb",
        ["-D", data, "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
        as: account)
      let port = try freePort()
      try writeFile(
        data + "/postgresql.conf",
        """
        listen_addresses = '127.0.0.1'
        port = \(port)
        unix_socket_directories = '\(directory)'
        fsync = off
        shared_buffers = '16MB'
        dynamic_shared_memory_type = 'mmap'
        lc_messages = 'C'

        """, mode: 0o600, owner: account)
      try writeFile(
        data + "/pg_hba.conf",
        """
        host all admin    127.0.0.1/32 trust
        host all clerk    127.0.0.1/32 scram-sha-256
        host all outcast  127.0.0.1/32 reject

        """, mode: 0o600, owner: account)
      try ChildProcess.check(
        bin + "/pg_ctl", ["start", "-s", "-w", "-t", "60", "-D", data, "-l", directory + "/log"], as: account)
      let server = Running(directory: directory, port: port)
      let admin = try server.connect()
      try admin.script(
        "CREATE ROLE clerk LOGIN PASSWORD 'right'; CREATE ROLE stranger LOGIN; CREATE ROLE outcast LOGIN")
      return server
    } catch {
      try? down(directory)
      throw error
    }
  }

  private static func down(_ directory: String) throws {
    let account = try Prerequisites.postgresAccount()
    if fileExists(directory + "/data/postmaster.pid") {
      try ChildProcess.check(
        Lab.defaultPgBin() + "/pg_ctl", ["stop", "-s", "-m", "immediate", "-D", directory + "/data"], as: account)
    }
    try ChildProcess.check("/bin/rm", ["-rf", "--", directory])
  }
}

/// A port that nobody listens on at the moment.
func freePort() throws -> Int {
  let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(socket) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let status = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      bind(socket, address, length) == 0 ? getsockname(socket, address, &length) : -1
    }
  }
  try #require(status == 0)
  return Int(UInt16(bigEndian: address.sin_port))
}

extension Trait where Self == TestServer {
  static var server: TestServer { TestServer() }
}

/// All tests that share the server, one after the other.
@Suite(.serialized, .server) enum WithServer {}
