import BlockingIO
import Glibc
import Lab
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

/// Makes a lab for one test, ends it whatever the test does, and looks for what is left.
func withLabGoneAfterwards(
  _ databases: [String]? = ["general"], rate: Double = 40, _ body: (LabDescription) async throws -> Void
) async throws {
  var lab: LabDescription?
  try await withLab(databases, rate: rate) { made in
    lab = made
    try await body(made)
  }
  expectNothingLeft(of: try #require(lab))
}

/// Ends what a failed body leaves of a lab.
func endingLab(in directory: String, _ body: () async throws -> Void) async throws {
  do { try await body() } catch {
    try? await Lab.down(directory: directory)
    throw error
  }
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
  #expect(!fileExists("/var/tmp/pgconvoy-lab-\(lab.id)"), sourceLocation: sourceLocation)
  let markers = directoryEntries("/run/sshd") + directoryEntries("/run")
  #expect(!markers.contains { $0.contains(lab.id) }, sourceLocation: sourceLocation)
}

extension LabDescription {
  func connect(_ variable: String, database: String) throws -> PostgresConnection {
    try PostgresConnection.connect(try parameters(variable, database: database))
  }

  /// Runs a command on a host the way a person does, with OpenSSH's client and the lab's own key and known hosts.
  func ssh(_ host: LabHost, _ command: String) throws -> Program.Result {
    try Program.run(
      [
        "/usr/bin/ssh", "-F", "none", "-i", identityFile, "-o", "UserKnownHostsFile=\(knownHosts)", "-o",
        "IdentitiesOnly=yes",
        "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-p", String(host.sshPort),
        "\(sshUser)@\(host.address)", command,
      ])
  }

  /// The tokens that the source's application knows to be committed, by database.
  func acknowledged() throws -> [String: Set<String>] {
    try acknowledgedTokens(acknowledgedLog(host: Self.sourceName))
  }

  /// The tokens in a database's ledger.
  func ledger(_ variable: String, database: String) throws -> Set<String> {
    let result = try connect(variable, database: database).query("SELECT token FROM public.app_ledger")
    return Set(result.rows.map { $0.string(0) })
  }
}
