import HostAdmin
import PostgresClient
import RemoteHost
import ReplicationModel

/// Ends those who are inside a fence, until none is left.
///
/// A login under way is told from an attempt that is about to be refused by who was there first. Each backend has the
/// rules that the postmaster had when it forked it. So whoever is among the postmaster's children when the new rules
/// are in force for certain may still know the old ones, and come in late: those are ended. Whoever is not among them
/// was forked later and will be refused, however many of them come, and however long they say nothing.
package struct FenceSweep {
  let fence: Fence
  let server: ServerControl
  let session: PostgresSession
  /// Logins that had begun when the first look was taken; nil before it.
  private var suspects: Set<String>?
  private var firstLook: ContinuousClock.Instant?

  /// How long a login may take before it is ended: one that has not said yet who it is may be one of ours.
  private static let grace = Duration.milliseconds(100)

  /// - Parameter session: of our own role, made behind the reload that put the new rules in force.
  init(_ fence: Fence, _ server: ServerControl, _ session: PostgresSession) {
    self.fence = fence
    self.server = server
    self.session = session
  }

  /// Looks once at everything, and ends what it finds: one line for each.
  mutating func look() async throws -> [String] {
    var found = try await endForeignSessions()
    found += try await endHalfOpenLogins()
    return found + (try await foreignTransactions())
  }

  /// The rules were others for a moment: whoever is there now may have come in under those.
  mutating func beginAnew() { (suspects, firstLook) = (nil, nil) }

  /// Those of the server's own processes that the view has, as a list in SQL: the fence leaves them alone.
  package static let background = """
    'autovacuum launcher', 'autovacuum worker', 'background writer', 'checkpointer', 'walwriter', 'archiver',
    'logical replication launcher', 'startup', 'walreceiver', 'slotsync worker', 'io worker', 'walsummarizer'
    """

  /// From 18 on connections appear in the view before they have said who they are.
  private static let hasNoName = "usesysid IS NULL AND backend_type IN ('client backend', 'walsender')"

  /// Client backends of any role but ours. Physical walsenders (other standbys) only read.
  private func endForeignSessions() async throws -> [String] {
    try await session.query(
      """
      SELECT pid, coalesce(usename, '?'), coalesce(datname, '?'), coalesce(application_name, ''),
             pg_catalog.pg_terminate_backend(pid)
        FROM pg_catalog.pg_stat_activity a
       WHERE backend_type NOT IN (\(Self.background)) AND NOT (\(Self.hasNoName))
         AND NOT (backend_type = 'walsender' AND EXISTS (
               SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = a.pid AND s.slot_type = 'physical'))
         AND NOT (backend_type = 'walsender' AND usename IS DISTINCT FROM $1 AND datname IS NULL)
         AND (usename IS DISTINCT FROM $1 OR application_name NOT LIKE 'pgconvoy%')
         AND \(await session.serverVersion >= 130000 ? "leader_pid IS NULL" : "true")
      """, [fence.role]
    ).rows.map { "pid \($0.string(0)) of \($0.string(1)) in \($0.string(2))" }
  }

  /// Connections that are halfway through their login appear in no view, or without a name; on the host they are
  /// children of the postmaster whose title is neither a background process's nor that of a session in the views.
  private mutating func endHalfOpenLogins() async throws -> [String] {
    let known = Set(
      try await session.query("SELECT pid FROM pg_catalog.pg_stat_activity WHERE NOT (\(Self.hasNoName))").rows.map {
        $0.string(0)
      })
    let row = try await session.query(
      "SELECT pg_catalog.current_setting('data_directory'), pg_catalog.current_setting('cluster_name')"
    ).rows.first
    let children = try await children(row?.string(0) ?? server.dataDirectory, cluster: row?.string(1) ?? "")
    var halfOpen: [String: String] = [:]
    for (pid, child) in children where !known.contains(pid) {
      // A session that has begun or ended since the views were asked is found by the next look.
      if !child.isBackground, !child.isLogin(of: fence.role) { halfOpen[pid] = child.title }
    }
    let suspects = suspects ?? Set(halfOpen.keys)
    self.suspects = suspects
    let found = halfOpen.filter { suspects.contains($0.key) }.sorted { $0.key < $1.key }
    let began = firstLook ?? .now
    firstLook = began
    guard !found.isEmpty else { return [] }
    if began.duration(to: .now) < Self.grace { return found.map { "pid \($0.key), \($0.value)" } }
    _ = try await server.remote.run(server.shell("kill -TERM \"$@\"", found.map(\.key)))
    return found.map { "pid \($0.key), \($0.value)" }
  }

  /// The postmaster's children by their process id, taken from /proc: a host need not have `ps`.
  private func children(_ directory: String, cluster: String) async throws -> [(pid: String, child: PostmasterChild)] {
    let listing = try await server.remote.runChecked(server.shell(Self.listing, [directory]).asking)
    let lines = listing.text.split(separator: "\n")
    let room = lines.first.flatMap { Int($0) } ?? 0
    return lines.compactMap { line in
      // `4711/cmdline:postgres: checkpointer`
      guard let mark = line.firstRange(of: "/cmdline:") else { return nil }
      var title = line[mark.upperBound...]
      while title.last == " " { title = title.dropLast() }
      return (String(line[..<mark.lowerBound]), PostmasterChild(title: String(title), cluster: cluster, room: room))
    }
  }

  /// A process's parent stands second behind its name, which is in parentheses and may have some of its own.
  private static let listing = """
    LC_ALL=C; export LC_ALL
    IFS= read -r parent <"$1/postmaster.pid" && cd /proc || exit 1
    set --
    for s in [0-9]*/stat; do
      IFS= read -r line 2>/dev/null <"$s" || continue
      rest=${line##*) }; rest=${rest#* }
      [ "${rest%% *}" = "$parent" ] && set -- "$@" "${s%/stat}/cmdline"
    done 2>/dev/null
    cat "$parent/cmdline" "$parent/environ" | wc -c
    [ $# = 0 ] || grep -aH "" "$@" 2>/dev/null | tr "\\000" " "
    exit 0
    """

  /// Transactions that hold a transaction id and are not ours: prepared ones, which no sweep can end.
  private func foreignTransactions() async throws -> [String] {
    try await session.query(
      """
      SELECT pg_catalog.format('prepared transaction %L in %s', gid, database) FROM pg_catalog.pg_prepared_xacts
      UNION ALL
      SELECT pg_catalog.format('transaction of pid %s', l.pid) FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
       WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS NOT NULL
         AND (a.usename IS DISTINCT FROM $1 OR a.application_name NOT LIKE 'pgconvoy%')
         AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
      """, [fence.role]
    ).rows.map { $0.string(0) }
  }
}
