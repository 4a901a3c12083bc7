import BlockingIO
package import Lab
package import PostgresClient
import ReplicationModel

/// How a test's lab comes up and goes down.
package enum LabCommand: Sendable {
  /// By `Lab` in this process.
  case library
  /// By the program that its services run too, as a person does it: `PROGRAM lab up`.
  case program
}

/// Brings a lab up for a body, and ends it whatever the body does. A body may have ended the lab itself.
///
/// - Parameters:
///   - databases: the source's; nil for those of a Chef Server.
///   - rate: the application's transactions a second.
///   - program: what the lab's services run.
package func withLab(
  _ databases: [String]? = ["general"], rate: Double = 40, program: String = builtProgram("LabProgram"),
  by command: LabCommand = .library, _ body: (LabDescription) async throws -> Void
) async throws {
  let directory = temporaryPath("lab")
  switch command {
  case .library:
    try await Lab.up(LabOptions(directory: directory, databases: databases, program: program, appRate: rate))
  case .program:
    let names = databases.map { ["--databases", $0.joined(separator: ",")] } ?? []
    try await runChecked([program, "lab", "up", "--dir", directory, "--rate", String(rate)] + names)
  }
  try await doing {
    try await body(try Lab.describe(directory: directory))
  } finally: {
    guard fileExists(directory) else { return }
    switch command {
    case .library: try await Lab.down(directory: directory)
    case .program: try await runChecked([program, "lab", "down", "--dir", directory])
    }
    guard !fileExists(directory) else { throw TestFailure("the lab is down and its directory is there: \(directory)") }
  }
}

private func runChecked(_ words: [String]) async throws {
  let result = try await Program(words).result()
  guard result.status == 0 else { throw TestFailure("\(words.joined(separator: " ")): \(result.text)") }
}

/// A path below /tmp that nothing has, for what makes its directory itself.
package func temporaryPath(_ purpose: String) -> String { "/tmp/pgconvoy-\(purpose)-\(HandOffNames.random().nonce)" }

extension LabDescription {
  /// To one of the lab's servers.
  ///
  /// - Parameter variable: of the lab's environment file, `LAB_SOURCE_URI`: which server, and as whom.
  package func parameters(
    _ variable: String, database: String, applicationName: String = "lab test"
  ) throws -> ConnectionParameters {
    guard let uri = try environment()[variable] else { throw TestFailure("the lab has no \(variable)") }
    return try LabURI(uri).parameters(database: database, applicationName: applicationName)
  }
}

/// The tokens of acknowledged commits in an application's log, by database. A line that is still being written is left
/// out; no log is one without lines.
///
/// - Throws: `TestFailure` for a line that is not `database<TAB>token`.
package func acknowledgedTokens(_ log: String) throws -> [String: Set<String>] {
  var tokens: [String: Set<String>] = [:]
  let text = (readBytes(log) ?? [])
  let complete = text[..<((text.lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1)]
  for line in String(decoding: complete, as: UTF8.self).split(separator: "\n") {
    let fields = line.split(separator: "\t")
    guard fields.count == 2 else { throw TestFailure("\(log): not a database and a token: \(line)") }
    tokens[String(fields[0]), default: []].insert(String(fields[1]))
  }
  return tokens
}
