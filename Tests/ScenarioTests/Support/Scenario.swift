import BlockingIO
import FoundationEssentials
import Glibc
import Lab
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// All scenarios, one after the other: each has servers of its own.
@Suite(.serialized) enum Scenarios {}

/// A lab and the real program, as a person would use the two.
struct Scenario: Sendable {
  let lab: LabDescription

  /// Where a connection goes and as whom.
  enum Role: String, Sendable {
    /// pgconvoy's own role, which gets through fence and quarantine.
    case source = "LAB_SOURCE_URI"
    case target = "LAB_TARGET_URI"
    /// An application's superuser, which they keep out.
    case sourceApp = "LAB_SOURCE_APP_URI"
    case targetApp = "LAB_TARGET_APP_URI"
  }

  /// That of the suite, where its tests share a lab.
  @TaskLocal static var shared: Scenario?

  static let program = builtProgram("pgconvoy")

  // MARK: the lab

  /// Brings a lab up with the program, and ends it whatever the body does.
  static func run(
    databases: [String]? = nil, rate: Double = 60, plugin: OutputPlugin = .testDecoding, ddl: String? = nil,
    _ body: (Scenario) async throws -> Void
  ) async throws {
    try await withLab(databases, rate: rate, program: program, by: .program) { lab in
      let scenario = Scenario(lab: lab)
      if plugin != .testDecoding { try scenario.addToMigration("plugin: \(plugin.rawValue)") }
      if let ddl { try scenario.addToMigration("ddl: \(ddl)") }
      try makeDirectory(scenario.workDirectory, mode: 0o700)
      try await body(scenario)
    }
  }

  var workDirectory: String { lab.directory + "/test" }
  var source: LabHost { lab.hosts[0] }
  var target: LabHost { lab.hosts[1] }
  /// Those of the lab, and the one that every cluster has.
  var databases: [String] { lab.databases + ["postgres"] }

  // MARK: the program

  func start(_ arguments: String...) throws -> Program { try start(arguments) }

  func start(_ arguments: [String]) throws -> Program {
    try Program([Self.program] + arguments + ["-i", lab.inventoryFile])
  }

  /// The path of a shipped playbook.
  static func shipped(_ name: String) -> String { "\(repositoryRoot)/playbooks/\(name).yml" }

  /// A playbook of the test's own, from a shipped one.
  func playbook(_ name: String, _ change: (String) -> String) throws -> String {
    let path = "\(workDirectory)/\(name)-\(HandOffNames.random().nonce).yml"
    try writeFile(path, change(try readText(Self.shipped(name))))
    return path
  }

  /// The shipped cutover up to the moment before the target's services start: both sides stand still behind it.
  func cutoverWithoutServices() throws -> String { try withoutServices("cutover") }

  /// A shipped playbook up to the moment before the opened side's services start.
  func withoutServices(_ name: String) throws -> String {
    try playbook(name) { text in
      text.split(separator: "\n").filter { !$0.contains("- start_services") }.joined(separator: "\n") + "\n"
    }
  }

  /// A shipped playbook whose drain gives up after two seconds.
  func hasty(_ name: String) throws -> String {
    try playbook(name) { text in
      text.split(separator: "\n").map { line in
        guard line.contains("- drain") else { return String(line) }
        return "    - drain: { deadline: 2s\(line.contains("reverse") ? ", direction: reverse" : "") }"
      }.joined(separator: "\n") + "\n"
    }
  }

  func playbook(steps: [String]) throws -> String {
    let path = "\(workDirectory)/steps-\(HandOffNames.random().nonce).yml"
    try writeFile(path, "- name: test\n  steps:\n" + steps.map { "    - \($0)\n" }.joined())
    return path
  }

