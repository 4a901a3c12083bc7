import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A target whose configuration lies outside its data directory, as Debian has it: the copy and the old server share it.
  @Suite struct ConfigurationElsewhere {
    @Test func staysWhereItIsAndIsOpenAgainWhateverHappens() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let etc = try await moveConfiguration(scenario)
        let before = try readText(etc + "/pg_hba.conf")

        // A copy that does not start: the old server is back, and everybody gets in.
        try await scenario.play(try scenario.playbook(steps: ["preflight", "base_backup"]))
        unlink(scenario.target.dataDirectory + ".pgconvoy-copy/global/pg_control")
        let failed = try await scenario.play("migrate", expecting: 1)
        #expect(failed.text.contains("[host.postgres-start-failed]"), "\(failed.text)")
        #expect(try readText(etc + "/pg_hba.conf") == before)
        #expect(try await scenario.refusal(.targetApp) == nil)
        #expect(try await scenario.sql(.target, "SELECT FROM pg_database WHERE datname = 'alpha'").isEmpty)

        // Ctrl-C behind the old server's stop.
        let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
        #expect(try await play.says("start_standby: stopping the target's old server"))
        play.signal(SIGINT)
        let interrupted = try await play.result()
        #expect(interrupted.status == 3, "\(interrupted.text)")
        #expect(try readText(etc + "/pg_hba.conf") == before)
        #expect(try await scenario.refusal(.targetApp) == nil)

        // Removed by hand, the copy is made anew.
        try scenario.asServer(["/usr/bin/rm", "-rf", scenario.target.dataDirectory + ".pgconvoy-copy"])
        let announced = try await scenario.start("play", Scenario.shipped("migrate"), "--check").result()
        #expect(announced.output.contains(etc + "/pg_hba.conf"), "\(announced.text)")
        try await scenario.play("migrate")
        #expect(try await scenario.value(.target, "SHOW config_file") == etc + "/postgresql.conf")
        #expect(try readText(etc + "/pg_hba.conf") != before)
        #expect(try await scenario.refusal(.targetApp) != nil)

        // Given up.
        let check = try await scenario.start("play", Scenario.shipped("finish"), "--check").result()
        #expect(check.output.contains(etc + "/pg_hba.conf"), "\(check.text)")
        try await scenario.play("finish")
        #expect(try readText(etc + "/pg_hba.conf") == before)
        #expect(try await scenario.refusal(.targetApp) == nil)

        // And for good.
        try await scenario.play("migrate")
        try await scenario.play("cutover")
        try await scenario.applicationGoesOn(on: scenario.target)
        #expect(try readText(etc + "/pg_hba.conf") == before)
        #expect(try await scenario.value(.target, "SHOW work_mem") == "7MB")
        // What stands behind a cutover is not what a migration stops, or starts.
        let again = try await scenario.play("quiesced-migrate")
        #expect(!again.text.contains("stopping") && !again.text.contains("starting"), "\(again.text)")
        #expect(try scenario.service("app", on: scenario.target) == "run")
        #expect(try scenario.service("app", on: scenario.source) == "down")
        try await scenario.play("finish")
        try await scenario.applicationGoesOn(on: scenario.target)
      }
    }

    /// Moves the target's configuration away from its data; returns where it is.
    private func moveConfiguration(_ scenario: Scenario) async throws -> String {
      let target = scenario.target
      let etc = target.postgresDirectory + "/etc"
      try await scenario.control(target, "stop", "-m", "fast")
      try scenario.asServer(
        [
          "/bin/sh", "-c",
          """
          set -e; mkdir "$2"; cd "$1"; mv postgresql.conf pg_hba.conf pg_ident.conf conf.d "$2"
          printf "%s = '%s'\\n" data_directory "$1" hba_file "$2/pg_hba.conf" ident_file "$2/pg_ident.conf" \
            >> "$2/postgresql.conf"
          """, "sh", target.dataDirectory, etc,
        ])
      let file = etc + "/postgresql.conf"
      try await scenario.control(
        target, "start", "-t", "60", "-l", target.postgresLog, "-o", "-c config_file=\(file)")
      let inventory = try readText(scenario.lab.inventoryFile)
      let line = "      data_directory: \"\(target.dataDirectory)\"\n"
      try #require(inventory.contains(line))
      // With a slash at its end, as people write it.
      try writeFile(
        scenario.lab.inventoryFile,
        inventory.replacing(
          line, with: "      data_directory: \"\(target.dataDirectory)/\"\n      config_file: \"\(file)\"\n"))
      return etc
    }
  }
}
