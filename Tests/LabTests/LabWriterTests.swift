import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import Synchronization
import TestSupport
import Testing

struct LabWriterTests {
  /// The application keeps its promise through a crash of the server: what was acknowledged is there.
  @Test func writerSurvivesACrashOfTheServer() async throws {
    try await withLabGoneAfterwards(["opscode_chef", "bifrost", "oc_id", "bookshelf", "general"], rate: 1) { lab in
      let source = try #require(lab.source)
      let log = lab.directory + "/writer.tsv"
      let options = LabWriterOptions(
        uri: try #require(try lab.environment()["LAB_SOURCE_APP_URI"]), databases: lab.databases, connections: 3,
        rate: 0, acknowledgedLog: log)
      let stop = WakeUp()
      let lines = Mutex<[String]>([])
      async let writing = onDedicatedThread("lab-test") {
        try runLabWriter(options, stop: stop) { line in lines.withLock { $0.append(line) } }
      }
      func acknowledged() -> Int { (readBytes(log) ?? []).count { $0 == UInt8(ascii: "\n") } }
      #expect(waitUntil(.after(.seconds(20))) { acknowledged() > 1500 })
      let account = try Prerequisites.postgresAccount()
      try Program.check(
        [
          lab.pgBin + "/pg_ctl", "restart", "-s", "-m", "immediate", "-D", source.dataDirectory, "-l",
          source.postgresLog,
        ], as: account)
      let before = acknowledged()
      #expect(waitUntil(.after(.seconds(20))) { acknowledged() > before + 500 })
      stop.signal()
      let counts = try await writing
      #expect(counts.committed == acknowledged())
      #expect(counts.failed * 100 <= counts.committed, "\(lines.withLock { $0 })")
      #expect(lines.withLock { $0.contains("general: connected again") })

      var missing: [String: Set<String>] = [:]
      let tokens = try acknowledgedTokens(log)
      for database in lab.databases {
        let lost = try tokens[database, default: []].subtracting(lab.ledger("LAB_SOURCE_URI", database: database))
        if !lost.isEmpty { missing[database] = lost }
      }
      #expect(missing == [:])
    }
  }

  @Test func writerSaysOnceThatNobodyIsThere() async throws {
    let stop = WakeUp()
    let lines = Mutex<[String]>([])
    async let writing = onDedicatedThread("lab-test") {
      // Port 1 of an address that no lab uses.
      try runLabWriter(
        LabWriterOptions(uri: "postgresql://app:secret@127.0.2.1:1", databases: ["x"], connections: 1), stop: stop
      ) { line in lines.withLock { $0.append(line) } }
    }
    #expect(waitUntil(.after(.seconds(10))) { lines.withLock { !$0.isEmpty } })
    stop.signal()
    #expect(try await writing == LabWriterCounts())
    #expect(lines.withLock { $0.count } == 1)
    #expect(lines.withLock { $0.first?.hasSuffix("trying again") } == true)
    #expect(lines.withLock { $0.first?.contains("secret") } == false)
  }

  @Test(arguments: [
    "", "postgresql://", "postgres://a:b@c:1", "postgresql://a@c:1", "postgresql://a:b@c", "postgresql://a:b@c:0",
    "postgresql://a:b@c:99999", "postgresql://a:b@c:1/db", "postgresql://a:b:c@d:1",
  ])
  func aURIThatIsNotTheLabsIsRefused(text: String) {
    #expect(
      throws: ConvoyError(
        "lab.uri", "the address is not of the form postgresql://user:password@address:port", kind: .usage)
    ) {
      try LabURI(text)
    }
  }
}
