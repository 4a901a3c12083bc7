import Inventory
import Lab
import ReplicationModel
import TestSupport
import Testing

@testable import SyncService

/// What managers are given to keep a sync process running. That they do is shown in ScenarioTests, but for systemd, which
/// does not run where tests do: its own tool reads the unit.
@Suite struct SyncUnitTests {
  private func place(_ manager: SyncManager, root: String) -> SyncPlace {
    SyncPlace(
      host: "new", manager: manager, root: root, digest: "0123456789abcdef", nonce: "0123456789ab",
      serviceDirectory: "/etc/service")
  }

  private static let analyzer = "/usr/bin/systemd-analyze"

  @Test(.enabled(if: fileExists(analyzer))) func systemdTakesTheUnit() async throws {
    let files = try TemporaryDirectory("unit", mode: 0o755)
    let place = place(.systemd, root: files.path)
    try makeDirectories([files.path + "/sync", place.directory])
    try files.write("#!/bin/sh\n", to: String(place.run.dropFirst(files.path.count + 1)), mode: 0o755)
    let unit = SyncUnit(place, migration: "chef-eu").systemdUnit
    try files.write(unit, to: place.unit + ".service")
    let good = try await Program([Self.analyzer, "verify", "\(files.path)/\(place.unit).service"]).result()
    #expect(good.status == 0 && good.output.isEmpty && good.errors.isEmpty, "\(good.text)")
    // What it does not understand, it says.
    try files.write(unit.replacing("Restart=always", with: "Restart=ever"), to: place.unit + ".service")
    let bad = try await Program([Self.analyzer, "verify", "\(files.path)/\(place.unit).service"]).result()
    #expect(bad.errors.contains("restart specifier"), "\(bad.text)")
  }

  private func makeDirectories(_ paths: [String]) throws {
    for path in paths { try makeDirectory(path, mode: 0o755) }
  }

  @Test func eachMigrationAndManagerHasAPlaceOfItsOwn() {
    let (one, other) = (place(.runit, root: "/r"), place(.detached, root: "/r"))
    #expect(one.directory == "/r/sync/0123456789ab-runit" && other.directory == "/r/sync/0123456789ab-detached")
    #expect(one.program == "/r/bin/0123456789abcdef/pgconvoy")
    var newer = one
    newer.digest = "fedcba9876543210"
    #expect(newer.isSame(as: one) && !one.isSame(as: other))
  }

  /// Before anything is put there.
  @Test(
    arguments: [
      ("pdp11", SyncManager.detached, "sync.other-architecture"), (nil, .systemd, "sync.needs-root"),
      (nil, .runit, "sync.no-service-directory"), (nil, .detached, nil),
    ] as [(String?, SyncManager, String?)])
  func aHostThatCannotRunItIsRefused(_ machine: String?, _ manager: SyncManager, _ code: String?) async throws {
    let own = try await Program(["uname", "-m"]).result().output.split(separator: "\n").first.map(String.init)
    let facts = SyncHostFacts(
      home: "/home/a", machine: machine ?? own ?? "", isRoot: false, mayAddServices: false, hasSystemd: true)
    var found: ConvoyError?
    do { try await facts.check(manager, "new", "/etc/service") } catch let error as ConvoyError { found = error }
    #expect(found?.code.rawValue == code)
  }

  /// Each server as its own host, the other one, and a third host see it.
  @Test func theServersAreReachedFromWhereTheProcessRuns() throws {
    let inventory = try FleetInventory.parse(
      """
      hosts:
        old: { address: 10.0.0.1, postgres: { replication_address: 192.168.0.1 } }
        new: { address: 10.0.0.2, postgres: { via: ssh } }
        third: { address: 10.0.0.3 }
      migrations: { one: { source: old, target: new } }
      """, path: "/inventory.yml", user: LocalUser(name: "u", home: "/"))
    let migration = try #require(inventory.migrations.first)
    let seen = ["old", "new", "third"].map { name in Side.allCases.map { migration.address(of: $0, from: name) } }
    #expect(seen == [["10.0.0.1", "10.0.0.2"], ["192.168.0.1", "127.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
  }
}
