import Foundation
import PostgresClient

/// A PostgreSQL server of the benchmark's own, on 127.0.0.1.
///
/// `wal_retrieve_retry_interval`: PostgreSQL starts the subscriptions that it finds enabled, then no other for so long;
/// its default of 5 seconds would be measured as draining.
final class Cluster {
  static let bin = "/usr/lib/postgresql/15/bin"
  static let settings = """
    fsync = on
    synchronous_commit = on
    shared_buffers = '1GB'
    max_wal_size = '32GB'
    checkpoint_timeout = '1h'
    autovacuum = off
    wal_level = logical
    wal_retrieve_retry_interval = '10ms'
    max_wal_senders = 64
    max_replication_slots = 1000
    max_worker_processes = 128
    max_logical_replication_workers = 40
    max_connections = 200
    """

  /// `15.18 (Debian 15.18-0+deb12u1)`
  static var version: String {
    let program = Process()
    let output = Pipe()
    program.executableURL = URL(fileURLWithPath: bin + "/postgres")
    program.arguments = ["--version"]
    program.standardOutput = output
    guard (try? program.run()) != nil else { return "unknown" }
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    program.waitUntilExit()
    return text.split(separator: " ").dropFirst(2).joined(separator: " ").trimmingCharacters(
      in: .whitespacesAndNewlines)
  }

  let role: String
  let directory: String
  let port: Int
  private var server: Program?
  private(set) var preloaded: String?
  private var postmaster: Int32 { server?.identifier ?? 0 }

  init(role: String, in parent: String, port: Int) {
    self.role = role
    directory = "\(parent)/\(role)"
    self.port = port
  }

  static func parameters(port: Int, database: String, program: String = "bench") -> ConnectionParameters {
    ConnectionParameters(
      host: "127.0.0.1", port: port, user: "postgres", database: database, applicationName: program)
  }

  func connect(_ database: String = "postgres") throws -> PostgresConnection {
    try PostgresConnection.connect(Self.parameters(port: port, database: database))
  }

  /// Connection string without anything secret, for subscriptions and programs.
  func conninfo(_ database: String) -> String {
    "host=127.0.0.1 port=\(port) user=postgres dbname=\(database)"
  }

  /// The options of psql, pgbench and pg_recvlogical that lead to a database.
  func address(_ database: String) -> [String] {
    ["-h", "127.0.0.1", "-p", "\(port)", "-U", "postgres", "-d", database]
  }

  /// PostgreSQL refuses to run as root. setpriv becomes the program, so that its pid is the program's own.
  private static func asServer(_ path: String, _ arguments: [String]) -> [String] {
    let command = [path] + arguments
    return getuid() == 0
      ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] + command : command
  }

  private static func runAsServer(_ path: String, _ arguments: [String]) throws {
    try run("/usr/bin/env", asServer(path, arguments))
  }

  func initialize() throws {
    try Self.runAsServer(
      Self.bin + "/initdb",
      ["-D", directory, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"])
    try append(Self.settings + "\n")
    try setPort()
  }

  private func append(_ text: String) throws {
    guard let file = FileHandle(forWritingAtPath: directory + "/postgresql.conf") else {
      throw BenchError("cannot write the configuration of the \(role)")
    }
    try file.seekToEnd()
    try file.write(contentsOf: Data(text.utf8))
    try file.close()
  }

  private func setPort() throws {
    try append("listen_addresses = '127.0.0.1'\nport = \(port)\nunix_socket_directories = ''\n")
  }

  /// A physical copy of a server that does not run, as pgconvoy's own hand-off leaves one.
  func copy(from other: Cluster) throws {
    try Self.runAsServer("/bin/cp", ["-a", "--reflink=auto", other.directory, directory])
    try setPort()
  }

  /// Starts the server as a child of the harness, and waits until it answers.
  func start(preloading library: String? = nil) throws {
    let options = library.map { ["-c", "shared_preload_libraries=\($0)"] } ?? []
    let server = try Program(
      "/usr/bin/env", Self.asServer(Self.bin + "/postgres", ["-D", directory] + options), output: directory + ".log")
    self.server = server
    preloaded = library
    try wait(for: "start of the \(role)", seconds: 120) {
      guard server.isRunning else { throw BenchError("the \(role) ended at its start: \(server.messages)") }
      return (try? connect()) != nil
    }
  }

  /// A fast stop, awaited; nothing when it does not run.
  func stop() throws {
    guard let server else { return }
    self.server = nil
    kill(server.identifier, SIGINT)
    try server.finish(within: 300)
  }

  var cpu: Double { CPU.tree(postmaster) }
}

/// A port that nobody listens on at the moment.
func freePort() throws -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let status = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      bind(descriptor, address, length) == 0 ? getsockname(descriptor, address, &length) : -1
    }
  }
  guard status == 0 else { throw BenchError("no free port") }
  return Int(UInt16(bigEndian: address.sin_port))
}
