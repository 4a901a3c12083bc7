import BlockingIO
package import Glibc
import PostgresClient
import ReplicationModel

/// A host's own PostgreSQL cluster.
struct PostgresServer: Sendable {
  var lab: LabDescription
  var host: LabHost
  var programs: Prerequisites
  var account: Account
  var passwords: LabPasswords

  private var place: ConvoyError.Place { .host(host.name) }
  private var environment: [String: String] { [ProcessTable.marker: lab.id, "LC_ALL": "C"] }
  private var isSource: Bool { host.name == LabDescription.sourceName }

  /// Makes the cluster, with a certificate and a configuration of its own.
  func install() throws {
    try makeDirectory(host.postgresDirectory, mode: 0o755, owner: account)
    try makeDirectory(host.socketDirectory, mode: 0o755, owner: account)
    try ChildProcess.check(
      programs.pgBin + "/initdb",
      [
        "-D", host.dataDirectory, "-U", "postgres", "-A", "peer", "-E", "UTF8", "--locale=C", "--no-sync",
        "--no-instructions",
      ], environment: environment, as: account, at: place)
    try ChildProcess.check(
      programs.openssl,
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
        "-keyout", host.dataDirectory + "/server.key", "-out", host.dataDirectory + "/server.crt",
        "-subj", "/CN=\(host.name)", "-addext", "subjectAltName=DNS:\(host.name),IP:\(host.address)",
      ], as: account, at: place)
    try write("postgresql.conf", configuration)
    try write("pg_hba.conf", hostBasedAuthentication)
    try write("pg_ident.conf", identMap)
    if !isSource {
      try makeDirectory(host.dataDirectory + "/conf.d", mode: 0o700, owner: account)
      try write(
        "conf.d/lab.conf", "# Read through include_dir, which a migration must keep working.\nwork_mem = '7MB'\n")
    }
  }

  private func write(_ name: String, _ text: String) throws {
    try writeFile("\(host.dataDirectory)/\(name)", text, mode: 0o600, owner: account)
  }

  /// Starts the server, and gives it its two roles.
  func start() throws {
    do {
      try ChildProcess.check(
        programs.pgBin + "/pg_ctl",
        ["start", "-s", "-w", "-t", "60", "-D", host.dataDirectory, "-l", host.postgresLog], environment: environment,
        as: account, at: place)
    } catch {
      throw ConvoyError("lab.start-failed", "postgresql did not start", at: place, cause: tail(host.postgresLog))
    }
    try reporting(at: place) {
      let connection = try connect(database: "postgres")
      // A password travels in the statement, over a Unix socket, and is not logged: log_statement is none.
      for (role, password) in [("pgconvoy", passwords.pgconvoy), ("app", passwords.app)] {
        let replication = role == "pgconvoy" ? " REPLICATION" : ""
        try connection.script("CREATE ROLE \(role) LOGIN SUPERUSER\(replication) PASSWORD '\(password)'")
      }
    }
  }

  /// Makes one database with its tables and rows, all owned by the role `app`.
  func makeDatabase(_ name: String) throws {
    try reporting(at: .database(migration: nil, name: name)) {
      try connect(database: "postgres").script(
        "CREATE DATABASE \(quotedIdentifier(name)) OWNER app TEMPLATE template0")
      let connection = try connect(database: name)
      try connection.script("SET synchronous_commit = off; SET client_min_messages = warning; SET ROLE app")
      for statement in LabSchema.named(name).statements + LabSchema.common { try connection.script(statement) }
      try connection.script("RESET ROLE")
      try connection.script("VACUUM ANALYZE")
    }
  }

  /// As the cluster's superuser, through the socket, known by the operating-system user.
  func connect(database: String) throws -> PostgresConnection {
    try PostgresConnection.connect(
      ConnectionParameters(
        host: host.socketDirectory, port: host.postgresPort, user: "postgres", database: database,
        applicationName: "pgconvoy lab"))
  }

  private func reporting(at place: ConvoyError.Place, _ body: () throws -> Void) throws {
    do { try body() } catch let error as PostgresError { throw error.convoyError(at: place) }
  }

  // MARK: configuration

  private var configuration: String {
    let common = """
      # \(host.name), a host of the pgconvoy lab
      cluster_name = '\(host.name)'
      listen_addresses = '\(host.address)'
      port = \(host.postgresPort)
      unix_socket_directories = '\(host.socketDirectory)'
      ssl = on
      ssl_cert_file = 'server.crt'
      ssl_key_file = 'server.key'
      password_encryption = 'scram-sha-256'

      shared_buffers = '64MB'
      # Mapped files in the data directory: a server that was killed leaves nothing in /dev/shm.
      dynamic_shared_memory_type = 'mmap'
      max_wal_size = '1GB'
      fsync = on
      wal_level = 'logical'
      hot_standby = on
      max_connections = 200
      max_wal_senders = 60
      max_replication_slots = 60
      max_prepared_transactions = 10
      max_worker_processes = 16

      datestyle = 'iso, mdy'
      timezone = 'UTC'
      lc_messages = 'C'
      log_timezone = 'UTC'
      log_line_prefix = '%m [%p] %q%u@%d '

      """
    if isSource { return common + "work_mem = '4MB'\n" }
    return common + "maintenance_work_mem = '48MB'\nlog_autovacuum_min_duration = '10s'\ninclude_dir 'conf.d'\n"
  }

  private var hostBasedAuthentication: String {
    """
    # \(host.name), a host of the pgconvoy lab
    # TYPE  DATABASE     USER      ADDRESS      METHOD
    local   all          postgres               peer map=lab
    host    replication  pgconvoy  127.0.0.0/8  scram-sha-256
    host    all          pgconvoy  127.0.0.0/8  scram-sha-256
    hostssl all          all       127.0.0.0/8  scram-sha-256
    host    all          all       127.0.0.0/8  scram-sha-256
    \(isSource ? "" : "host    all          all       ::1/128      reject\n")
    """
  }

  /// Who may be the cluster's superuser: the user that the server runs as, and root.
  private var identMap: String {
    var users = [account.name]
    if geteuid() == 0 && account.name != "root" { users.append("root") }
    return users.map { "lab \"\($0)\" postgres\n" }.joined()
  }
}

/// The passwords of the two roles: letters and digits only, so that no URI, file or shell needs quoting.
struct LabPasswords: Sendable {
  var pgconvoy: String
  var app: String

  static func random() -> LabPasswords { LabPasswords(pgconvoy: word(), app: word()) }

  private static func word() -> String {
    let letters = Array("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    return String((0..<24).map { _ in letters[Int.random(in: 0..<letters.count)] })
  }
}

/// What a data directory's `postmaster.pid` says; it outlives a server that was killed.
/// <https://www.postgresql.org/docs/15/storage-file-layout.html>
package struct PostmasterFile: Sendable {
  /// Of the postmaster that wrote the file.
  package var pid: pid_t
  /// `ready`, `standby`, `starting` or `stopping`.
  var state: String
  /// The System V segment by which the server keeps a second one off its data directory.
  var sharedMemoryID: Int?

  /// Nil where there is no such file.
  package init?(dataDirectory: String) {
    guard let text = try? readText(dataDirectory + "/postmaster.pid") else { return nil }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first, let pid = pid_t(first) else { return nil }
    self.pid = pid
    state = lines.count > 7 ? lines[7].split(separator: " ").first.map(String.init) ?? "" : "starting"
    sharedMemoryID = lines.count > 6 ? lines[6].split(separator: " ").last.flatMap { Int($0) } : nil
  }
}
