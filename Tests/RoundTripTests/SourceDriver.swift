import BlockingIO
import PostgresClient
import ReplicationModel
import TestSupport

/// Runs generated transactions on a source, one at a time or two side by side.
struct SourceDriver {
  private let sessions: [PostgresConnection]
  private var prepared: [(gid: String, commits: Bool)] = []
  private var count = 0
  private(set) var succeeded = 0
  /// Statements that the source refused, by SQLSTATE, and one of each.
  private(set) var refused: [String: (count: Int, example: String)] = [:]

  init(_ server: Cluster, _ database: String, encoding: String = "UTF8") throws {
    sessions = [
      try server.connect(database, encoding: encoding), try server.connect(database, encoding: encoding),
    ]
  }

  mutating func run(_ units: [SourceUnit]) throws {
    for unit in units {
      var order = SeededRandom(mixing: unit.order)
      var running = zip(unit.transactions, sessions).map { Running(transaction: $0, session: $1) }
      while let last = running.indices.last {
        let index = order.int(0...last)
        if try !advance(&running[index]) { running.remove(at: index) }
      }
      if !prepared.isEmpty, unit.settles { settle(prepared.removeFirst()) }
    }
    while !prepared.isEmpty { settle(prepared.removeFirst()) }
  }

  private struct Running {
    var transaction: SourceTransaction
    var session: PostgresConnection
    /// -1 before BEGIN.
    var position = -1
    var isAborted = false
  }

  /// One step; false when the transaction has ended.
  private mutating func advance(_ running: inout Running) throws -> Bool {
    let position = running.position
    running.position += 1
    if position < 0 {
      for setting in running.transaction.settings { try running.session.script(setting) }
      try running.session.script("BEGIN")
      return true
    }
    guard position < running.transaction.steps.count, !running.isAborted else {
      try finish(running)
      return false
    }
    switch running.transaction.steps[position] {
    case .guarded(let sql):
      if !attempt(running.session, "SAVEPOINT step; " + sql + "; RELEASE step") {
        try running.session.script("ROLLBACK TO step")
      }
    case .plain(let sql): running.isAborted = !attempt(running.session, sql)
    case .copy(let command, let rows):
      try running.session.script("SAVEPOINT step")
      do throws(PostgresError) {
        try running.session.copyIn(command, Array(rows.utf8))
      } catch {
        note(error, command)
        try running.session.script("ROLLBACK TO step")
      }
    }
    return true
  }

  private mutating func finish(_ running: Running) throws {
    switch running.transaction.end {
    case .rollback: try running.session.script("ROLLBACK")
    case .commit:
      // Deferred constraints may refuse it.
      _ = attempt(running.session, "COMMIT")
    case .prepare, .prepareAndRollBack:
      count += 1
      let gid = "it's \(count) ]: \\ \(running.session.backendPID)"
      if attempt(running.session, "PREPARE TRANSACTION \(quotedLiteral(gid))") {
        let isPrepared =
          try running.session.query("SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE gid = $1", [gid]).rowCount > 0
        if isPrepared { prepared.append((gid, running.transaction.end == .prepare)) }
      }
    }
    // A failed COMMIT or PREPARE has rolled back already; this only warns then.
    try running.session.script("ROLLBACK")
  }

  private mutating func settle(_ transaction: (gid: String, commits: Bool)) {
    let command = transaction.commits ? "COMMIT" : "ROLLBACK"
    _ = attempt(sessions[0], "\(command) PREPARED \(quotedLiteral(transaction.gid))")
  }

  private mutating func attempt(_ session: PostgresConnection, _ sql: String) -> Bool {
    do throws(PostgresError) {
      try session.script(sql, until: .after(.seconds(20)))
      succeeded += 1
      return true
    } catch {
      note(error, sql)
      return false
    }
  }

  private mutating func note(_ error: PostgresError, _ sql: String) {
    let key = error.sqlState?.rawValue ?? "none"
    let known = refused[key]
    refused[key] = ((known?.count ?? 0) + 1, known?.example ?? "\(error): \(sql.prefix(400))")
  }
}
