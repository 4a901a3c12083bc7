import Presentation
public import ReplicationModel

/// What `status --exit-code` goes by.
public enum StatusHealth {
  /// How far a database may be behind and count as well.
  public struct Limits: Sendable {
    var lagBytes: UInt64
    var lagSeconds: Double

    public init(lagBytes: UInt64, lagSeconds: Double) {
      self.lagBytes = lagBytes
      self.lagSeconds = lagSeconds
    }
  }

  /// What is not well, one line each; empty when all is.
  ///
  /// A database is well that waits for its turn, streams within the limits, or is over. What is not known is not well.
  ///
  /// - Parameter limits: those of a migration, by its name; nil: none.
  public static func problems(_ status: ConvoyStatus, limits: (String) -> Limits?) -> [String] {
    status.migrations.flatMap { migration in
      alarms(migration).map { "\(migration.name): \($0)" }
        + migration.databases.compactMap { database in
          problem(database, limits(migration.name)).map { "\(migration.name), \(database.database): \($0)" }
        }
    }
  }

  private static func alarms(_ migration: ConvoyStatus.Migration) -> [String] {
    var lines: [String] = []
    if migration.databases.isEmpty, migration.state != .finished { lines.append("its databases are not known") }
    if migration.areBothOpen == true { lines.append("both servers are open") }
    if let side = migration.sideToBeClosed {
      if migration.shouldBeClosedAndIsOpen == true {
        lines.append("\(migration.host(side)) should be closed and is open")
      }
      if let commits = migration.closedSideCommits, commits > 0 {
        lines.append("\(HumanFormat.counted(commits, "transaction")) of others on \(migration.host(side))")
      }
    }
    if let sync = migration.sync, sync.running != true { lines.append("sync on \(sync.host) is not known to run") }
    return lines
  }

  private static func problem(_ database: DatabaseStatus, _ limits: Limits?) -> String? {
    if database.missedRows > 0 { return HumanFormat.counted(database.missedRows, "missed row") }
    switch database.phase {
    case .pending, .copying, .handedOff, .draining, .drained, .cutOver: return nil
    case .parked, .stopped, .interrupted, .unreachable: return database.phase.rawValue
    case .catchingUp, .streaming:
      guard let limits else { return nil }
      guard let bytes = database.lagBytes, let seconds = database.lagSeconds ?? zero(database.phase) else {
        return "how far it is behind is not known"
      }
      if bytes > limits.lagBytes { return "\(HumanFormat.bytes(bytes)) behind" }
      return seconds > limits.lagSeconds ? "\(HumanFormat.duration(seconds: seconds)) behind" : nil
    }
  }

  private static func zero(_ phase: DatabasePhase) -> Double? { phase == .streaming ? 0 : nil }
}
