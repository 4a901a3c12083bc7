import Glibc
import Inventory
import MigrationFixtures
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import HostAdmin
@testable import MigrationCore

/// The fence on a real server: by who is refused.
@Suite struct FenceServerTests {
  private static let records = "local all all trust\nhost all all 127.0.0.1/32 trust\n"

  /// Neither a configuration with an error nor a pg_hba.conf with one keeps a fence from being lifted, as far as the server
  /// goes along.
  @Test func whatIsBrokenKeepsNoFenceUp() async throws {
    try await Cluster.with(.init(hostBasedAuthentication: Self.records)) { cluster in
      _ = try cluster.connect().script(
        "CREATE ROLE app LOGIN SUPERUSER")
      let state = try TemporaryDirectory("fence")
      let context = try await context(cluster, state)
      try await doing {
        try addLine("no_such_setting = on", to: cluster.dataDirectory + "/postgresql.conf", cluster)
        let fence = Fence(context: context, side: .source)
        let performer = DeedPerformer(context, step: "fence")
        try await performer.perform(fence.raising(deadline: .seconds(20)))
        #expect(refusal(cluster, "app") == .invalidAuthorization)
        let proof = try #require(try await fence.text(context.session(.source)).proof)
        #expect(try await fence.isRefused(proof) == true)
        #expect(try await fence.isRefused("no_such_database") == false)

        // The server keeps the rules that it has, and all else is open again.
        try addLine("host all all 10.0.0.0/33 trust", to: cluster.dataDirectory + "/pg_hba.conf", cluster)
        let error = await #expect(throws: ConvoyError.self) { try await performer.perform(fence.lifting()) }
        #expect(error?.code == "fence.broken-hba")
        let isUp = try await fence.isUp()
        let closed = try await fence.limits.closed()
        #expect(!isUp && closed == [])
        #expect(try await fence.hasTraces())
        #expect(refusal(cluster, "app") == .invalidAuthorization)

        try Program.check(["sed", "-i", "/10.0.0.0/d", cluster.dataDirectory + "/pg_hba.conf"])
        try await performer.perform(fence.lifting())
        #expect(refusal(cluster, "app") == nil)
        #expect(try await fence.hasTraces() == false)

        // One that was never loaded: the old rules are those of before.
        try addLine("host all all 10.0.0.0/33 trust", to: cluster.dataDirectory + "/pg_hba.conf", cluster)
        let broken = await #expect(throws: ConvoyError.self) {
          try await performer.perform(fence.raising(deadline: .seconds(20)))
        }
        #expect(broken?.code == "fence.broken-hba")
        try await performer.perform(fence.lifting())
        #expect(refusal(cluster, "app") == nil)
        let settings = await #expect(throws: ConvoyError.self) { try await fence.refuseUnfit("step") }
        #expect(settings?.code == "fence.broken-settings" && settings?.message.contains("no_such_setting") == true)
      } finally: {
        await context.close()
      }
    }
  }

  /// Whatever the file says: under the fence our own role is let in, or not, by the same method as before, and nobody else
  /// is.
  @Test func ownRoleIsLetInAsBefore() async throws {
    try await Cluster.with(.init(hostBasedAuthentication: Self.records)) { cluster in
      _ = try cluster.connect().script(
        """
        CREATE ROLE team; CREATE ROLE staff; CREATE ROLE own LOGIN SUPERUSER PASSWORD 'x'; CREATE ROLE squad ROLE own;
        GRANT team TO squad; CREATE ROLE app LOGIN SUPERUSER IN ROLE staff;
        """)
      _ = try cluster.connect().script("CREATE DATABASE \"b c\"")
      let hba = cluster.dataDirectory + "/pg_hba.conf"
      let session = try await PostgresSession.connect(cluster.parameters())
      let role = try await HBARole.ask("own", session)
      #expect(role.groups == ["own", "squad", "team"])
      await session.close()
      var random = SeededRandom(seed: 5)
      let users = [
        "own", "all", "+team", "+staff", "\"+team\"", "app", "app,own", "\"all\"", "+squad , app", "+own", "@list",
      ]
      let databases = ["all", "postgres", "\"b c\"", "template1, postgres", "sameuser", "samerole"]
      let methods = ["trust", "reject", "scram-sha-256", "ident", "password"]
      try Program.check([
        "/bin/sh", "-c", "printf '# names\\napp \"own\"\\n' >\"$1/list\"", "sh", cluster.dataDirectory,
      ])
      var compared = 0
      for _ in 0..<30 {
        let lines = (0..<5).map { _ in
          let address = ["all", "127.0.0.1/32", "10.0.0.0/8"].randomElement(using: &random) ?? ""
          return [
            "host", databases.randomElement(using: &random) ?? "", users.randomElement(using: &random) ?? "", address,
            methods.randomElement(using: &random) ?? "",
          ].joined(separator: " ")
        }
        let text = "# Pr\u{10FEFC}fung\r\n" + lines.joined(separator: "\r\n")
        var facing = role
        facing.files.texts[cluster.dataDirectory + "/list"] = "# names\napp \"own\"\n"
        guard let fenced = try? HostBasedAuthentication(text, path: hba).fenced(for: facing, note: "n") else {
          continue
        }
        try load(text, hba, cluster)
        let before = ["postgres", "b c", "template1"].map { refused(cluster, "own", $0) }
        try load(fenced.text, hba, cluster)
        #expect(["postgres", "b c", "template1"].map { refused(cluster, "own", $0) } == before, "\(text)")
        #expect(
          refusal(cluster, "app") == .invalidAuthorization && refusal(cluster, "postgres") == .invalidAuthorization)
        compared += 1
      }
      #expect(compared > 10)
    }
  }

  /// What a copy keeps of a target: what links lead to as well, and the file itself, not the link, takes the block.
  @Test func configurationBehindLinks() async throws {
    try await Cluster.with { cluster in
      let (data, outside) = (cluster.dataDirectory, cluster.directory + "/outside")
      try Program.check([
        "/bin/sh", "-c",
        """
        set -e; cd "$1"; mkdir conf "$2"; mv pg_hba.conf conf/real.hba; ln -s "$1/conf/real.hba" conf/hba
        ln -s conf/hba pg_hba.conf; mv pg_ident.conf "$2"; ln -s "$2/pg_ident.conf" pg_ident.conf
        printf "log_directory = 'logs/here'\nunix_socket_directories = 'run, /tmp'\ninclude 'extra.conf'\n" >>postgresql.conf
        : >conf/extra.conf; ln -s conf/extra.conf extra.conf; chown -R --reference=PG_VERSION conf "$2"
        """, "sh", data, outside,
      ])
      let state = try TemporaryDirectory("links")
      let context = try await context(cluster, state)
      try await doing {
        let server = try await context.server(.source)
        let files = try #require(try await ConfigurationFiles.find(server))
        #expect(
          files.inside == [
            "conf/extra.conf", "conf/hba", "conf/real.hba", "extra.conf", "pg_hba.conf", "pg_ident.conf",
            "postgresql.conf",
          ])
        #expect(files.hba == "conf/real.hba" && files.directories == ["logs/here", "run"])
        try Program.check([
          "/bin/sh", "-c", "mv \"$1/conf/real.hba\" \"$2\" && ln -s \"$2/real.hba\" \"$1/conf/real.hba\"", "sh", data,
          outside,
        ])
        #expect(try await ConfigurationFiles.find(server)?.hba == outside + "/real.hba")
      } finally: {
        await context.close()
      }
    }
  }

  private func load(_ text: String, _ hba: String, _ cluster: Cluster) throws {
    let file = try #require(fopen(hba, "w"))
    let bytes = ByteText.bytes(text)
    #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count && fclose(file) == 0)
    let pid = try Program.check(["head", "-n", "1", cluster.dataDirectory + "/postmaster.pid"])
    try Program.check(["kill", "-HUP", pid.filter(\.isNumber)])
  }

  private func context(_ cluster: Cluster, _ state: TemporaryDirectory) async throws -> MigrationContext {
    let owner = try Program.check(["stat", "-c", "%U", cluster.dataDirectory]).filter { !$0.isNewline }
    let migration = try migration(
      in: """
        hosts:
          old:
            local: true
            postgres:
              address: 127.0.0.1
              port: \(cluster.port)
              user: postgres
              os_user: \(owner)
              data_directory: \(cluster.dataDirectory)
              bin_directory: \(cluster.options.binDirectory)
          new: { local: true, postgres: { port: 1 } }
        migrations:
          one: { source: old, target: new }
        """)
    return try await migrationContext(migration, state: state.path)
  }

  private func addLine(_ line: String, to path: String, _ cluster: Cluster) throws {
    try Program.check(["/bin/sh", "-c", "echo \"$1\" >>\"$2\"", "sh", line, path])
  }

  /// The error's words without the connection that it is about; nil when there is none.
  private func refused(_ cluster: Cluster, _ user: String, _ database: String) -> String? {
    do {
      try cluster.connect(database, user: user).close()
      return nil
    } catch let error as PostgresError {
      // Whether for want of a record or by one that rejects.
      if error.message.contains("pg_hba.conf") { return "pg_hba.conf" }
      return String(error.message.prefix { $0 != "\"" })
    } catch {
      return "\(error)"
    }
  }

  private func refusal(_ cluster: Cluster, _ user: String) -> SQLState? {
    do {
      try cluster.connect(user: user).close()
      return nil
    } catch {
      return (error as? PostgresError)?.sqlState
    }
  }
}