  @discardableResult
  func play(
    _ playbook: String, expecting status: Int32 = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> Program.Result {
    let path = playbook.hasPrefix("/") ? playbook : Self.shipped(playbook)
    let result = try await start("play", path, "--yes").result()
    try #require(result.status == status, "\(result.text)", sourceLocation: sourceLocation)
    return result
  }

  /// Kills a play when it says something.
  func killPlay(_ playbook: String, at words: String) async throws {
    let play = try start("play", playbook, "--yes")
    #expect(try await play.says(words), "\(words): \(play.output)")
    play.signal(SIGKILL)
    let result = try await play.result()
    #expect(result.status == 128 + SIGKILL, "\(words): \(result.text)")
  }

  /// Kills a play some time after its beginning, or after it has said something, unless it is over by then.
  func killPlay(_ playbook: String, after pause: Duration, into words: String? = nil) async throws {
    let play = try start("play", playbook, "--yes")
    var waits = true
    if let words { waits = try await play.says(words) }
    if waits { try await Task.sleep(for: pause) }
    play.signal(SIGKILL)
    let result = try await play.result()
    #expect([0, 128 + SIGKILL].contains(result.status), "\(pause) into \(words ?? playbook): \(result.text)")
  }

  /// What `status --format json` says of one of the databases.
  func status(_ database: String) async throws -> DatabaseStatus {
    try #require(try await status().migrations.first?.databases.first { $0.database == database })
  }

  func status() async throws -> ConvoyStatus {
    let result = try await start("status", "--format", "json").result()
    try #require(result.status == 0, "\(result.text)")
    return try JSONDecoder().decode(ConvoyStatus.self, from: Data(result.output.utf8))
  }

  /// The sync process's pid.
  func syncPID() async throws -> pid_t {
    let sync = try await status().sync
    try #require(sync.running)
    return try #require(sync.pid)
  }

  /// Kills the sync process, if there is one, and waits until its lock and its slots are free.
  func killSync() async throws {
    if let pid = try await status().sync.pid { kill(pid, SIGKILL) }
    try await eventually("the sync process's end") { try await !status().sync.running }
    try await slotsAreIdle()
  }

  func slotsAreIdle() async throws {
    try await eventually("idle slots") {
      try await sql(.source, "SELECT 1 FROM pg_replication_slots WHERE active AND slot_type = 'logical'").isEmpty
    }
  }

  // MARK: PostgreSQL

  func parameters(_ role: Role, _ database: String = "postgres") throws -> ConnectionParameters {
    var parameters = try lab.parameters(
      role.rawValue, database: database,
      applicationName: role == .source || role == .target ? "pgconvoy test" : "an application")
    parameters.settings = canonicalTextSettings.merging(["search_path": "public"]) { _, own in own }
    return parameters
  }

  func session(_ role: Role, _ database: String = "postgres") async throws -> PostgresSession {
    try await PostgresSession.connect(try parameters(role, database))
  }

  /// One statement on a connection of its own; null is the empty string.
  @discardableResult
  func sql(
    _ role: Role, _ statement: String, _ values: [String?] = [], in database: String = "postgres"
  ) async throws -> [[String]] {
    try await withSession(try parameters(role, database)) { session in
      let result = try await session.query(statement, values, within: .seconds(60))
      return result.rows.map { row in (0..<result.columnCount).map { row.string($0) } }
    }
  }

  func script(_ role: Role, _ statements: String, in database: String) async throws {
    try await withSession(try parameters(role, database)) { session in
      _ = try await session.script(statements, within: .seconds(60))
    }
  }

  func value(_ role: Role, _ statement: String, in database: String = "postgres") async throws -> String {
    try await sql(role, statement, in: database).first?.first ?? ""
  }

  /// Why a connection is refused; nil when it is not.
  func refusal(_ role: Role, _ database: String = "postgres") async throws -> ConvoyError? {
    do {
      let session = try await session(role, database)
      await session.close()
      return nil
    } catch let error as PostgresError {
      return error.convoyError()
    }
  }

  /// `pg_ctl` on one of the hosts.
  func control(_ host: LabHost, _ arguments: String...) async throws {
    let (lab, account) = (lab, try Prerequisites.postgresAccount())
    _ = try await onDedicatedThread("pg_ctl") {
      try Program.check(
        [lab.pgBin + "/pg_ctl"] + arguments + ["-s", "-w", "-D", host.dataDirectory],
        environment: [ProcessTable.marker: lab.id], as: account)
    }
  }

  func startServer(_ host: LabHost) async throws {
    try await control(host, "start", "-t", "60", "-l", host.postgresLog)
  }

  /// A command as the operating-system user that PostgreSQL runs as; its output.
  @discardableResult
  func asServer(_ command: [String]) throws -> String {
    try Program.check(command, as: Account.named(lab.osUser))
  }

  /// Adds a line to the migration in the lab's inventory: `old_data: replace`.
  func addToMigration(_ line: String) throws {
    let inventory = try readText(lab.inventoryFile)
    let place = "    target: lab-target\n"
    try #require(inventory.contains(place))
    try writeFile(lab.inventoryFile, inventory.replacing(place, with: "\(place)    \(line)\n"))
  }

  // MARK: services

  /// What runit says of a service: `run`, `down`, …
  func service(_ name: String, on host: LabHost) throws -> String {
    let state = try Program.run(["sv", "status", "\(host.serviceDirectory)/\(name)"]).output
    return String(state.prefix { $0 != ":" })
  }

  /// Stops or starts the source's application.
  func application(_ verb: String, on host: LabHost? = nil) async throws {
    let directory = "\((host ?? source).serviceDirectory)/app"
    let result = try await Program(["sv", "-w", "30", verb, directory]).result()
    try #require(result.status == 0, "\(result.text)")
  }

  /// The tokens of acknowledged commits, by database.
  func acknowledged(_ host: LabHost) throws -> [String: Set<String>] {
    try acknowledgedTokens(lab.acknowledgedLog(host: host.name))
  }

  func acknowledgedCount(_ host: LabHost) throws -> Int { try acknowledged(host).values.reduce(0) { $0 + $1.count } }

  /// Waits until the application has committed more.
  func applicationGoesOn(by count: Int = 20, on host: LabHost? = nil) async throws {
    let host = host ?? source
    let before = try acknowledgedCount(host)
    try await eventually("\(count) more commits on \(host.name)") {
      try acknowledgedCount(host) >= before + count
    }
  }

  // MARK: the stream

  /// Waits until each of the databases has applied all that its source has committed so far.
  func drained(_ names: [String]? = nil, within limit: Duration = .seconds(40)) async throws {
    for name in names ?? databases {
      let oid = try await value(.source, "SELECT oid FROM pg_database WHERE datname = '\(name)'")
      let nonce = HandOffNames.random().nonce
      let lsn = try await value(
        .source, "SELECT pg_logical_emit_message(true, 'pgconvoy.marker', '\(nonce)')", in: name)
      try await eventually("the stream of \(name) reaching \(lsn)", within: limit) {
        try await value(
          .target,
          """
          SELECT count(*) FROM pg_replication_origin_status
           WHERE external_id LIKE 'pgconvoy%\\_\(oid)' AND remote_lsn > '\(lsn)'
          """) == "1"
      }
    }
  }
}
