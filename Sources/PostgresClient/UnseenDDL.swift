public import BlockingIO

/// DDL of our own, which is nobody's business but ours: event triggers of users do not notice it. One that writes the
/// statements down would give a copy rows that its source has not.
///
/// In a session whose replication role is `replica` ordinary event triggers stay still. Those that fire always, or for
/// replicas, are off for the transaction, which nobody else sees; from version 17 on there is a setting for all of them.
extension PostgresConnection {
  /// Runs one or more statements without parameters, in one transaction: that which is open, else one of their own.
  /// They must neither begin nor end one, and run inside of one.
  ///
  /// - Parameter sql: sent as it is, where no event trigger has to be turned off for it.
  @discardableResult
  public func unseen(_ sql: String, until deadline: Deadline = .never) throws(PostgresError) -> QueryResult {
    let hasSwitch = serverVersion >= 170000
    let triggers = hasSwitch ? FiringEventTriggers() : try FiringEventTriggers.read(self, until: deadline)
    let setting = hasSwitch ? "event_triggers = off" : "session_replication_role = replica"
    let name = hasSwitch ? "event_triggers" : "session_replication_role"
    try script("SET \(setting)", until: deadline)
    do throws(PostgresError) {
      let result = try script(triggers.around(sql), until: deadline)
      try script("RESET \(name)", until: deadline)
      return result
    } catch {
      // In a transaction of the caller's it goes with that.
      if isOpen { _ = try? script("RESET \(name)", until: .after(.seconds(10))) }
      throw error
    }
  }

  /// Carries out what is to be done in the transaction that is open, with the event triggers off that fire for replicas.
  /// When it fails, the transaction is lost.
  @discardableResult
  public func withoutEventTriggers<Value>(
    _ body: () throws(PostgresError) -> Value
  ) throws(PostgresError) -> Value {
    let triggers = try FiringEventTriggers.read(self)
    if let disabling = triggers.disabling { try script(disabling) }
    let value = try body()
    // The statement may have dropped one of them with what it belongs to.
    if let enabling = try triggers.remaining(on: self).enabling { try script(enabling) }
    return value
  }
}

/// The event triggers of a database that fire in a session whose replication role is `replica`.
///
/// ALTER EVENT TRIGGER itself fires none.
public struct FiringEventTriggers: Sendable, Equatable {
  /// Quoted names, by what they fire for.
  var always: [String] = []
  var replica: [String] = []

  static func read(
    _ connection: PostgresConnection, until deadline: Deadline = .never
  ) throws(PostgresError) -> FiringEventTriggers {
    var triggers = FiringEventTriggers()
    let found = try connection.query(
      """
      SELECT pg_catalog.quote_ident(evtname), evtenabled = 'A' FROM pg_catalog.pg_event_trigger
       WHERE evtenabled IN ('A', 'R') ORDER BY oid
      """, until: deadline)
    for row in found.rows {
      if row.bool(1) { triggers.always.append(row.string(0)) } else { triggers.replica.append(row.string(0)) }
    }
    return triggers
  }

  /// Those that are still there.
  func remaining(on connection: PostgresConnection) throws(PostgresError) -> FiringEventTriggers {
    guard !(always + replica).isEmpty else { return self }
    let there = Set(
      try connection.query("SELECT pg_catalog.quote_ident(evtname) FROM pg_catalog.pg_event_trigger").rows.map {
        $0.string(0)
      })
    var left = self
    left.always.removeAll { !there.contains($0) }
    left.replica.removeAll { !there.contains($0) }
    return left
  }

  /// The lock keeps sessions of ours from changing the same ones at the same moment, which the server refuses.
  var disabling: String? {
    guard !(always + replica).isEmpty else { return nil }
    return "SELECT pg_catalog.pg_advisory_xact_lock(\(Self.lock));\n"
      + (always + replica).map { "ALTER EVENT TRIGGER \($0) DISABLE" }.joined(separator: ";\n")
  }

  var enabling: String? {
    guard !(always + replica).isEmpty else { return nil }
    return
      (always.map { "ALTER EVENT TRIGGER \($0) ENABLE ALWAYS" }
      + replica.map { "ALTER EVENT TRIGGER \($0) ENABLE REPLICA" }).joined(separator: ";\n")
  }

  func around(_ sql: String) -> String {
    guard let disabling, let enabling else { return sql }
    return [disabling, sql, enabling].joined(separator: ";\n")
  }

  /// A number of its own.
  private static let lock = 7_468_221_904_153
}
