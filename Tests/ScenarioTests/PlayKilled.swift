import Glibc
import Journal
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A play is killed behind each of its steps and in the middle of the long ones; the same command again goes on.
  ///
  /// `PGCONVOY_PLAY_KILLS=20` does it with the old data kept as well as replaced, kills cutovers and the end of
  /// migrations likewise, and kills at so many random moments of another migration.
  @Suite(.serialized) struct PlayKilled {
    enum OldData: String, Sendable, CaseIterable { case replace, keep }

    static let kills = getenv("PGCONVOY_PLAY_KILLS").flatMap { Int(String(cString: $0)) } ?? 0

    /// What a run says when its time has come: a step begins, so that the one before is over; or in its middle.
    private static let migrate = ["start_standby (", "hand_off (", "recovering to restore point", "start_sync ("]
    private static let cutover = [
      "stop_services (", "fence (", "drain (", "copy_sequences (", "refresh_materialized_views (", "verify (",
      "confirm_fence (", "close_forward (", "open_way_back (", "open_target (", "report (",
    ]

    private static let finish = ["stop_sync (", "clean_up (2/", "clean_up (3/", "finish ("]

    @Test(arguments: kills > 0 ? OldData.allCases : [.replace]) func goesOn(oldData: OldData) async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        try scenario.addToMigration("old_data: \(oldData.rawValue)")
        let certificate = try readText(scenario.target.dataDirectory + "/server.crt")
        if oldData == .replace {
          try leaveNoRoomForBoth(scenario)
          let check = try await scenario.start("check").result()
          #expect(check.output.contains("[preflight.old-data-first]"), "\(check.text)")
          try await scenario.killPlay(Scenario.shipped("migrate"), at: "removing the target's old data")
        }
        try await killBaseBackupItself(scenario)
        for words in Self.migrate {
          try await scenario.killPlay(Scenario.shipped("migrate"), at: words)
          // The source goes on serving, whatever happened.
          try await scenario.applicationGoesOn(by: 5)
        }
        try await scenario.play("migrate")
        try await expectMigrated(scenario, kept: oldData == .keep ? 1 : 0)
        try await expectStepsClosed(scenario)
        #expect(try readText(scenario.target.dataDirectory + "/server.crt") == certificate)
        if Self.kills > 0 {
          try await killCutovers(scenario)
        } else {
          try await giveUp(scenario)
        }
      }
    }

    @Test(.enabled(if: kills > 0), arguments: [20_240_612]) func atRandomMoments(seed: UInt64) async throws {
      var random = SeededRandom(seed: seed)
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        let steps = [
          ("base_backup", 0...600), ("base_backup", 300...1500), ("start_standby", 0...400),
          ("start_standby", 300...2000), ("hand_off", 0...500), ("hand_off", 300...2500), ("hand_off", 100...1500),
        ]
        for round in 0..<Self.kills {
          let (step, moments) = steps[round * steps.count / Self.kills]
          let pause = Int.random(in: moments, using: &random)
          try await scenario.killPlay(Scenario.shipped("migrate"), after: .milliseconds(pause), into: "[lab] \(step) (")
          try await scenario.applicationGoesOn(by: 5)
        }
        try await scenario.play("migrate")
        try await expectMigrated(scenario, kept: 1)
      }
    }

    /// A migration is ended behind its cutover, or given up before it. Killed at its steps and at random moments, the end
    /// goes on where it was, and what is left on both servers is what an undisturbed one leaves.
    @Test(.enabled(if: kills > 0), arguments: [true, false]) func finishes(cutOver: Bool) async throws {
      var random = SeededRandom(seed: 20_261_127)
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let source = try await Catalogs(scenario, .source, scenario.source)
        let target = try await Catalogs(scenario, .target, scenario.target)
        try await scenario.play("migrate")
        if cutOver { try await scenario.play("cutover") }
        let serving = cutOver ? scenario.target : scenario.source
        let finish =
          cutOver
          ? Scenario.shipped("finish")
          : try scenario.playbook("finish") { $0.replacing("old_data: keep", with: "old_data: remove") }
        for words in Self.finish {
          // First in its middle, somewhere: once it is over, no run says that it begins.
          for _ in 0..<Self.kills / Self.finish.count {
            let pause = Int.random(in: 0...300, using: &random)
            try await scenario.killPlay(finish, after: .milliseconds(pause), into: words)
            try await scenario.applicationGoesOn(on: serving)
          }
        }
        try await scenario.play(finish)
        #expect(try await Catalogs(scenario, .source, scenario.source).sansFiles == source.sansFiles)
        let now = try await Catalogs(scenario, .target, scenario.target)
        #expect(now.own == target.own)
        #expect(now.replication == [])
        let beside = now.files.filter { $0.hasPrefix("data.pgconvoy") && !$0.hasSuffix(".log") }
        #expect(beside.count == (cutOver ? 1 : 0), "\(now.files)")
        #expect(now.schemas == (cutOver ? source : target).schemas)
        #expect(try await scenario.status().migrations.map(\.state) == [.finished])
        try await scenario.applicationGoesOn(on: serving)
      }
    }

    // MARK: pieces

    private func expectMigrated(_ scenario: Scenario, kept: Int) async throws {
      try await scenario.application("stop")
      try await scenario.drained()
      try await scenario.expectIdentical()
      try await scenario.expectAcknowledgedOnTarget()
      #expect(
        try await scenario.sql(
          .source, "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical' OR NOT active"
        ).isEmpty)
      let beside = directoryEntries(scenario.target.postgresDirectory).filter { $0.hasPrefix("data.pgconvoy") }
      #expect(beside.count == kept && beside.allSatisfy { $0.hasPrefix("data.pgconvoy-old-") }, "\(beside)")
    }

    /// The journal says of every step that a killed play had in hand that it was interrupted, and leaves none open.
    private func expectStepsClosed(_ scenario: Scenario) async throws {
      let directory = scenario.lab.inventoryFile.split(separator: "/").dropLast().joined(separator: "/")
      let journal = try await Journal.open(stateDirectory: StateDirectory(path: "/\(directory)/.pgconvoy"))
      let steps = try await journal.perform { file throws(ConvoyError) in try file.steps() }
      #expect(steps.filter { $0.ended == nil || $0.outcome == nil } == [])
      // It was killed in the middle of this one.
      #expect(steps.contains { $0.name == "hand_off" && $0.outcome == .interrupted })
      #expect(steps.contains { $0.name == "base_backup" && $0.outcome == .alreadyDone })
    }

    /// The copy goes, also while its server is down; there is no old data to put back.
    private func giveUp(_ scenario: Scenario) async throws {
      try await scenario.control(scenario.target, "stop", "-m", "fast")
      let finish = try await scenario.play("finish")
      #expect(finish.text.contains("the target's old data is gone"), "\(finish.text)")
      let left = directoryEntries(scenario.target.postgresDirectory)
      #expect(left.contains("data.pgconvoy-copy") && !left.contains("data"))
    }

    private func killCutovers(_ scenario: Scenario) async throws {
      try await scenario.application("start")
      try await scenario.applicationGoesOn()
      let cutover = try scenario.cutoverWithoutServices()
      for words in Self.cutover { try await scenario.killPlay(cutover, at: words) }
      try await scenario.play(cutover)
      try await scenario.expectIdentical(sequences: true)
      try await scenario.expectAcknowledgedOnTarget()
      try await scenario.play("cutover")
      try await scenario.applicationGoesOn(on: scenario.target)
    }

    /// The source seems larger than what is free, by half of what the target's old data takes up: by a file that takes no
    /// room, in a directory that no base backup copies.
    func leaveNoRoomForBoth(_ scenario: Scenario) throws {
      let ballast = 1 << 30
      let (source, target) = (scenario.source.dataDirectory, scenario.target.dataDirectory)
      try scenario.asServer(["/usr/bin/fallocate", "-l", String(ballast), target + "/ballast"])
      let free = try scenario.asServer(["/usr/bin/df", "--output=avail", "-B1", target]).split(separator: "\n").last
      let bytes = try #require(free.flatMap { Int($0.drop { $0 == " " }) })
      try scenario.asServer(["/usr/bin/mkdir", "-p", source + "/base/pgsql_tmp"])
      let size = String((bytes + ballast / 2) * 10 / 11)
      try scenario.asServer(["/usr/bin/truncate", "-s", size, source + "/base/pgsql_tmp/pgsql_tmp0.0"])
    }

    /// pgconvoy and the first of pg_basebackup's two processes are killed. The other one streams WAL, does not notice,
    /// and holds the slot for as long as its connection lives.
    private func killBaseBackupItself(_ scenario: Scenario) async throws {
      let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
      let inUse = "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND active"
      try await eventually("the copy's WAL is streamed") { try await scenario.value(.source, inUse) == "1" }
      let processes = scenario.baseBackups(to: scenario.target)
      play.signal(SIGKILL)
      #expect(processes.count == 2, "pg_basebackup ended before its turn")
      if let first = processes.min() { Glibc.kill(first, SIGKILL) }
      _ = try await play.result()
      #expect(try await scenario.value(.source, inUse) == "1")
    }
  }
}
