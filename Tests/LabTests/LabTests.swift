import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@Suite(.serialized)
struct LabTests {
  @Test func aLabIsTwoHostsThatWorkAndLeavesNothingBehind() async throws {
    try await withLabGoneAfterwards(nil) { lab in
      let source = try #require(lab.source)
      let target = try #require(lab.target)
      #expect(source.address != target.address)

      let status = try await Lab.status(directory: lab.directory)
      #expect(status.isComplete)
      let states = status.hosts.map { $0.components.map { "\($0.name) \($0.state)" } }
      #expect(
        states == [
          ["sshd running", "postgresql ready", "web run", "app run"],
          ["sshd running", "postgresql ready", "web down", "app down"],
        ])

      for (variable, role) in [
        ("SOURCE", "pgconvoy"), ("SOURCE_APP", "app"), ("TARGET", "pgconvoy"), ("TARGET_APP", "app"),
      ] {
        let answer = try lab.connect("LAB_\(variable)_URI", database: "postgres").query(
          "SELECT current_user, current_setting('is_superuser'), current_setting('cluster_name'), ssl FROM pg_stat_ssl"
            + " WHERE pid = pg_backend_pid()")
        let cluster = variable.hasPrefix("SOURCE") ? "lab-source" : "lab-target"
        #expect((0..<4).map { answer.text(0, $0) } == [role, "on", cluster, "t"])
      }
      let settings = try lab.connect("LAB_SOURCE_URI", database: "postgres").query(
        "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('wal_level',"
          + " 'fsync', 'max_wal_senders', 'max_replication_slots', 'max_prepared_transactions')")
      #expect(
        settings.first
          == "fsync=on max_prepared_transactions=10 max_replication_slots=60 max_wal_senders=60 wal_level=logical")
      let workMemory = try lab.connect("LAB_TARGET_URI", database: "postgres").query("SHOW work_mem")
      #expect(workMemory.first == "7MB")

