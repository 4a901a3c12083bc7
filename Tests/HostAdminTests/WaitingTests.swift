import BlockingIO
import Inventory
import Lab
import PostgresClient
import RemoteHost
import ReplicationModel
import TestSupport
import Testing

@testable import HostAdmin

/// What takes long is waited for as long as it gets on.
@Suite struct WaitingTests {
  private static let late = ConvoyError("test.late", "late")

  @Test func whatGetsOnIsWaitedFor() async throws {
    var looks = 0
    try await waitUntil(
      within: .milliseconds(400), interval: .milliseconds(10),
      gettingOn: {
        looks += 1
        return "\(looks)"
      }, orThrow: { Self.late }
    ) { looks >= 4 }
  }

  @Test func whatDoesNotIsNot() async throws {
    let began = ContinuousClock.now
    await #expect(throws: Self.late) {
      try await waitUntil(
        within: .milliseconds(400), interval: .milliseconds(10), gettingOn: { "always the same" },
        orThrow: { Self.late }
      ) { false }
    }
    #expect(began.duration(to: .now) < .seconds(20))
  }

  /// pg_ctl gives up after a second, the server needs more: to replay what a crash has left, and to archive at its end.
  @Test func aServerThatTakesItsTimeIsNotTakenForDead() async throws {
    let options = Cluster.Options(settings: [
      "max_wal_size": "4GB", "checkpoint_timeout": "1h", "archive_mode": "on",
      "archive_command": "test ! -e slow || sleep 3; true", "wal_level": "replica",
    ])
    let cluster = try await onDedicatedThread("initdb") { try Cluster(options) }
    try await cluster.running {
      let session = try await PostgresSession.connect(cluster.parameters())
      try await session.script("CREATE TABLE t AS SELECT g, repeat('x', 500) FROM generate_series(1, 1000) g")
      for _ in 0..<9 { try await session.script("INSERT INTO t SELECT * FROM t") }
      await session.close()
      try await onDedicatedThread("stop") { try cluster.stop(.immediate) }
      let server = try control(of: cluster)
      let began = ContinuousClock.now
      try await server.startStopped(within: .seconds(1))
      print("a second's patience was enough for \(began.duration(to: .now))")
      #expect(try await server.isRunning())
      let again = try await PostgresSession.connect(cluster.parameters())
      #expect(try await again.query("SELECT count(*) FROM t").first == "512000")
      await again.close()
      try writeFile(cluster.dataDirectory + "/slow", "", mode: 0o644)
      try await server.stopRunning(within: .seconds(2))
      #expect(try await !server.isRunning())
      try await onDedicatedThread("start") { try cluster.start() }
    }
  }

  private func control(of cluster: Cluster) throws -> ServerControl {
    let user = try Prerequisites.postgresAccount().name
    let inventory = try FleetInventory.parse(
      """
      hosts: { old: { local: true }, new: { local: true, postgres: { port: 2, os_user: \(user) } } }
      migrations: { one: { source: old, target: new } }
      """, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
    return ServerControl(
      host: try #require(inventory.migration(named: "one")).target, remote: LocalHost(),
      dataDirectory: cluster.dataDirectory, binDirectory: cluster.options.binDirectory, configFile: nil)
  }
}
