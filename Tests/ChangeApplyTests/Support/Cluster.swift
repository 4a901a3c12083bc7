import Foundation
import Glibc
import PostgresClient
import ReplicationModel
import Testing

/// One PostgreSQL server for a suite: made by the suite's trait, on a Unix-domain socket only, gone when the suite
/// has ended.
struct Cluster: Sendable {
  @TaskLocal static var current: Cluster?

  static let programs = "/usr/lib/postgresql/15/bin"
  let directory: String

  static func run(_ body: @Sendable () async throws -> Void) async throws {
    let cluster = Cluster(directory: "/tmp/pgconvoy-apply-\(HandOffNames.random().nonce)")
    do {
      try cluster.start()
      try await $current.withValue(cluster) { try await body() }
      cluster.end()
    } catch {
      cluster.end()
      throw error
    }
  }

  private func start() throws {
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    if geteuid() == 0, let account = getpwnam("postgres") {
      chown(directory, account.pointee.pw_uid, account.pointee.pw_gid)
    }
    try shell(
      """
      initdb -D data -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >initdb.log
      printf "%s\\n" "listen_addresses = ''" "unix_socket_directories = '$PWD'" "wal_level = logical" \
        "max_replication_slots = 100" "max_connections = 200" "shared_buffers = '64MB'" "fsync = off" \
        "dynamic_shared_memory_type = mmap" "lc_messages = 'C'" "autovacuum = off" \
        "wal_writer_delay = 10s" "wal_writer_flush_after = 1GB" "max_prepared_transactions = 5" >>data/postgresql.conf
      pg_ctl start -s -w -t 60 -D data -l server.log >/dev/null 2>&1 </dev/null
      """)
  }

  private func end() {
    _ = try? shell("if [ -f data/postmaster.pid ]; then pg_ctl stop -s -w -m immediate -D data; fi")
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// (Not Foundation's Process: it goes on waiting for a server that the program has left behind.)
  private func shell(_ script: String) throws {
    let text = "set -e; cd '\(directory)'; PATH=\(Self.programs):$PATH; " + script
    let words = (geteuid() == 0 ? ["/usr/sbin/runuser", "-u", "postgres", "--"] : []) + ["/bin/sh", "-c", text]
    var arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var pid: pid_t = 0
    try #require(posix_spawn(&pid, words[0], nil, nil, &arguments, environ) == 0)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    try #require(status == 0, "\(script)")
  }

  func parameters(_ database: String) -> ConnectionParameters {
    ConnectionParameters(host: directory, port: 5432, user: "postgres", database: database)
  }
}

/// Runs a suite with a server of its own.
struct WithCluster: SuiteTrait, TestScoping {
  var isRecursive: Bool { false }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await Cluster.run(function)
  }
}

extension Trait where Self == WithCluster {
  static var cluster: Self { WithCluster() }
}
