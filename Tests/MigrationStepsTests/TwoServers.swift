import Foundation
import Glibc
import Inventory
import PostgresClient
import RemoteHost
import ReplicationModel

@testable import Verification

/// Two PostgreSQL servers, the second one a copy of the first's files, as a migration makes it. They listen on
/// Unix-domain sockets only.
struct TwoServers: Sendable {
  static let programs = "/usr/lib/postgresql/15/bin"

  let directory: String

  /// Makes a source, has it filled, copies it, and gives both to the body; ends and removes them in any case.
  static func with(
    fill: (TwoServers) async throws -> Void, _ body: (TwoServers) async throws -> Void
  ) async throws {
    let servers = TwoServers(directory: "/tmp/pgconvoy-verify-\(HandOffNames.random().nonce)")
    do {
      try await servers.shell(
        """
        umask 022
        initdb -D source -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >initdb.log
        printf "%s\\n" "listen_addresses = ''" "unix_socket_directories = '$PWD'" "max_connections = 60" \
          "shared_buffers = '32MB'" "dynamic_shared_memory_type = mmap" "lc_messages = 'C'" "fsync = off" \
          "autovacuum = off" "wal_level = minimal" "max_wal_senders = 0" >>source/postgresql.conf
        """)
      try await servers.start("source")
      try await fill(servers)
      try await servers.stop("source")
      try await servers.shell("cp -a source target")
      try await servers.start("source")
      try await servers.start("target")
      try await body(servers)
      await servers.end()
    } catch {
      await servers.end()
      throw error
    }
  }

  func start(_ name: String) async throws {
    try await shell(
      "pg_ctl start -s -w -t 30 -D \(name) -o '-p \(port(name))' -l \(name).log >/dev/null 2>&1 </dev/null")
  }

  func stop(_ name: String) async throws {
    try await shell("pg_ctl stop -s -w -t 30 -m fast -D \(name) >/dev/null 2>&1")
  }

  private func end() async {
    for name in ["source", "target"] {
      _ = try? await shell("if [ -f \(name)/postmaster.pid ]; then pg_ctl stop -s -w -m immediate -D \(name); fi")
    }
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// The number is part of the socket's name, no more.
  func port(_ name: String) -> Int { name == "source" ? 5432 : 5433 }

  private func shell(_ script: String) async throws {
    if !FileManager.default.fileExists(atPath: directory) {
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
      if geteuid() == 0 { try await LocalHost().runChecked(RemoteCommand(["chown", "postgres", directory])) }
    }
    try await LocalHost().runChecked(
      .shell(
        "set -e; PATH=\(Self.programs):$PATH; cd \"$1\"; " + script, arguments: [directory],
        user: geteuid() == 0 ? "postgres" : nil, deadline: .seconds(60), label: "server"))
  }

  func parameters(_ name: String, _ database: String) -> ConnectionParameters {
    var settings = canonicalTextSettings
    settings["client_encoding"] = "UTF8"
    return ConnectionParameters(
      host: directory, port: port(name), user: "postgres", database: database, settings: settings)
  }

  /// As the steps' own sessions are: text output canonical, search path empty.
  func session(_ name: String, _ database: String) async throws -> PostgresSession {
    try await PostgresSession.connect(parameters(name, database))
  }

  /// Runs statements as an application would: nothing pinned.
  func run(_ name: String, _ database: String, _ script: String) async throws {
    var parameters = parameters(name, database)
    parameters.settings = ["client_min_messages": "warning"]
    let session = try await PostgresSession.connect(parameters)
    do { try await session.script(script) } catch {
      await session.close()
      throw error
    }
    await session.close()
  }

  func pair<Value>(
    _ database: String, _ body: (PostgresSession, PostgresSession) async throws -> Value
  ) async throws -> Value {
    let source = try await session("source", database)
    let target = try await session("target", database)
    do {
      let value = try await body(source, target)
      await source.close()
      await target.close()
      return value
    } catch {
      await source.close()
      await target.close()
      throw error
    }
  }

  func verification(_ mode: SumMode) -> Verification {
    Verification(mode: mode) { side, database in try await session(side.rawValue, database) }
  }
}
