import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel
import Testing

@testable import Lab

/// The program beside the test runner, which the labs' services run.
let labProgram = (realPath("/proc/self/exe") ?? "").dropLastComponent() + "/LabProgram"

/// Makes a lab for one test, and ends it whatever the test does.
func withLab(
  _ databases: [String]? = ["general"], appRate: Double = 40, _ body: (LabDescription) async throws -> Void
) async throws {
  let directory = try temporaryDirectory()
  let lab = try await Lab.up(
    LabOptions(directory: directory, databases: databases, program: labProgram, appRate: appRate))
  try await endingLab(in: directory) { try await body(lab) }
  if fileExists(directory) { try await Lab.down(directory: directory) }
  expectNothingLeft(of: lab)
}

/// Ends what a failed body leaves of a lab.
func endingLab(in directory: String, _ body: () async throws -> Void) async throws {
  do { try await body() } catch {
    try? await Lab.down(directory: directory)
    throw error
  }
}

func temporaryDirectory() throws -> String {
  let path = "/tmp/pgconvoy-lab-tests-\(HandOffNames.random().nonce)"
  try makeDirectory(path, mode: 0o700)
  return path
}

/// No process, no file, nobody who listens.
func expectNothingLeft(of lab: LabDescription, sourceLocation: SourceLocation = #_sourceLocation) {
  let table = ProcessTable.snapshot()
  #expect(table.processes(of: lab) == [], sourceLocation: sourceLocation)
  let mentions = table.entries.filter { entry in
    !entry.isZombie && entry.pid != getpid() && entry.arguments.contains { $0.contains(lab.directory + "/") }
  }
  #expect(mentions.map(\.arguments) == [], sourceLocation: sourceLocation)
  #expect(!fileExists(lab.directory), sourceLocation: sourceLocation)
  #expect(!fileExists(LabDirectory.storage(labID: lab.id)), sourceLocation: sourceLocation)
  let markers = directoryEntries(PrivilegeSeparationDirectory.path) + directoryEntries("/run")
  #expect(!markers.contains { $0.contains(lab.id) }, sourceLocation: sourceLocation)
}

extension LabDescription {
  func parameters(_ variable: String, database: String) throws -> ConnectionParameters {
    try LabURI(try #require(try environment()[variable])).parameters(database: database, applicationName: "lab test")
  }

  func connect(_ variable: String, database: String) throws -> PostgresConnection {
    try PostgresConnection.connect(try parameters(variable, database: database))
  }

  /// Runs a command on a host the way a person does, with OpenSSH's client and the lab's own key and known hosts.
  func ssh(_ host: LabHost, _ command: String) throws -> ChildProcess.Result {
    try ChildProcess.run(
      "/usr/bin/ssh",
      [
        "-F", "none", "-i", identityFile, "-o", "UserKnownHostsFile=\(knownHosts)", "-o", "IdentitiesOnly=yes",
        "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-p", String(host.sshPort),
        "\(sshUser)@\(host.address)", command,
      ])
  }

  /// The tokens that the source's application knows to be committed, by database.
  func acknowledgedTokens() throws -> [String: Set<String>] {
    var tokens: [String: Set<String>] = [:]
    for line in try readText(acknowledgedLog(host: Self.sourceName)).split(separator: "\n") {
      let fields = line.split(separator: "\t")
      #expect(fields.count == 2)
      tokens[String(fields[0]), default: []].insert(String(fields[1]))
    }
    return tokens
  }

  /// The tokens in a database's ledger.
  func ledger(_ variable: String, database: String) throws -> Set<String> {
    let result = try connect(variable, database: database).query("SELECT token FROM public.app_ledger")
    return Set(result.rows.map { $0.string(0) })
  }
}
