import FoundationEssentials
public import ReplicationModel

/// The status in Prometheus's text exposition format 0.0.4, for node_exporter's textfile collector and the like.
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
public enum StatusPrometheus {
  /// Unknown values have no sample: a missing series is not 0.
  public static func render(_ status: ConvoyStatus) -> String {
    var text = ""
    family("status_timestamp_seconds", "gauge", "When this status was made, in seconds since 1970.", to: &text) {
      [sample([], String(Int64(status.generatedAt.timeIntervalSince1970.rounded(.down))))]
    }
    family("sync_running", "gauge", "1 when the process that applies changes runs.", to: &text) {
      [sample([], status.sync.running ? "1" : "0")]
    }
    family("hosted_sync_running", "gauge", "1 when the migration's sync process on that host runs.", to: &text) {
      status.migrations.compactMap { migration in
        migration.sync.flatMap { sync in
          sync.running.map { sample(labels(migration.name) + [("host", sync.host)], $0 ? "1" : "0") }
        }
      }
    }
    family("migration_state", "gauge", "1 for the state that the migration is in.", to: &text) {
      status.migrations.map { migration in
        sample(
          [
            ("migration", migration.name), ("source", migration.source), ("target", migration.target),
            ("state", migration.state.rawValue),
          ], "1")
      }
    }
    family("migration_direction", "gauge", "1 for the way that changes travel: forward or reverse.", to: &text) {
      status.migrations.compactMap { migration in
        migration.direction.map { sample(labels(migration.name) + [("direction", $0.rawValue)], "1") }
      }
    }
    family("host_fenced", "gauge", "1 when everyone but pgconvoy is kept out of the host's server.", to: &text) {
      status.migrations.flatMap { migration in
        [("source", migration.source, migration.sourceFenced), ("target", migration.target, migration.targetFenced)]
          .compactMap { side, host, isFenced in
            isFenced.map { sample(labels(migration.name) + [("host", host), ("side", side)], $0 ? "1" : "0") }
          }
      }
    }
    closedSides(status, to: &text)
    let databases = status.migrations.flatMap { migration in migration.databases.map { (migration.name, $0) } }
    family("database_phase", "gauge", "1 for the phase that the database is in.", to: &text) {
      databases.map { sample(labels($0) + [("phase", $1.phase.rawValue)], "1", $1) }
    }
    func each(_ name: String, _ type: String, _ help: String, _ value: (DatabaseStatus) -> String?) {
      family(name, type, help, to: &text) {
        databases.compactMap { migration, database in
          value(database).map { sample(labels(migration), $0, database) }
        }
      }
    }
    each("lag_bytes", "gauge", "WAL bytes of the source that are not durable on the target yet.") {
      $0.lagBytes.map { String($0) }
    }
    each("lag_seconds", "gauge", "Age of the oldest source transaction that is not applied yet.") {
      $0.lagSeconds.flatMap(number)
    }
    each("transactions_applied_total", "counter", "Source transactions applied.") {
      $0.hasStream ? String($0.transactionsApplied) : nil
    }
    each("rows_applied_total", "counter", "Row changes applied.") { $0.hasStream ? String($0.rowsApplied) : nil }
    each("rows_per_second", "gauge", "Row changes applied a second, over the last seconds.") {
      $0.hasStream ? number($0.rowsPerSecond) : nil
    }
    each("missed_rows_total", "counter", "Updates and deletes that found no row on the target.") {
      $0.hasStream ? String($0.missedRows) : nil
    }
    each("database_parked", "gauge", "1 when the database is parked at a change that cannot be applied.") {
      $0.phase == .parked ? "1" : "0"
    }
    each("database_drift", "gauge", "Objects of the schemas that are not the same on both sides.") {
      $0.drift.map { String($0.count) }
    }
    return text
  }

  /// What must be 0, always.
  private static func closedSides(_ status: ConvoyStatus, to text: inout String) {
    func each(_ name: String, _ type: String, _ help: String, _ value: (ConvoyStatus.Migration) -> String?) {
      family(name, type, help, to: &text) {
        status.migrations.compactMap { migration in
          guard let value = value(migration) else { return nil }
          let side = migration.sideToBeClosed
          let labels = side.map { [("host", migration.host($0)), ("side", $0.rawValue)] } ?? []
          return sample([("migration", migration.name)] + labels, value)
        }
      }
    }
    each("should_be_closed_and_is_open", "gauge", "1 when a server takes connections that should be closed.") {
      $0.shouldBeClosedAndIsOpen.map { $0 ? "1" : "0" }
    }
    each("fence_breaches_total", "counter", "How often a fence was put back, or somebody ended behind it.") {
      $0.sideToBeClosed == nil ? nil : $0.fenceBreaches.map { String($0) }
    }
    each("closed_side_commits_total", "counter", "Transactions of others on a server that should be closed.") {
      $0.sideToBeClosed == nil ? nil : $0.closedSideCommits.map { String($0) }
    }
    family("both_open", "gauge", "1 when both servers take connections of applications.", to: &text) {
      status.migrations.compactMap { migration in
        migration.areBothOpen.map { sample(labels(migration.name), $0 ? "1" : "0") }
      }
    }
  }

  private typealias Label = (name: String, value: String)

  private static func labels(_ migration: String) -> [Label] { [("migration", migration)] }

  private static func number(_ value: Double) -> String? {
    value.isFinite ? "\((value * 1000).rounded() / 1000)" : nil
  }

  /// HELP, TYPE and the samples, each of which is the text after the name; nothing when there are none.
  private static func family(
    _ name: String, _ type: String, _ help: String, to text: inout String, _ samples: () -> [String]
  ) {
    let samples = samples()
    if samples.isEmpty { return }
    text += "# HELP pgconvoy_\(name) \(help)\n# TYPE pgconvoy_\(name) \(type)\n"
    for sample in samples { text += "pgconvoy_\(name)\(sample)\n" }
  }

  private static func sample(_ labels: [Label], _ value: String, _ database: DatabaseStatus? = nil) -> String {
    var labels = labels
    if let database { labels.insert(("database", database.database), at: min(1, labels.count)) }
    if labels.isEmpty { return " " + value }
    return "{" + labels.map { "\($0.name)=\"\(escaped($0.value))\"" }.joined(separator: ",") + "} " + value
  }

  /// Backslash, double quote and line feed are all that the format escapes.
  private static func escaped(_ value: String) -> String {
    var result = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
