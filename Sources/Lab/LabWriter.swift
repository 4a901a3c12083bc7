public import BlockingIO
import Glibc
package import PostgresClient
import ReplicationModel

/// What an application does to a lab's server.
public struct LabWriterOptions: Sendable {
  /// `postgresql://user:password@address:port`, without a database.
  public var uri: String
  /// Databases that a lab made.
  public var databases: [String]
  /// Connections to each database.
  public var connections: Int
  /// Transactions a second, all connections together; 0 for as many as they can.
  public var rate: Double
  /// Gets a line `database<TAB>token` for each transaction whose COMMIT was acknowledged, after it was. A tab, a line
  /// end and a backslash in a database's name are written `\t`, `\n`, `\\`.
  public var acknowledgedLog: String?

  public init(
    uri: String, databases: [String], connections: Int = 2, rate: Double = 40, acknowledgedLog: String? = nil
  ) {
    self.uri = uri
    self.databases = databases
    self.connections = connections
    self.rate = rate
    self.acknowledgedLog = acknowledgedLog
  }
}

/// What became of an application's transactions.
public struct LabWriterCounts: Sendable, Equatable {
  /// Acknowledged commits.
  public var committed = 0
  /// Transactions that the server refused: deadlocks, conflicts.
  public var failed = 0
  /// Transactions whose connection broke; whether they committed, nobody told.
  public var unknown = 0

  /// None yet.
  package init() {}
}

/// Writes to a server until told to stop, as an application with several connections does.
///
/// Each transaction also inserts a token of its own into its database's `app_ledger`, so that a judge can compare the
/// ledger with the acknowledged log: no acknowledged token may be missing. A connection that breaks or is refused is
/// tried again, every 200 ms; one line per outage goes to `log`. Blocks the calling thread.
///
/// - Parameters:
///   - stop: when signalled, every connection finishes the transaction in hand.
///   - log: called from several threads.
/// - Throws: `ConvoyError` `lab.uri`, or when the acknowledged log cannot be opened.
@discardableResult
public func runLabWriter(
  _ options: LabWriterOptions, stop: WakeUp, log: @escaping @Sendable (String) -> Void = { _ in }
) throws -> LabWriterCounts {
  let server = try LabURI(options.uri)
  let acknowledged = try options.acknowledgedLog.map { try AcknowledgedLog($0) }
  let workers = options.databases.count * max(1, options.connections)
  let run = WriterRun(
    interval: options.rate > 0 ? Double(workers) / options.rate : 0, acknowledged: acknowledged, stop: stop, log: log,
    remaining: workers)
  for database in options.databases {
    for number in 0..<max(1, options.connections) {
      let parameters = server.parameters(database: database, applicationName: "lab writer \(number)")
      startThread(name: "lab-writer") {
        run.work(parameters)
        run.workerEnded()
      }
    }
  }
  return run.waitForAll()
}

/// What the threads of one writer share.
///
/// `@unchecked Sendable`: `counts`, `serial` and `remaining` are touched with `condition` locked only; the rest never changes.
private final class WriterRun: @unchecked Sendable {
  private let interval: Double
  private let acknowledged: AcknowledgedLog?
  private let stop: WakeUp
  private let log: @Sendable (String) -> Void
  private let nonce = HandOffNames.random().nonce
  private let condition = ConditionVariable()
  private var counts = LabWriterCounts()
  private var serial = 0
  private var remaining: Int

  init(
    interval: Double, acknowledged: AcknowledgedLog?, stop: WakeUp, log: @escaping @Sendable (String) -> Void,
    remaining: Int
  ) {
    self.interval = interval
    self.acknowledged = acknowledged
    self.stop = stop
    self.log = log
    self.remaining = remaining
  }

  func workerEnded() {
    condition.withLock {
      remaining -= 1
      condition.signal()
    }
  }

  func waitForAll() -> LabWriterCounts {
    condition.lock()
    defer { condition.unlock() }
    while remaining > 0 { condition.wait() }
    return counts
  }

  private func nextToken() -> String {
    condition.withLock {
      serial += 1
      return "\(nonce)-\(serial)"
    }
  }

  private func count(_ counter: WritableKeyPath<LabWriterCounts, Int>) {
    condition.withLock { counts[keyPath: counter] += 1 }
  }

  /// True when the writer shall stop; else waits until the deadline for it.
  private func stopped(until deadline: Deadline) -> Bool {
    poll([(stop.fileDescriptor, Int16(POLLIN))], until: deadline)[0] != 0
  }

  func work(_ parameters: ConnectionParameters) {
    let database = parameters.database
    var isOut = false
    while !stopped(until: .now()) {
      do {
        let connection = try PostgresConnection.connect(parameters)
        let transactions = try Self.transactions(of: connection)
        if isOut { log("\(database): connected again") }
        isOut = false
        try write(transactions, on: connection, database: database)
      } catch {
        if !isOut { log("\(database): \(error); trying again") }
        isOut = true
        if stopped(until: .after(.milliseconds(200))) { return }
      }
    }
  }