      try expectFilesWork(lab)
      try expectLoginWorks(lab)
      try expectTablesCanBeReplicated(lab)
      try await expectLedgerMatchesAcknowledgedLog(lab)
    }
  }

  private func expectFilesWork(_ lab: LabDescription) throws {
    let shell = try Program.run(
      ["/bin/sh", "-c", ". \(lab.environmentFile); echo \"$LAB_SOURCE_URI/bifrost\""]
    ).output
    #expect(shell == (try lab.environment()["LAB_SOURCE_URI"] ?? "") + "/bifrost\n")
    var info = stat()
    for path in [lab.environmentFile, lab.passfile, lab.identityFile] {
      #expect(stat(path, &info) == 0 && info.st_mode & 0o777 == 0o600)
    }
    for host in lab.hosts {
      for isReplication in [false, true] {
        let parameters = ConnectionParameters(
          host: host.address, port: host.postgresPort, user: "pgconvoy", database: "postgres", passfile: lab.passfile,
          isReplication: isReplication)
        #expect(throws: Never.self) { try PostgresConnection.connect(parameters).script("SELECT 1") }
      }
    }
  }

  private func expectLoginWorks(_ lab: LabDescription) throws {
    for host in lab.hosts {
      #expect(
        try lab.ssh(host, "cat \"$PGCONVOY_LAB_HOST/version-manifest.txt\" | head -1").output == "lab-server 1.0.0\n")
      // As a migration works there: as PostgreSQL's user, through the socket, beside the data directory.
      let sql = "SELECT current_user || current_setting('cluster_name')"
      let command = """
        cd / && touch \(host.postgresDirectory)/probe && rm \(host.postgresDirectory)/probe &&
        \(lab.pgBin)/psql -h \(host.socketDirectory) -p \(host.postgresPort) -U postgres -Atc "\(sql)"
        """
      let asPostgres = geteuid() == 0 ? "runuser -u \(lab.osUser) -- sh -c \(shellQuoted(command))" : command
      #expect(try lab.ssh(host, asPostgres).output == "postgres\(host.name)\n")
      #expect(
        try lab.ssh(host, "sv status \(host.serviceDirectory)/app").output.hasPrefix(
          host.name == LabDescription.sourceName ? "run: " : "down: "))
    }
  }

  /// Every ordinary table has a replica identity.
  private func expectTablesCanBeReplicated(_ lab: LabDescription) throws {
    for database in lab.databases {
      let without = try lab.connect("LAB_SOURCE_URI", database: database).query(
        """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema') AND relreplident <> 'f'
          AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid
            AND (relreplident = 'd' AND indisprimary OR relreplident = 'i' AND indisreplident))
        """)
      #expect(without.rows.map { $0.string(0) } == [], "\(database)")
    }
  }

  private func expectLedgerMatchesAcknowledgedLog(_ lab: LabDescription) async throws {
    let source = try #require(lab.source)
    let wrote = try waitUntil(.after(.seconds(10))) { try lab.acknowledged().count == lab.databases.count }
    #expect(wrote)
    // The service gets SIGTERM, and finishes the transactions in hand.
    try Program.check(["/usr/bin/sv", "-w", "15", "stop", source.serviceDirectory + "/app"])
    let acknowledged = try lab.acknowledged()
    for database in lab.databases {
      #expect(try lab.ledger("LAB_SOURCE_URI", database: database) == acknowledged[database])
    }
    let log = try readText(source.logDirectory + "/app.log")
    #expect(log.contains("stopped: ") && log.contains(" 0 failed, 0 unknown"), "\(log)")
    #expect(try readText(source.logDirectory + "/web.log").contains(" transactions\n"))
  }

  @Test func labsRunSideBySideWithAnyDatabaseName() async throws {
    try await withLabGoneAfterwards(["a b", "q\"x'\\y", "é%s"]) { first in
      await #expect(throws: ConvoyError.self) {
        try await Lab.up(LabOptions(directory: first.directory, program: builtProgram("LabProgram")))
      }
      try await withLabGoneAfterwards { second in
        #expect(Set(first.hosts.map(\.address)).isDisjoint(with: second.hosts.map(\.address)))
        let tokens = try second.ledger("LAB_SOURCE_APP_URI", database: "general")
        #expect(tokens.isDisjoint(with: try first.ledger("LAB_SOURCE_APP_URI", database: "a b")))
      }
      for database in first.databases {
        let name = try first.connect("LAB_SOURCE_URI", database: database).query("SELECT current_database()")
        #expect(name.first == database)
      }
      let status = try await Lab.status(directory: first.directory)
      #expect(status.hosts.flatMap(\.components).filter { $0.pid == nil }.map(\.name) == ["web", "app"])
    }
  }

  /// What a migration and an accident leave: a data directory replaced by a copy, the old one moved aside, a server
  /// that somebody else restarted, another that was killed, services started on the target.
  @Test func downEndsALabThatWasChanged() async throws {
    try await withLabGoneAfterwards { lab in
      let source = try #require(lab.source)
      let target = try #require(lab.target)
      let asPostgres = geteuid() == 0 ? "cd /; exec runuser -u postgres --" : "exec"
      let commands = [
        "\(asPostgres) \(lab.pgBin)/pg_ctl stop -s -m fast -D \(target.dataDirectory)",
        "mv \(target.dataDirectory) \(target.postgresDirectory)/data.old",
        "\(asPostgres) env PGPASSFILE=\(target.postgresDirectory)/passfile \(lab.pgBin)/pg_basebackup -c fast -D "
          + "\(target.dataDirectory) -h \(source.address) -p \(source.postgresPort) -U pgconvoy",
        "cp -a \(target.postgresDirectory)/data.old/*.conf \(target.postgresDirectory)/data.old/conf.d "
          + target.dataDirectory,
        "\(asPostgres) env -i \(lab.pgBin)/pg_ctl start -s -D \(target.dataDirectory) -l \(target.postgresLog)",
        "sv up \(target.serviceDirectory)/app",
      ]
      let account = try Prerequisites.postgresAccount()
      try writeFile(target.postgresDirectory + "/passfile", try readText(lab.passfile), mode: 0o600, owner: account)
      for command in commands {
        let result = try lab.ssh(target, command)
        #expect(result.status == 0, "\(command): \(result.output)")
      }
      let file = try #require(PostmasterFile(dataDirectory: source.dataDirectory))
      kill(file.pid, SIGKILL)
      let supervisor = try #require(try pid_t(readText(source.directory + "/runsvdir.pid").dropLast()))
      kill(supervisor, SIGKILL)
      try await Lab.down(directory: lab.directory)
      #expect(!(try readText("/proc/sysvipc/shm")).contains(" \(file.pid) "))
    }
  }

  @Test(arguments: ["making keys", "starting sshd", "filling 1 database", "starting the services"])
  func aKilledStartIsRepeatedOrCleared(step: String) async throws {
    let directory = temporaryPath("lab")
    try await endingLab(in: directory) {
      let up = try Program([builtProgram("LabProgram"), "up", "--dir", directory, "--databases", "general"])
      #expect(try await up.says(step, within: .seconds(30)))
      up.signal(SIGKILL)
      #expect(try await up.result().status == 128 + SIGKILL)
      let killed = try Lab.describe(directory: directory)
      #expect(killed.phase == .starting)

      if step != "starting sshd" {
        let lab = try await Lab.up(
          LabOptions(directory: directory, databases: ["general"], program: builtProgram("LabProgram")))
        #expect(lab.id != killed.id && lab.phase == .up)
        let status = try await Lab.status(directory: directory)
        #expect(status.hosts.flatMap(\.components).filter { $0.pid == nil }.count == 2)
        try await Lab.down(directory: directory)
        expectNothingLeft(of: lab)
      } else {
        try await Lab.down(directory: directory)
      }
      expectNothingLeft(of: killed)
    }
  }

  @Test(.enabled(if: geteuid() == 0 && Account.named("postgres") != nil))
  func anOrdinaryUserHasLabsToo() async throws {
    let user = try #require(Account.named("postgres"))
    let parent = try TemporaryDirectory("lab-tests", owner: user)
    // The build directory may be closed to that user.
    let program = parent.path + "/LabProgram"
    try Program.check(["/bin/cp", builtProgram("LabProgram"), program])
    let directory = parent.path + "/lab"
    try await endingLab(in: directory) {
      try Program.check([program, "up", "--dir", directory, "--databases", "general"], as: user)
      let lab = try Lab.describe(directory: directory)
      #expect(lab.osUser == "postgres" && lab.sshUser == "postgres")
      let owners = Set(
        ProcessTable.snapshot().processes(of: lab).map { entry -> uid_t in
          var info = stat()
          return stat("/proc/\(entry.pid)", &info) == 0 ? info.st_uid : user.uid
        })
      // (sshd and its kind hide their owner behind root.)
      #expect(owners.isSubset(of: [0, user.uid]))
      let login = try Program.run(
        [
          "/usr/bin/ssh", "-F", "none", "-i", lab.identityFile, "-o", "UserKnownHostsFile=\(lab.knownHosts)", "-o",
          "BatchMode=yes",
          "-p", "10022", "postgres@\(try #require(lab.target).address)", "id -un",
        ], as: user)
      #expect(login.output == "postgres\n")
      #expect(waitUntil(.after(.seconds(10))) { fileExists(lab.acknowledgedLog(host: "lab-source")) })
      try Program.check([program, "down", "--dir", directory], as: user)
      expectNothingLeft(of: lab)
    }
  }

  @Test func storageMovesWhereThePathCannotHoldIt() async throws {
    let parent = try TemporaryDirectory("lab-tests")
    // Closed to PostgreSQL's user when root runs this, and too long for a socket in any case.
    let directory = parent.path + "/it's \"long\" " + String(repeating: "x", count: 60)
    try await endingLab(in: directory) {
      let lab = try await Lab.up(
        LabOptions(directory: directory, databases: ["general"], program: builtProgram("LabProgram")))
      #expect(lab.storage == "/var/tmp/pgconvoy-lab-\(lab.id)")
      #expect(waitUntil(.after(.seconds(10))) { fileExists(lab.acknowledgedLog(host: "lab-source")) })
      try await Lab.down(directory: directory)
      expectNothingLeft(of: lab)
    }
  }
}
