import FoundationEssentials
import GRDB
public import ReplicationModel

extension JournalFile {
  /// Records a service before it is stopped, with whether it runs now. Call it first, then stop the service, then call
  /// `serviceStopped`: a workstation that dies in between leaves enough behind to start just what was running.
  ///
  /// A service that is on record already keeps its first record: a second run finds it stopped, by us.
  public func serviceStopping(
    migration: String, host: String, name: String, manager: String, wasRunning: Bool
  ) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: """
          INSERT INTO services (migration, host, name, manager, was_running, stop_began) VALUES (?, ?, ?, ?, ?, ?)
          ON CONFLICT DO NOTHING
          """,
        arguments: [migration, host, name, manager, wasRunning, Moment.now])
    }
  }

  public func serviceStopped(
    migration: String, host: String, name: String, manager: String
  ) throws(ConvoyError) {
    try mark("stopped = coalesce(stopped, ?)", migration, host, name, manager)
  }

  /// The service runs again, or is known not to be wanted any more: its record is closed.
  public func serviceStarted(
    migration: String, host: String, name: String, manager: String
  ) throws(ConvoyError) {
    try mark("started = ?", migration, host, name, manager)
  }

  /// The services on record that were not started again since, in the order in which they were stopped.
  public func stoppedServices(migration: String, host: String? = nil) throws(ConvoyError) -> [ServiceRecord] {
    try read { database in
      try ServiceRecord.fetchAll(
        database,
        sql: """
          SELECT * FROM services WHERE migration = ?1 AND (?2 IS NULL OR host = ?2) AND started IS NULL ORDER BY id
          """,
        arguments: [migration, host])
    }
  }

  /// What to start again: only what was running before, the last one stopped first.
  public func servicesToStart(migration: String, host: String? = nil) throws(ConvoyError) -> [ServiceRecord] {
    try stoppedServices(migration: migration, host: host).filter(\.wasRunning).reversed()
  }

  private func mark(
    _ assignment: String, _ migration: String, _ host: String, _ name: String, _ manager: String
  ) throws(ConvoyError) {
    try write { database in
      try database.execute(
        sql: """
          UPDATE services SET \(assignment)
          WHERE migration = ? AND host = ? AND name = ? AND manager = ? AND started IS NULL
          """,
        arguments: [Moment.now, migration, host, name, manager])
    }
  }
}
