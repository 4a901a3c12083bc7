import Glibc
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A copy that is not in one piece: tablespaces and WAL go to places of their own on the target, slowly and compressed,
  /// and the target's configuration is in several files.
  @Suite(.serialized) struct CopyElsewhere {
    @Test func placesThatAKilledCopyHasFilledAreItsOwn() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let places = Places(scenario)
        try await places.make()
        let kept = try await keepFilesApart(scenario)
        try inventory(scenario, "max_rate: 4MB", places)
        let check = try await scenario.start("check").result()
        #expect(check.status == 0, "\(check.text)")

        let play = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
        try await eventually("the tablespace begins to be copied") { !directoryEntries(places.target).isEmpty }
        play.signal(SIGKILL)
        _ = try await play.result()
        #expect(try await scenario.value(.target, "SHOW data_directory") == scenario.target.dataDirectory)

        // One that fails by itself takes away what it has filled, and the target serves on.
        let failing = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
        #expect(try await failing.says("base_backup: base backup"))
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_basebackup"
        #expect(try await scenario.value(.source, end) == "t")
        let failed = try await failing.result()
        #expect(failed.status == 1 && failed.text.contains("base_backup: failed"), "\(failed.text)")
        #expect(directoryEntries(places.target).isEmpty && directoryEntries(places.wal).isEmpty)
        #expect(try await scenario.value(.target, "SHOW data_directory") == scenario.target.dataDirectory)

        // Killed again: what that has left is no obstacle, and what a run would take away is announced.
        let killed = try scenario.start("play", Scenario.shipped("migrate"), "--yes")
        try await eventually("the tablespace begins to be copied") { !directoryEntries(places.target).isEmpty }
        killed.signal(SIGKILL)
        _ = try await killed.result()
        try inventory(scenario, "max_rate: 200MB", places)
        let announced = try await scenario.start("play", Scenario.shipped("migrate"), "--check").result()
        #expect(announced.status == 0 && announced.text.contains(places.target), "\(announced.text)")
        try await scenario.play("migrate")
        try await expectInPlace(scenario, places)
        for file in kept { #expect(try file.isAsBefore(), "\(file.path)") }
        try await scenario.application("stop")
        try await scenario.drained()
        try await scenario.expectIdentical()

        // Given up, the copy goes with all that it has filled, and the target is as before.
        let finish = try scenario.playbook("finish") { text in
          text.replacing("old_data: keep", with: "old_data: remove")
        }
        let planned = try await scenario.start("play", finish, "--check").result()
        #expect(planned.output.contains("\(scenario.target.dataDirectory).pgconvoy-copy"), "\(planned.text)")
        try await scenario.play(finish)
        #expect(directoryEntries(places.target).isEmpty && directoryEntries(places.wal).isEmpty)
        #expect(!directoryEntries(scenario.target.postgresDirectory).contains { $0.hasPrefix("data.pgconvoy-copy") })
        #expect(try await scenario.value(.target, "SHOW data_directory") == scenario.target.dataDirectory)
        #expect(try await scenario.sql(.target, "SELECT FROM pg_database WHERE datname = 'alpha'").isEmpty)
        for file in kept { #expect(try file.isAsBefore(), "\(file.path)") }
      }
    }

    /// A place that somebody else has filled is not touched.
    @Test func aFilledPlaceIsRefused() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        let places = Places(scenario)
        try await places.make()
        try inventory(scenario, "max_rate: 200MB", places)
        try scenario.asServer(["/usr/bin/touch", places.target + "/somebodys"])
        let refused = try await scenario.play("migrate", expecting: 1)
        #expect(refused.text.contains("\(places.target) is not empty"), "\(refused.text)")
        let steps = try await scenario.play(try scenario.playbook(steps: ["base_backup"]), expecting: 1)
        #expect(steps.text.contains("[base-backup.place-not-empty]"), "\(steps.text)")
        #expect(directoryEntries(places.target) == ["somebodys"])
        try await scenario.applicationGoesOn()
      }
    }

    // MARK: pieces

    private struct Places {
      let scenario: Scenario
      let source: String
      let target: String
      let wal: String

      init(_ scenario: Scenario) {
        self.scenario = scenario
        source = scenario.source.postgresDirectory + "/archive"
        target = scenario.target.postgresDirectory + "/archive of the copy"
        wal = scenario.target.postgresDirectory + "/wal"
      }

      func make() async throws {
        try scenario.asServer(["/usr/bin/mkdir", source, target])
        try await scenario.script(.source, "CREATE TABLESPACE archive LOCATION '\(source)'", in: "postgres")
        try await scenario.script(
          .source,
          """
          CREATE TABLE archived (id integer PRIMARY KEY, text text) TABLESPACE archive;
          INSERT INTO archived SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) n
          """, in: "alpha")
      }
    }

    private func inventory(_ scenario: Scenario, _ rate: String, _ places: Places) throws {
      let file = scenario.lab.inventoryFile
      let lines = try readText(file).split(separator: "\n", omittingEmptySubsequences: false).filter {
        !$0.hasPrefix("    base_backup:")
      }
      try writeFile(file, lines.joined(separator: "\n"))
      try scenario.addToMigration(
        """
        base_backup: { \(rate), checkpoint: fast, compress: server-gzip, wal_directory: '\(places.wal)', \
        tablespace_mapping: { '\(places.source)': '\(places.target)' } }
        """)
    }

    private struct KeptFile {
      let path: String
      let content: String
      let mode: mode_t
      let owner: uid_t

      init(_ path: String) throws {
        var status = stat()
        try #require(stat(path, &status) == 0, "\(path)")
        self.path = path
        content = try readText(path)
        mode = status.st_mode
        owner = status.st_uid
      }

      func isAsBefore() throws -> Bool {
        let now = try KeptFile(path)
        return now.content == content && now.mode == mode && now.owner == owner
      }
    }

    /// An included file and lists of names, which no setting names, with modes of their own.
    private func keepFilesApart(_ scenario: Scenario) async throws -> [KeptFile] {
      let data = scenario.target.dataDirectory
      try scenario.asServer(
        [
          "/bin/sh", "-c",
          """
          set -e; cd "$1"; mkdir parts
          echo "log_min_messages = 'error'" > parts/own.conf; chmod 640 parts/own.conf
          echo "include 'parts/own.conf'" >> postgresql.conf
          echo '"some one" @more' > parts/people; echo another > parts/more; chmod 400 parts/people
          echo 'local nothing @parts/people reject' >> pg_hba.conf
          """, "sh", data,
        ])
      try await scenario.script(.target, "SELECT pg_reload_conf()", in: "postgres")
      return try ["parts/own.conf", "parts/people", "parts/more", "server.crt", "server.key"].map {
        try KeptFile("\(data)/\($0)")
      }
    }

    private func expectInPlace(_ scenario: Scenario, _ places: Places) async throws {
      let location = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'archive'"
      #expect(try await scenario.value(.target, location) == places.target)
      let wal = try scenario.asServer(["/usr/bin/readlink", scenario.target.dataDirectory + "/pg_wal"])
      #expect(wal.hasPrefix(places.wal))
      #expect(try await scenario.value(.target, "SHOW log_min_messages") == "error")
      let count = "SELECT count(*) FROM archived"
      #expect(try await scenario.value(.target, count, in: "alpha") == "20000")
    }
  }
}
