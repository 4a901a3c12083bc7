import BlockingIO
import Glibc
import PostgresClient
import ReplicationModel

/// What the lab's services run, `PROGRAM lab writer` and `PROGRAM lab reader`.
extension Lab {
  /// Runs the application of a host until SIGTERM or SIGINT. Its log goes to standard error.
  ///
  /// - Parameters:
  ///   - directory: the lab's.
  ///   - host: `lab-source` or `lab-target`: whose server it writes to.
  /// - Throws: `ConvoyError`: `lab.not-a-lab`, `lab.unknown-host`, …
  public static func runWriter(directory: String, host: String) async throws {
    let lab = try LabDirectory.describe(directory)
    let options = LabWriterOptions(
      uri: try appURI(of: host, in: lab), databases: lab.databases, connections: lab.appConnections,
      rate: lab.appRate, acknowledgedLog: lab.acknowledgedLog(host: host))
    signalStopOnTermination()
    logLine("writing to \(lab.databases.count) databases on \(host)")
    let counts = try await onDedicatedThread("lab-writer") {
      try runLabWriter(options, stop: terminationRequested, log: logLine)
    }
    logLine("stopped: \(counts.committed) committed, \(counts.failed) failed, \(counts.unknown) unknown")
  }

  /// Runs the second service of a host until SIGTERM or SIGINT: once a second it reads how many transactions the
  /// first database's ledger has, and says so on standard error.
  ///
  /// - Throws: `ConvoyError`: `lab.not-a-lab`, `lab.unknown-host`, …
  public static func runReader(directory: String, host: String) async throws {
    let lab = try LabDirectory.describe(directory)
    let server = try LabURI(try appURI(of: host, in: lab))
    let database = lab.databases.first ?? "postgres"
    signalStopOnTermination()
    try await onDedicatedThread("lab-reader") {
      let parameters = server.parameters(database: database, applicationName: "lab reader")
      var connection: PostgresConnection?
      repeat {
        do {
          let open = try connection ?? PostgresConnection.connect(parameters)
          connection = open
          let count = try open.query("SELECT count(*) FROM public.app_ledger").first ?? "0"
          logLine("\(database): \(count) transactions")
        } catch {
          if connection?.isOpen != true { connection = nil }
          logLine("\(database): \(error); trying again")
        }
      } while poll([(terminationRequested.fileDescriptor, Int16(POLLIN))], until: .after(.seconds(1)))[0] == 0
    }
    logLine("stopped")
  }

  private static func appURI(of host: String, in lab: LabDescription) throws -> String {
    let names = [LabDescription.sourceName: "LAB_SOURCE_APP_URI", LabDescription.targetName: "LAB_TARGET_APP_URI"]
    guard let name = names[host] else {
      throw ConvoyError(
        "lab.unknown-host", "the lab has no host '\(host)'", hint: "its hosts are lab-source and lab-target",
        kind: .usage)
    }
    guard let uri = try lab.environment()[name] else {
      throw ConvoyError("lab.unreadable", "\(name) is missing", at: .path(lab.environmentFile), kind: .usage)
    }
    return uri
  }
}

/// Signalled by SIGTERM and SIGINT once `signalStopOnTermination` was called. Process-wide, as signals are.
private let terminationRequested = WakeUp()

private func signalStopOnTermination() {
  // Made here, not in the handler: the first use of a global is no business of a signal handler.
  _ = terminationRequested.fileDescriptor
  for number in [SIGTERM, SIGINT] {
    signal(number) { _ in terminationRequested.signal() }
  }
}

/// One line on standard error: `2024-05-01T12:00:00Z text`.
@Sendable private func logLine(_ text: String) {
  var now = time(nil)
  var parts = tm()
  gmtime_r(&now, &parts)
  var buffer = [CChar](repeating: 0, count: 32)
  let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
  let line = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) + " \(text)\n"
  _ = write(STDERR_FILENO, line, line.utf8.count)
}
