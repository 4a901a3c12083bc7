import Inventory
import Lab
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
}
