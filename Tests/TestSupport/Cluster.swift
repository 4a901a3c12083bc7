import BlockingIO
import Glibc
import Lab
package import PostgresClient
package import Testing

/// A PostgreSQL server of the tests' own: any version, any settings, on a free port of 127.0.0.1 and on a socket in its
/// directory.
///
/// It runs as the user `postgres` where root runs the tests, and everything of it is below one temporary directory.
/// What starts and stops it blocks; `with` does so beside the cooperative pool.
package final class Cluster: Sendable {
  /// That of the suite, where it has one.
  @TaskLocal package static var current: Cluster?

  package struct Options: Sendable {
    /// Of initdb, pg_ctl and postgres.
    package var binDirectory: String
    package var superuser: String
    /// More arguments of initdb, after those that every cluster gets: `--locale=C.UTF-8`.
    package var initdbArguments: [String]
    /// postgresql.conf, beside and before what every cluster gets.
    package var settings: [String: String]
    /// pg_hba.conf; nil for what initdb writes, which lets every local user in without a password.
    package var hostBasedAuthentication: String?
    /// Of initdb, pg_ctl and postgres, beside what every program gets.
    package var environment: [String: String] = [:]

    package init(
      binDirectory: String = Lab.defaultPgBin(), superuser: String = "postgres", initdbArguments: [String] = [],
      settings: [String: String] = [:], hostBasedAuthentication: String? = nil
    ) {
      self.binDirectory = binDirectory
      self.superuser = superuser
      self.initdbArguments = initdbArguments
      self.settings = settings
      self.hostBasedAuthentication = hostBasedAuthentication
    }
  }

  package enum StopMode: String, Sendable {
    case fast
    /// Without a shutdown checkpoint, as after a power cut.
    case immediate
  }

  package let port: Int
  package let options: Options
  private let files: TemporaryDirectory
  private let account: Account

  /// Everything of this cluster is below it; it is the socket's directory too.
  package var directory: String { files.path }
  package var dataDirectory: String { directory + "/data" }
  package var log: String { directory + "/log" }

  /// Makes the cluster; it does not run yet.
  package convenience init(_ options: Options = Options()) throws {
    try self.init(options) { cluster in
      try cluster.command(
        "initdb",
        [
          "-D", cluster.dataDirectory, "-U", options.superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
          "--no-instructions",
        ] + options.initdbArguments)
    }
    if let text = options.hostBasedAuthentication {
      try writeFile(dataDirectory + "/pg_hba.conf", text, mode: 0o600, owner: account)
    }
  }

  private init(_ options: Options, fill: (Cluster) throws -> Void) throws {
    self.options = options
    account = try Prerequisites.postgresAccount()
    files = try TemporaryDirectory("cluster", mode: 0o755, owner: account)
    port = try freePort()
    try fill(self)
    try writeFile(dataDirectory + "/postgresql.conf", configuration, mode: 0o600, owner: account)
  }

  /// A second cluster with a copy of the files of this one, which must be stopped.
  package func copy() throws -> Cluster {
    try Cluster(options) { copy in
      try Program.check(["cp", "-a", self.dataDirectory, copy.dataDirectory], as: copy.account)
    }
  }

  private var configuration: String {
    var values = [
      "fsync": "off", "autovacuum": "off", "shared_buffers": "32MB", "timezone": "UTC", "lc_messages": "C",
      // Mapped files in the data directory: a server that was killed leaves nothing in /dev/shm.
      "dynamic_shared_memory_type": "mmap",
    ]
    values.merge(options.settings) { $1 }
    values.merge(["listen_addresses": "127.0.0.1", "port": "\(port)", "unix_socket_directories": directory]) { $1 }
    return values.sorted { $0.key < $1.key }.map { name, value in
      "\(name) = '\(value.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''"))'\n"
    }.joined()
  }

  // MARK: running

  /// Starts the server, and waits until it takes connections.
  package func start() throws {
    do { try command("pg_ctl", ["start", "-s", "-w", "-t", "60", "-D", dataDirectory, "-l", log]) } catch {
      throw TestFailure("\(error)\n\((try? readText(log)) ?? "")")
    }
  }

  package func stop(_ mode: StopMode = .fast) throws {
    try command("pg_ctl", ["stop", "-s", "-w", "-t", "60", "-m", mode.rawValue, "-D", dataDirectory])
  }

  /// Stops at once and starts again.
  package func crash() throws {
    try stop(.immediate)
    try start()
  }

  /// Kills the postmaster, and waits until its children have seen that. The server can be started again.
  package func kill() throws {
    guard let file = PostmasterFile(dataDirectory: dataDirectory) else { return }
    let processes = ProcessTable.snapshot().entries.filter {
      $0.command == "postgres" && $0.workingDirectory == dataDirectory
    }
    guard processes.contains(where: { $0.pid == file.pid }) else { return }
    _ = Glibc.kill(file.pid, SIGKILL)
    // Also for init to have seen their end: a zombie keeps the next postmaster away.
    let areGone = waitUntil(.after(.seconds(20))) {
      !processes.contains { ProcessEntry(pid: $0.pid)?.command == "postgres" }
    }
    guard areGone else {
      throw TestFailure("processes of \(dataDirectory) outlived their postmaster")
    }
  }

  package var isRunning: Bool {
    PostmasterFile(dataDirectory: dataDirectory).flatMap { ProcessEntry(pid: $0.pid) }?.isAlive == true
  }

  /// Ends the server by its pid, if it runs, and removes the files.
  package func end() throws {
    defer { files.remove() }
    guard isRunning else { return }
    do { try stop(.immediate) } catch {
      try kill()
      throw error
    }
  }

  private func command(_ program: String, _ arguments: [String]) throws {
    try Program.check(
      ["\(options.binDirectory)/\(program)"] + arguments, environment: options.environment, as: account)
  }

  // MARK: connecting

  /// - Parameter user: nil for the superuser.
  package func parameters(_ database: String = "postgres", user: String? = nil) -> ConnectionParameters {
    ConnectionParameters(
      host: "127.0.0.1", port: port, user: user ?? options.superuser, database: database, connectTimeout: 10)
  }

  package func connect(_ database: String = "postgres", user: String? = nil) throws -> PostgresConnection {
    try PostgresConnection.connect(parameters(database, user: user))
  }
}

extension Cluster {
  /// Makes and starts a cluster, gives it to the body, and ends it whatever the body does.
  package static func with<Value>(
    _ options: Options = Options(), _ body: (Cluster) async throws -> Value
  ) async throws -> Value {
    let cluster = try await onDedicatedThread("cluster") { try Cluster(options) }
    return try await cluster.running { try await body(cluster) }
  }

  /// Starts the server for a body, and ends it whatever the body does.
  package func running<Value>(_ body: () async throws -> Value) async throws -> Value {
    try await doing {
      try await onDedicatedThread("cluster") { try self.start() }
      return try await body()
    } finally: {
      try await onDedicatedThread("cluster") { try self.end() }
    }
  }
}

extension Trait where Self == SharedFixture<Cluster> {
  /// One server for all tests of a suite, in `Cluster.current`.
  ///
  /// - Parameter prepare: gives it what all of them need. It blocks a thread of its own.
  package static func sharedCluster(
    _ options: Cluster.Options, prepare: @escaping @Sendable (Cluster) throws -> Void = { _ in }
  ) -> Self {
    SharedFixture(Cluster.$current) { body in
      try await Cluster.with(options) { cluster in
        try await onDedicatedThread("cluster") { try prepare(cluster) }
        try await body(cluster)
      }
    }
  }
}
