import Foundation
import PostgresClient

/// pglogical 2.4, whose subscription begins where its slot was made.
///
/// Its library is loaded on the source for everybody, where it idles, but on the target for its own turn only: its
/// supervisor answers no barrier, so that DROP DATABASE would wait for ever.
struct Pglogical: Contender {
  private static let extensionFile = "/usr/share/postgresql/15/extension/pglogical.control"
  static let library = "pglogical"
  static var isInstalled: Bool { FileManager.default.fileExists(atPath: extensionFile) }

  var name: String { "pglogical 2.4" }
  var key: String { "pglogical" }
  var writes: Bool { true }

  /// Makes the source's side in one database, after the target was copied and before any slot is made: pglogical's
  /// tables are tables of the database, and a subscription to all tables would carry their rows.
  static func provide(_ source: Cluster, _ database: String) throws {
    guard isInstalled else { return }
    let connection = try source.connect(database)
    try connection.script("CREATE EXTENSION pglogical")
    try connection.query("SELECT pglogical.create_node('provider', $1)", [source.conninfo(database)])
    try connection.script(
      """
      SELECT pglogical.replication_set_add_table(
               CASE WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
                    THEN 'default' ELSE 'default_insert_only' END, c.oid)
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
      """)
  }

  func prepare(_ run: Run) throws {
    guard Self.isInstalled else { throw BenchError("not installed: there is no \(Self.extensionFile)") }
    try run.makeSlots("pglogical_output")
  }

  /// A subscription makes its slot itself, where it would begin only now. Until the commit no worker sees it, so that
  /// it can be told of the slot that is there: what it looks like then is what a new one looks like once it is ready.
  func arrange(_ run: Run) throws {
    try run.makeTargets()
    try run.target.stop()
    try run.target.start(preloading: Self.library)
    for database in run.databases {
      let slot = run.slot(database)
      let start =
        try run.source.connect().query(
          "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1", [slot]
        ).first ?? ""
      let connection = try run.target.connect(run.targetDatabase(database))
      try connection.script("CREATE EXTENSION pglogical")
      try connection.query(
        "SELECT pglogical.create_node('subscriber', $1)", [run.target.conninfo(run.targetDatabase(database))])
      try connection.script(
        """
        BEGIN;
        SELECT pglogical.create_subscription('bench', '\(run.source.conninfo(database))',
          synchronize_structure := false, synchronize_data := false);
        UPDATE pglogical.subscription SET sub_enabled = false, sub_slot_name = '\(slot)';
        UPDATE pglogical.local_sync_status SET sync_status = 'r';
        SELECT pg_replication_origin_create('\(slot)');
        SELECT pg_replication_origin_advance('\(slot)', '\(start)');
        COMMIT
        """)
    }
  }

  func start(_ run: Run) throws -> [Program] {
    for database in run.databases {
      try run.target.connect(run.targetDatabase(database)).script(
        "SELECT pglogical.alter_subscription_enable('bench', true)")
    }
    return []
  }

  func stop(_ run: Run, _ programs: [Program]) throws {
    for database in run.databases {
      let connection = try run.target.connect(run.targetDatabase(database))
      try connection.script("SELECT pglogical.alter_subscription_disable('bench', true)")
      try connection.script("SELECT pglogical.drop_subscription('bench')")
      try connection.script("SELECT pglogical.drop_node('subscriber')")
    }
  }

  func clear(_ run: Run) throws {
    guard run.target.preloaded != nil else { return }
    try run.target.stop()
    try run.target.start()
  }
}