  /// Writes until the writer stops; throws when the connection is gone.
  private func write(_ choices: [LabTransaction], on connection: PostgresConnection, database: String) throws {
    // Connections start anywhere within one interval, so that they do not all write at the same moments.
    var due = Deadline.now().nanoseconds + UInt64(interval * Double.random(in: 0...1) * 1e9)
    var lastRefusal = ""
    while !stopped(until: Deadline(nanoseconds: due)) {
      let token = nextToken()
      do {
        try commit(choices.pick(), token: token, on: connection)
        acknowledged?.append(database: database, token: token)
        count(\.committed)
        lastRefusal = ""
      } catch {
        guard connection.isOpen, error.reason == .server else {
          count(\.unknown)
          throw error
        }
        count(\.failed)
        // A server that refuses everything says so in one line, not in forty a second.
        if error.message != lastRefusal { log("\(database): \(error)") }
        lastRefusal = error.message
        try connection.script("ROLLBACK")
      }
      // Time lost on a slow server is not caught up with.
      due = max(due, Deadline.now().nanoseconds) + UInt64(interval * 1e9)
    }
  }

  private func commit(
    _ transaction: LabTransaction, token: String, on connection: PostgresConnection
  ) throws(PostgresError) {
    try connection.script("BEGIN")
    for statement in transaction.statements {
      try connection.query(statement, statement.contains("$1") ? [token] : [])
    }
    try connection.query("INSERT INTO public.app_ledger (token) VALUES ($1)", [token])
    try connection.script("COMMIT")
  }

  /// What suits the tables that the database has.
  private static func transactions(of connection: PostgresConnection) throws -> [LabTransaction] {
    for schema in LabSchema.all {
      let found = try connection.query("SELECT to_regclass($1) IS NOT NULL", [schema.signature])
      if found.first == "t" { return schema.transactions + LabTransaction.common }
    }
    throw ConvoyError(
      "lab.foreign-database", "the database was not made by a lab",
      at: .database(migration: nil, name: connection.parameters.database))
  }
}

extension [LabTransaction] {
  /// One of them, the heavier the likelier.
  fileprivate func pick() -> LabTransaction {
    var place = Int.random(in: 0..<reduce(0) { $0 + $1.weight })
    for transaction in self {
      place -= transaction.weight
      if place < 0 { return transaction }
    }
    return self[0]
  }
}

/// A file that only grows, one line per acknowledged commit. Each line is one write, so that lines of several threads
/// never mix and a killed writer leaves whole lines.
private final class AcknowledgedLog: Sendable {
  private let file: Int32

  init(_ path: String) throws {
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw systemError("write", path) }
  }

  deinit { close(file) }

  func append(database: String, token: String) {
    var line = ""
    for scalar in database.unicodeScalars {
      switch scalar {
      case "\\": line += "\\\\"
      case "\t": line += "\\t"
      case "\n": line += "\\n"
      default: line.unicodeScalars.append(scalar)
      }
    }
    line += "\t\(token)\n"
    _ = write(file, line, line.utf8.count)
  }
}

/// `postgresql://user:password@address:port`, as `DIR/env` has them: nothing in it needs decoding.
package struct LabURI: Sendable, Equatable {
  var user: String
  var password: String
  var address: String
  var port: Int

  /// - Throws: `ConvoyError` `lab.uri`.
  package init(_ text: String) throws {
    let scheme = "postgresql://"
    let rest = text.dropFirst(scheme.count)
    let halves = rest.split(separator: "@", omittingEmptySubsequences: false)
    let credentials = halves.first?.split(separator: ":", omittingEmptySubsequences: false) ?? []
    let place = halves.last?.split(separator: ":", omittingEmptySubsequences: false) ?? []
    guard text.hasPrefix(scheme), halves.count == 2, credentials.count == 2, place.count == 2,
      let port = Int(place[1]), (1...65535).contains(port), !credentials[0].isEmpty, !place[0].isEmpty
    else {
      // Not with the text: there is a password in it.
      throw ConvoyError(
        "lab.uri", "the address is not of the form postgresql://user:password@address:port", kind: .usage)
    }
    user = String(credentials[0])
    password = String(credentials[1])
    address = String(place[0])
    self.port = port
  }

  /// To one of the server's databases. A server that says nothing for five seconds is given up.
  package func parameters(database: String, applicationName: String) -> ConnectionParameters {
    ConnectionParameters(
      host: address, port: port, user: user, database: database, password: password, applicationName: applicationName,
      connectTimeout: 5)
  }
}
