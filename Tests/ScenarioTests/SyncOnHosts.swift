import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// The workers run on a server: nothing of it is left here, and the migration is as exact as ever.
  @Suite(.serialized) struct SyncOnHosts {
    /// Under load: on the target, under runit, killed there; there and back; from place to place and home again.
    @Test func onTheTargetUnderRunitThenFromPlaceToPlace() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"], rate: 80) { scenario in
        try await scenario.script(.source, "CREATE TABLE unfit (id integer PRIMARY KEY)", in: "alpha")
        try scenario.setSync("{ on: target, manager: runit }")
        try await scenario.play("migrate")
        let first = try await scenario.hostedSync(on: scenario.target)
        #expect(try await !scenario.status().sync.running)
        #expect(try await scenario.play("migrate").text.contains("start_sync: already done"))
        try expectOnlyItsOwn(scenario)

        // No command of ours runs meanwhile: runit and the process's own journal are enough.
        kill(first, SIGKILL)
        try await scenario.applicationGoesOn(by: 50)
        try await scenario.drained()
        #expect(try await scenario.hostedSync(on: scenario.target) != first)

        try await verifyAndSkip(scenario)

        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(by: 50, on: scenario.target)
        try await expectSame(scenario, direction: .reverse)
        try await scenario.play(try scenario.withoutServices("rollback"))
        try await scenario.expectIdentical(sequences: true)
        for role in [Scenario.Role.source, .target] {
          try await scenario.expectAcknowledged([scenario.source, scenario.target], on: role)
        }
        try await scenario.play("rollback")
        try await scenario.applicationGoesOn()

        try await moves(scenario)
        let end = try await scenario.play("finish")
        #expect(end.text.contains("nothing of pgconvoy's is left"), "\(end.text)")
        for host in [scenario.source, scenario.target] { try expectNothing(on: host) }
      }
    }

    /// `PGCONVOY_SYNC_PLACES=1`: also a place without a manager, and an old one that does not let go.
    private static let isThorough = getenv("PGCONVOY_SYNC_PLACES").map { String(cString: $0) } == "1"

    // MARK: orders

    /// A snapshot for a verifier, and a transaction to step over: both go to the process there.
    private func verifyAndSkip(_ scenario: Scenario) async throws {
      let verified = try await scenario.start("verify").result()
      #expect(verified.status == 0, "\(verified.text)")
      try await scenario.script(.target, "INSERT INTO unfit VALUES (1)", in: "alpha")
      try await scenario.script(.source, "INSERT INTO unfit VALUES (1)", in: "alpha")
      try await eventually("the parked database") { try await scenario.status("alpha").phase == .parked }
      let status = try await scenario.status("alpha")
      let place = String(try #require(status.lastError?.firstMatch(of: #/lsn ([0-9A-F]+\/[0-9A-F]+)/#)).1)
      let skipped = try await scenario.start("skip", "--database", "alpha", "--lsn", place).result()
      #expect(skipped.status == 0 && skipped.output.contains("has stepped over"), "\(skipped.text)")
      try await scenario.drained()
    }

    // MARK: places

    private func moves(_ scenario: Scenario) async throws {
      let startSync = try scenario.playbook(steps: ["start_sync"])
      // Home: nothing is left there.
      try scenario.setSync("{ on: workstation }")
      try await scenario.play(startSync)
      let here = try await scenario.syncPID()
      #expect(try await scenario.status().migrations.first?.sync == nil)
      try expectNothing(on: scenario.target)

      // Back to where it was, with all that was counted. The process here has nothing to do then.
      try await scenario.applicationGoesOn(by: 200)
      let before = try await counted(scenario)
      try scenario.setSync("{ on: target, manager: runit }")
      try await scenario.play(startSync)
      #expect(try await counted(scenario) >= before)
      #expect(try await scenario.hostedSync(on: scenario.target) != here)
      try await scenario.applicationGoesOn(by: 50)
      try await expectSame(scenario, direction: .forward)
      guard Self.isThorough else { return }

      // To the source, without a manager.
      try scenario.setSync("{ on: source }")
      try await scenario.play(startSync)
      let there = try await scenario.hostedSync(on: scenario.source)
      try await scenario.applicationGoesOn(by: 50)
      try await expectSame(scenario, direction: .forward)

      // A play puts one that was killed up again; and one that somebody else has is not taken for gone.
      kill(there, SIGKILL)
      try await eventually("its end") { try await scenario.status().migrations.first?.sync?.running == false }
      try await scenario.play("migrate")
      let again = try await scenario.hostedSync(on: scenario.source)
      kill(again, SIGSTOP)
      try scenario.setSync("{ on: target, manager: runit }")
      let refused = try scenario.start("play", startSync, "--yes")
      #expect(try await refused.says("start_sync"))
      try await Task.sleep(for: .seconds(2))
      #expect(try await !scenario.isHosted(on: scenario.target))
      kill(again, SIGCONT)
      let result = try await refused.result()
      #expect(result.status == 0, "\(result.text)")
      _ = try await scenario.hostedSync(on: scenario.target)
      try expectNothing(on: scenario.source)
      try await scenario.applicationGoesOn(by: 50)
      try await expectSame(scenario, direction: .forward)
    }

    private func counted(_ scenario: Scenario) async throws -> UInt64 {
      try #require(try await scenario.status().migrations.first).databases.reduce(0) { $0 + $1.transactionsApplied }
    }

    // MARK: what must hold

    /// Both servers have the same rows, and no row was missed.
    private func expectSame(_ scenario: Scenario, direction: StreamDirection) async throws {
      let host = direction == .forward ? scenario.source : scenario.target
      try await scenario.application("stop", on: host)
      if direction == .forward {
        try await scenario.drained()
      } else {
        try await eventually("no lag") {
          let databases = try await scenario.status().migrations.first?.databases ?? []
          return databases.allSatisfy { $0.phase == .streaming && $0.lagBytes == 0 }
        }
      }
      try await scenario.expectIdentical()
      let status = try #require(try await scenario.status().migrations.first)
      #expect(status.databases.allSatisfy { $0.missedRows == 0 && $0.direction == direction })
      try await scenario.application("start", on: host)
    }

    /// What was put there is nobody else's to read, and has no key to anything else.
    private func expectOnlyItsOwn(_ scenario: Scenario) throws {
      let place = scenario.target.directory + "/.pgconvoy"
      let listing = try Program.check(["find", place, "-type", "f", "-printf", "%m %f\n"])
      let modes = Dictionary(
        listing.split(separator: "\n").map { $0.split(separator: " ") }.map { (String($0[1]), String($0[0])) },
        uniquingKeysWith: { first, _ in first })
      #expect(modes["pgconvoy"] == "755" && modes["passfile"] == "600" && modes["inventory.yml"] == "600")
      #expect(modes["journal.sqlite"] == "600" && modes["id_ed25519"] == nil)
      let passfile = try Program.check(["find", place, "-name", "passfile"]).split(separator: "\n")
      let lines = try readText(String(passfile[0])).split(separator: "\n")
      #expect(lines.count == 2 && lines.allSatisfy { $0.contains(":*:pgconvoy:") })
    }

    private func expectNothing(on host: LabHost) throws {
      #expect(!fileExists(host.directory + "/.pgconvoy"), "\(host.name)")
      #expect(directoryEntries(host.serviceDirectory).filter { $0.hasPrefix("pgconvoy") } == [])
      let left = ProcessTable.snapshot().entries.filter { entry in
        !entry.isZombie && entry.arguments.contains { $0.hasPrefix(host.directory + "/.pgconvoy") }
      }
      #expect(left.map(\.arguments) == [])
    }
  }
}

extension Scenario {
  /// Says in the inventory where the workers run.
  func setSync(_ value: String) throws {
    let lines = try readText(lab.inventoryFile).split(separator: "\n", omittingEmptySubsequences: false)
      .filter { !$0.hasPrefix("    sync: ") }
    try writeFile(lab.inventoryFile, lines.joined(separator: "\n"))
    try addToMigration("sync: \(value)")
  }

  /// The pid of the sync process that was put on a host.
  func hostedSync(on host: LabHost) async throws -> pid_t {
    let sync = try #require(try await status().migrations.first?.sync)
    #expect(sync.host == host.name && sync.running == true)
    return try #require(sync.pid)
  }

  /// Whether a process of that host runs.
  func isHosted(on host: LabHost) async throws -> Bool {
    ProcessTable.snapshot().entries.contains { entry in
      !entry.isZombie && entry.arguments.first?.hasPrefix(host.directory + "/.pgconvoy/bin") == true
        && entry.arguments.contains("sync")
    }
  }
}
