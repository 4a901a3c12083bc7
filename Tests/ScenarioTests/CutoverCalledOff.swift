import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A cutover that cannot be finished leaves the source serving as before, and the next one may succeed.
  @Suite(.serialized) struct CutoverCalledOff {
    @Test func leavesTheSourceServing() async throws {
      try await Scenario.run(databases: ["alpha", "bifrost"]) { scenario in
        try await scenario.script(.source, "CREATE TABLE planted (id integer PRIMARY KEY)", in: "alpha")
        let hba = try unusualPgHba(scenario)
        try await scenario.play("migrate")
        try await nobodyIsThereToAnswer(scenario)
        try await nothingIsApplied(scenario)
        try await theFilesAreBroken(scenario)
        try await theDrainDoesNotEnd(scenario)
        #expect(try bytes(scenario) == hba)
        try await aRowWasPlanted(scenario)
        try await itWasKilledBehindTheFence(scenario)
        try await itWasKilledAsTheWorkersEnded(scenario)

        try await scenario.play(try scenario.cutoverWithoutServices())
        try await scenario.expectIdentical(sequences: true)
        try await scenario.expectAcknowledgedOnTarget()
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    /// Without a terminal and without --yes nobody is held up: every question comes before the first step.
    private func nobodyIsThereToAnswer(_ scenario: Scenario) async throws {
      let result = try await scenario.start("play", Scenario.shipped("cutover")).result()
      #expect(result.status == 1 && result.text.contains("[playbook.not-confirmed]"), "\(result.text)")
      #expect(result.text.contains("writers wait: 'pgconvoy verify' beforehand says for how long"), "\(result.text)")
      #expect(!result.text.contains("(1/"), "\(result.text)")
      #expect(try scenario.service("app", on: scenario.source) == "run")
    }

    /// Status never says healthy: with a server down, and from the moment on in which the sync process is gone.
    private func nothingIsApplied(_ scenario: Scenario) async throws {
      func word(_ host: String) async throws -> Program.Result {
        try await eventually("\(host) is missed") {
          let status = try await scenario.status("alpha")
          return status.phase == .unreachable && status.lastError?.contains("refused") == true
            && status.lagSeconds ?? 0 > 0
        }
        return try await scenario.start("status", "--exit-code").result()
      }
      try await scenario.control(scenario.target, "stop", "-m", "fast")
      var told = try await word("the target")
      #expect(told.status == 1 && told.errors.contains("alpha: unreachable"), "\(told.text)")
      try await scenario.startServer(scenario.target)
      try await scenario.drained()
      try await scenario.control(scenario.source, "stop", "-m", "fast")
      told = try await word("the source")
      #expect(told.status == 1 && told.errors.contains("alpha: unreachable"), "\(told.text)")
      try await scenario.startServer(scenario.source)
      try await scenario.drained()

      _ = Glibc.kill(try await scenario.syncPID(), SIGKILL)
      try await eventually("the process's end") { try await !scenario.status().sync.running }
      #expect(try await scenario.status("alpha").phase == .stopped)
      let refused = try await scenario.play("cutover", expecting: 1)
      #expect(refused.text.contains("[cutover.no-sync]"), "\(refused.text)")
      try await scenario.play("migrate")
      try await scenario.drained()
    }

    // MARK: files

    /// A link to a file that is no UTF-8, has carriage returns and no last newline, a mode of its own, and a record of a
    /// group before that of our own role. The running server has the same rules by its old file.
    private func unusualPgHba(_ scenario: Scenario) throws -> String {
      try scenario.asServer([
        "/bin/sh", "-c",
        """
        cd "$1" && mkdir conf && {
          printf '# Pr\\374fung\\r\\n'; printf 'host all +pg_monitor all ident\\r\\n'
          sed 's/$/\\r/' pg_hba.conf; printf '# the end'
        } >conf/hba && chmod 640 conf/hba && ln -sf conf/hba pg_hba.conf
        """, "sh", scenario.source.dataDirectory,
      ])
      // The copy keeps the target's own, and what it leads to.
      try scenario.asServer([
        "/bin/sh", "-c", "cd \"$1\" && mkdir conf && mv pg_hba.conf conf/hba && ln -s \"$1/conf/hba\" pg_hba.conf",
        "sh",
        scenario.target.dataDirectory,
      ])
      return try bytes(scenario)
    }

    private func bytes(_ scenario: Scenario) throws -> String {
      try scenario.asServer([
        "/bin/sh", "-c", "cd \"$1\" && readlink pg_hba.conf && stat -c '%a %U %G' conf/hba && od -An -v -tx1 conf/hba",
        "sh",
        scenario.source.dataDirectory,
      ])
    }

    private static let unknownSetting = "no_such_setting = on"

    private func addUnknownSetting(_ host: LabHost, _ scenario: Scenario) throws {
      try scenario.asServer([
        "/bin/sh", "-c", "echo \"$1\" >>\"$2/postgresql.conf\"", "sh", Self.unknownSetting, host.dataDirectory,
      ])
    }

    private func takeUnknownSettingAway(_ host: LabHost, _ scenario: Scenario) throws {
      try scenario.asServer(["sed", "-i", "/^\(Self.unknownSetting)/d", host.dataDirectory + "/postgresql.conf"])
    }

    /// Since the copy: found before anything stops.
    private func theFilesAreBroken(_ scenario: Scenario) async throws {
      for host in [scenario.source, scenario.target] {
        try addUnknownSetting(host, scenario)
        let result = try await scenario.play("cutover", expecting: 1)
        #expect(result.text.contains("[fence.broken-settings]") && result.text.contains(Self.unknownSetting.prefix(15)))
        #expect(!result.text.contains("stop_services"), "\(result.text)")
        try takeUnknownSettingAway(host, scenario)
      }
      let hba = scenario.target.hba
      try scenario.asServer(["/bin/sh", "-c", "echo 'host all all 10.0.0.0/33 md5' >>\"$1\"", "sh", hba])
      let result = try await scenario.play("cutover", expecting: 1)
      #expect(result.text.contains("[fence.broken-hba]") && !result.text.contains("stop_services"), "\(result.text)")
      try scenario.asServer(["sed", "-i", "\\,10.0.0.0/33,d", hba])
      try await expectServing(scenario)
    }

    /// The workers are stopped (not dead: their lock, their slots and their origins stay taken) as the cutover begins. Behind
    /// the fence both configurations get an error, which keeps nothing from being undone.
    private func theDrainDoesNotEnd(_ scenario: Scenario) async throws {
      let sync = try await scenario.syncPID()
      defer { Glibc.kill(sync, SIGCONT) }
      let play = try scenario.start("play", try scenario.hasty("cutover"), "--yes")
      #expect(try await play.says("stop_services (3/"))
      Glibc.kill(sync, SIGSTOP)
      #expect(try await play.says("drain (5/"))
      #expect(try await scenario.status().migrations.first?.sourceFenced == true)
      for host in [scenario.source, scenario.target] { try addUnknownSetting(host, scenario) }
      let result = try await play.result()
      #expect(result.status == 1, "\(result.text)")
      #expect(result.text.contains("[drain.deadline]"), "\(result.text)")
      for host in [scenario.source, scenario.target] { try takeUnknownSettingAway(host, scenario) }
      try await expectServing(scenario)
      Glibc.kill(sync, SIGCONT)
      try await scenario.drained()
    }

    private func aRowWasPlanted(_ scenario: Scenario) async throws {
      try await scenario.script(.target, "INSERT INTO planted VALUES (1)", in: "alpha")
      let result = try await scenario.play("cutover", expecting: 1)
      #expect(result.text.contains("[verify.differs]"), "\(result.text)")
      #expect(result.text.contains("planted"), "\(result.text)")
      try await expectServing(scenario)
      try await scenario.script(.target, "DELETE FROM planted", in: "alpha")
    }

    /// The next run finds services and fence as the killed one left them; when it fails, it takes those back as well.
    private func itWasKilledBehindTheFence(_ scenario: Scenario) async throws {
      try await scenario.script(.target, "INSERT INTO planted VALUES (2)", in: "alpha")
      try await kill(scenario, at: "fence: changed")
      let result = try await scenario.play("cutover", expecting: 1)
      #expect(result.text.contains("fence: already done"), "\(result.text)")
      #expect(result.text.contains("[verify.differs]"), "\(result.text)")
      try await expectServing(scenario)
      try await scenario.script(.target, "DELETE FROM planted", in: "alpha")
    }

    /// In the middle of the drain; then as the workers have been told to end, which the next run needs
    /// again, and goes through.
    private func itWasKilledAsTheWorkersEnded(_ scenario: Scenario) async throws {
      try await kill(scenario, at: "drain (")
      try await kill(scenario, at: "close_forward (")
    }

    private func kill(_ scenario: Scenario, at text: String) async throws {
      let play = try scenario.start("play", try scenario.cutoverWithoutServices(), "--yes")
      #expect(try await play.says(text))
      Glibc.kill(play.pid, SIGKILL)
      #expect(try await play.result().status == 128 + SIGKILL)
    }

    private func expectServing(_ scenario: Scenario) async throws {
      #expect(try await scenario.refusal(.sourceApp) == nil)
      #expect(try await scenario.refusal(.targetApp)?.code == "postgres.hba-rejects")
      for service in ["app", "web"] {
        #expect(try scenario.service(service, on: scenario.source) == "run")
        #expect(try scenario.service(service, on: scenario.target) == "down")
      }
      try await scenario.applicationGoesOn()
      let status = try await scenario.status()
      #expect(status.migrations.map(\.state) == [.handedOff])
    }
  }
}
