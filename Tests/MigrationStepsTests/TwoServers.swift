import BlockingIO
import Inventory
import PostgresClient
import ReplicationModel
import TestSupport

@testable import Verification

/// Two PostgreSQL servers, the second one a copy of the first's files, as a migration makes it.
struct TwoServers: Sendable {
  let source: Cluster
  let target: Cluster

  private static let options = Cluster.Options(
    initdbArguments: ["--locale=C.UTF-8"],
    settings: ["max_connections": "60", "wal_level": "minimal", "max_wal_senders": "0"])

  /// Makes a source, has it filled, copies it, and gives both to the body; ends and removes them in any case.
  static func with(
    fill: (Cluster) async throws -> Void, _ body: (TwoServers) async throws -> Void
  ) async throws {
    try await Cluster.with(options) { source in
      try await fill(source)
      let target = try await onDedicatedThread("copy") {
        try source.stop()
        let copy = try source.copy()
        try source.start()
        return copy
      }
      try await target.running { try await body(TwoServers(source: source, target: target)) }
    }
  }

  private func server(_ name: String) -> Cluster { name == "source" ? source : target }

  /// As the steps' own sessions are: text output canonical, search path empty.
  private func parameters(_ name: String, _ database: String) -> ConnectionParameters {
    var parameters = server(name).parameters(database)
    parameters.settings = canonicalTextSettings
    parameters.settings["client_encoding"] = "UTF8"
    return parameters
  }

  func session(_ name: String, _ database: String) async throws -> PostgresSession {
    try await PostgresSession.connect(parameters(name, database))
  }

  func run(_ name: String, _ database: String, _ script: String) async throws {
    try await server(name).run(database, script)
  }

  func pair<Value>(
    _ database: String, _ body: (PostgresSession, PostgresSession) async throws -> Value
  ) async throws -> Value {
    try await withSession(parameters("source", database)) { source in
      try await withSession(parameters("target", database)) { target in try await body(source, target) }
    }
  }

  func verification(_ mode: SumMode) -> Verification {
    Verification(mode: mode) { side, database in try await session(side.rawValue, database) }
  }
}

extension Cluster {
  /// Runs statements as an application would: nothing pinned.
  func run(_ database: String, _ script: String) async throws {
    var parameters = parameters(database)
    parameters.settings = ["client_min_messages": "warning"]
    try await withSession(parameters) { session in _ = try await session.script(script) }
  }
}
