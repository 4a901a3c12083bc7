import HostAdmin
package import Inventory
import Playbook
import PostgresClient
import RemoteHost
import ReplicationModel

/// Keeps every writer out of a server but pgconvoy's own role, superusers included.
///
/// Three parts: reject records on top of pg_hba.conf (so that nobody comes in), subscriptions off (so that nobody
/// writes from inside), and a sweep of those who are in already. The block in pg_hba.conf is the record of the fence:
/// any machine with the inventory can see and lift it, and enable the subscriptions that it names.
package struct Fence {
  package let context: MigrationContext
  package let side: Side

  package init(context: MigrationContext, side: Side) {
    self.context = context
    self.side = side
  }

  var place: ConvoyError.Place { context.place("fence", side) }
  var role: String { context.migration.host(side).postgres.user }

  /// Those that the fence has disabled.
  package func disabledSubscriptions() async throws -> [Subscriptions.Name] {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().disabledSubscriptions
  }

  /// Whether a block stands there that says so.
  package func isQuarantine() async throws -> Bool {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().note
      == Quarantine.note(context)
  }

  var note: String { "migration \(context.migrationName)" }
  var subscriptions: Subscriptions { Subscriptions(context: context, side: side) }

  package func isUp() async throws -> Bool {
    try await hbaFile(try await context.server(side), try await context.session(side)).read().isFenced
  }

  func hbaFile(_ server: ServerControl, _ session: PostgresSession) async throws -> HBAFile {
    HBAFile(server: server, path: try await session.query("SHOW hba_file").first ?? "")
  }

  // MARK: the sweep

  /// Ends foreign sessions until a look at everything finds nothing twice in a row.
  func sweep(_ server: ServerControl, _ session: PostgresSession, deadline: Duration) async throws {
    var cleanLooks = 0
    var found: [String] = []
    try await waitUntil(
      within: deadline, interval: .milliseconds(20),
      orThrow: {
        ConvoyError(
          "fence.not-clean", "writers are left behind the fence: " + found.joined(separator: "; "), at: place,
          hint: "end them by hand, then run the cutover again")
      }
    ) {
      found = try await endForeignSessions(session)
      found += try await endHalfOpenLogins(server, session)
      found += try await foreignTransactions(session)
      cleanLooks = found.isEmpty ? cleanLooks + 1 : 0
      return cleanLooks >= 2
    }
  }

  /// Client backends of any role but ours. Physical walsenders (other standbys) only read.
  private func endForeignSessions(_ session: PostgresSession) async throws -> [String] {
    try await session.query(
      """
      SELECT pid, coalesce(usename, '?'), coalesce(datname, '?'), coalesce(application_name, ''),
             pg_catalog.pg_terminate_backend(pid)
        FROM pg_catalog.pg_stat_activity a
       WHERE backend_type NOT IN ('autovacuum launcher', 'autovacuum worker', 'background writer', 'checkpointer',
               'walwriter', 'archiver', 'logical replication launcher', 'startup', 'walreceiver', 'slotsync worker',
               'io worker', 'walsummarizer')
         AND NOT (backend_type = 'walsender' AND EXISTS (
               SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = a.pid AND s.slot_type = 'physical'))
         AND NOT (backend_type = 'walsender' AND usename IS DISTINCT FROM $1 AND datname IS NULL)
         AND (usename IS DISTINCT FROM $1 OR application_name NOT LIKE 'pgconvoy%')
         AND leader_pid IS NULL
      """, [role]
    ).rows.map { "pid \($0.string(0)) of \($0.string(1)) in \($0.string(2))" }
  }

  /// Connections that are halfway through their login appear in no view; on the host they are children of the
  /// postmaster whose title is neither a background process's nor that of a session that the views know.
  private func endHalfOpenLogins(_ server: ServerControl, _ session: PostgresSession) async throws -> [String] {
    let known = Set(
      try await session.query("SELECT pid FROM pg_catalog.pg_stat_activity").rows.map { $0.string(0) })
    let directory = try await session.query("SHOW data_directory").first ?? server.dataDirectory
    let listing = try await server.remote.runChecked(
      server.shell("ps -o pid=,args= --ppid \"$(head -n 1 -- \"$1/postmaster.pid\")\"", [directory]).asking)
    var found: [String] = []
    for line in listing.text.split(separator: "\n") {
      let words = line.split(separator: " ", omittingEmptySubsequences: true)
      guard let pid = words.first.map(String.init), !known.contains(pid) else { continue }
      let title = words.dropFirst().joined(separator: " ")
      if PostmasterChild(title: title).isBackground { continue }
      // A session that has begun or ended since the first look is found by the next one.
      found.append("pid \(pid), \(title)")
      _ = try await server.remote.run(server.shell("kill -TERM \"$1\"", [pid]))
    }
    return found
  }

  /// Transactions that hold a transaction id and are not ours: prepared ones, which no sweep can end.
  private func foreignTransactions(_ session: PostgresSession) async throws -> [String] {
    try await session.query(
      """
      SELECT pg_catalog.format('prepared transaction %L in %s', gid, database) FROM pg_catalog.pg_prepared_xacts
      UNION ALL
      SELECT pg_catalog.format('transaction of pid %s', l.pid) FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
       WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS NOT NULL
         AND (a.usename IS DISTINCT FROM $1 OR a.application_name NOT LIKE 'pgconvoy%')
         AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
      """, [role]
    ).rows.map { $0.string(0) }
  }
}

/// A child of the postmaster as the process list shows it.
struct PostmasterChild {
  /// `postgres: checkpointer`, `postgres: lab: app bifrost 127.0.0.1(5000) authentication`.
  let title: String

  private static let background = [
    "checkpointer", "background writer", "walwriter", "autovacuum launcher", "autovacuum worker", "archiver",
    "stats collector", "logger", "startup", "walreceiver", "logical replication launcher", "slotsync worker",
    "io worker", "walsummarizer",
  ]

  /// Whether it is one of the server's own processes and no client's.
  ///
  /// A backend that has just been forked still shows the postmaster's own command line; that is a client too. So is a
  /// walsender on its way in: one of a database takes SQL. Roles may be called `logger` or `startup`; only a client's
  /// title says where it comes from, `[local]` or an address with a port.
  var isBackground: Bool {
    guard let prefix = title.firstRange(of: "postgres: ") else { return false }
    var name = title[prefix.upperBound...]
    let words = name.split(separator: " ")
    if words.contains(where: { $0 == "[local]" || ($0.hasSuffix(")") && $0.contains("(")) }) { return false }
    // cluster_name stands before the process's own title.
    if let separator = name.firstRange(of: ": ") { name = name[separator.upperBound...] }
    while name.last == " " { name = name.dropLast() }
    return Self.background.contains { name == $0 || name.hasPrefix($0 + " ") }
  }
}
