import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel
import Testing

@testable import Lab

/// A PostgreSQL of these tests' own, with logical decoding, for as long as the suite runs. Source and target are
/// databases of it.
struct RoundTripServer: SuiteTrait, TestScoping {
  @TaskLocal static var current: Running?

  struct Running: Sendable {
    var directory: String
    var port: Int

    func parameters(_ database: String = "postgres") -> ConnectionParameters {
      ConnectionParameters(host: "127.0.0.1", port: port, user: "postgres", database: database, connectTimeout: 10)
    }

    /// - Parameter encoding: of the client, where it is not the database's own; `RESET ALL` does not change it.
    func connect(_ database: String = "postgres", encoding: String? = nil) throws -> PostgresConnection {
      var parameters = parameters(database)
      parameters.settings["client_encoding"] = encoding
      return try PostgresConnection.connect(parameters)
    }
  }

  /// Stops at once, as in a power cut, and starts again.
  static func crash(_ server: Running) throws {
    let account = try Prerequisites.postgresAccount()
    let (program, data) = (Lab.defaultPgBin() + "/pg_ctl", server.directory + "/data")
    try ChildProcess.check(program, ["stop", "-s", "-m", "immediate", "-D", data], as: account)
    try ChildProcess.check(
      program, ["start", "-s", "-w", "-t", "60", "-D", data, "-l", server.directory + "/log"], as: account)
  }

  static func running() throws -> Running { try #require(current) }

  var isRecursive: Bool { false }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    let directory = "/tmp/pgconvoy-round-trip-\(HandOffNames.random().nonce)"
    do {
      let server = try await onDedicatedThread("server-up") { try Self.up(directory) }
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
    let data = directory + "/data"
    try ChildProcess.check(
      bin + "/initdb",
      ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
      as: account)
    let port = try freePort()
    try writeFile(
      data + "/postgresql.conf",
      """
      listen_addresses = '127.0.0.1'
      port = \(port)
      unix_socket_directories = '\(directory)'
      fsync = off
      full_page_writes = off
      autovacuum = off
      shared_buffers = '64MB'
      max_wal_size = '2GB'
      dynamic_shared_memory_type = 'mmap'
      wal_level = 'logical'
      logical_decoding_work_mem = '64kB'
      max_wal_senders = 20
      max_replication_slots = 100
      max_prepared_transactions = 20
      lc_messages = 'C'

      """, mode: 0o600, owner: account)
    try ChildProcess.check(
      bin + "/pg_ctl", ["start", "-s", "-w", "-t", "60", "-D", data, "-l", directory + "/log"], as: account)
    let server = Running(directory: directory, port: port)
    try server.connect().script("CREATE DATABASE common TEMPLATE template0")
    let common = try server.connect("common")
    for statement in CommonObjects.statements { try common.script(statement) }
    return server
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
private func freePort() throws -> Int {
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

extension Trait where Self == RoundTripServer {
  static var roundTripServer: RoundTripServer { RoundTripServer() }
}
