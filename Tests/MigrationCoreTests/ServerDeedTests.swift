import Inventory
import Journal
import Logging
import MigrationFixtures
import Playbook
import RemoteHost
import ReplicationModel
import Synchronization
import TestSupport
import Testing

@testable import MigrationCore

/// What deeds do to a real server and its files, and how often they ask before.
@Suite struct ServerDeedTests {
  @Test func whetherThereIsAnythingToDoIsAskedOnce() async throws {
    try await Cluster.with { cluster in
      let heard = Heard()
      let state = try TemporaryDirectory("deeds")
      let context = try await context(cluster, state, heard)
      try await doing {
        let performer = DeedPerformer(context, step: "step")
        let path = cluster.dataDirectory + "/pg_ident.conf"

        let addition = Deed.edit(.source, path) { $0.hasSuffix("# more\n") ? $0 : $0 + "# more\n" }
        try await performer.perform([addition])
        #expect(heard.take() == ["read", "write"])
        let content = try await context.remote(.source).download(path, as: nil).content
        #expect(String(decoding: content, as: UTF8.self).hasSuffix("# more\n"))
        #expect(heard.take() == ["read"])
        try await performer.perform([addition])
        #expect(heard.take() == ["read"])
        let missing = Deed.edit(.source, path + ".missing") { $0 + "# more\n" }
        await #expect(throws: ConvoyError.self) { try await performer.perform([missing]) }
        #expect(heard.take() == ["read"])

        for verb in [Deed.ServerVerb.stop, .start] {
          try await performer.perform([.server(.source, verb)])
          #expect(heard.take() == ["ask", "run"])
          #expect(cluster.isRunning == (verb == .start))
          try await performer.perform([.server(.source, verb)])
          #expect(heard.take() == ["ask"])
        }
        // What was as wanted is no deed; what could not be asked is one that has failed.
        let rows = try await context.journal.perform { file throws(ConvoyError) in try file.deeds(migration: "one") }
        #expect(rows.map(\.outcome) == [.done, .failed, .done, .done])
        #expect(rows.map(\.kind) == ["file", "file", "command", "command"])
      } finally: {
        await context.close()
      }
    }
  }

  private func context(
    _ cluster: Cluster, _ state: TemporaryDirectory, _ heard: Heard
  ) async throws -> MigrationContext {
    let owner = try Program.check(["stat", "-c", "%U", cluster.dataDirectory]).filter { !$0.isNewline }
    let migration = try migration(
      in: """
        hosts:
          old:
            local: true
            postgres:
              port: \(cluster.port)
              user: postgres
              os_user: \(owner)
              data_directory: \(cluster.dataDirectory)
              bin_directory: \(cluster.options.binDirectory)
          new: { local: true, postgres: { port: 1 } }
        migrations:
          one: { source: old, target: new }
        """)
    var logger = Logger(label: "test") { _ in heard }
    logger.logLevel = .trace
    return try await migrationContext(migration, state: state.path, logger: logger)
  }
}

/// What was asked of a host and done to it: `ask`, `run`, `read`, `write`.
private final class Heard: LogHandler, Sendable {
  private let verbs = Mutex<[String]>([])

  var logLevel: Logger.Level {
    get { .trace }
    set {}
  }
  var metadata: Logger.Metadata {
    get { [:] }
    set {}
  }
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { nil }
    set {}
  }

  func log(event: LogEvent) {
    let verb = "\(event.message)".prefix { $0 != " " }
    verbs.withLock { $0.append(String(verb)) }
  }

  /// Since it was asked last.
  func take() -> [String] {
    verbs.withLock { verbs in
      defer { verbs = [] }
      return verbs
    }
  }
}
