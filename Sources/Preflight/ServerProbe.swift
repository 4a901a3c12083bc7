import HostAdmin
import Inventory
import LogicalDecoding
import MigrationCore
import PostgresClient
import ReplicationModel

/// The questions to the servers: SELECT, and a LOAD in a session of its own.
extension PreflightReader {
  func role(_ side: Side, _ control: Reading<ServerControl>) async -> Reading<RoleFacts> {
    await reading(side) {
      if side == .target, try await !control.get().isRunning() {
        throw CheckNotMade(reason: "PostgreSQL does not run on \(migration.target.name)")
      }
      let session = try await context.session(side)
      let row = try await session.query(
        """
        SELECT rolname, rolsuper, pg_catalog.pg_is_in_recovery()
          FROM pg_catalog.pg_roles WHERE rolname = current_user
        """, within: Self.deadline
      ).rows.first
      return RoleFacts(
        name: row?.string(0) ?? "", isSuperuser: row?.bool(1) ?? false, isInRecovery: row?.bool(2) ?? false,
        serverVersion: await session.serverVersion)
    }
  }

  /// Much of what preflight reads is for superusers only.
  private func superuserSession(_ side: Side, _ role: Reading<RoleFacts>) async throws -> PostgresSession {
    let role = try role.get()
    guard role.isSuperuser else {
      throw CheckNotMade(reason: "role \(role.name) on \(migration.host(side).name) is not a superuser")
    }
    return try await context.session(side)
  }

  func server(_ side: Side, _ role: Reading<RoleFacts>) async -> Reading<ServerFacts> {
    await reading(side) {
      let session = try await superuserSession(side, role)
      let settings = try await session.query(
        """
        SELECT name, setting, coalesce(sourcefile, '') LIKE '%/postgresql.auto.conf' FROM pg_catalog.pg_settings
        """, within: Self.deadline
      ).rows
      let row = try await session.query(
        """
        SELECT system_identifier, pg_catalog.pg_postmaster_start_time(),
               (SELECT pg_catalog.pg_collation_actual_version(oid)
                  FROM pg_catalog.pg_collation WHERE collname = 'und-x-icu' LIMIT 1)
          FROM pg_catalog.pg_control_system()
        """, within: Self.deadline
      ).rows.first
      let values = Dictionary(settings.map { ($0.string(0), $0.string(1)) }) { first, _ in first }
      return ServerFacts(
        systemIdentifier: row?.string(0) ?? "", startTime: row?.string(1) ?? "",
        dataDirectory: values["data_directory"] ?? "", settings: values,
        madeBySystem: Set(settings.filter { $0.bool(2) }.map { $0.string(0) }),
        resultSettings: try await context.serverSettings(side), icuVersion: row?[2])
    }
  }

  func authentication(
    _ side: Side, _ control: Reading<ServerControl>, _ role: Reading<RoleFacts>
  ) async -> Reading<AuthenticationFacts?> {
    await reading(side) {
      let control = try control.get()
      var brokenLine: String?
      var running: String?
      if role.value?.isSuperuser == true {
        let session = try await context.session(side)
        running = try await session.query("SELECT pg_catalog.current_setting('hba_file')").first
        brokenLine = try await Fence.brokenLine(session, within: Self.deadline)
      } else if side == .source {
        _ = try await superuserSession(side, role)
      }
      var path = running
      if path == nil {
        guard let files = try await ConfigurationFiles.find(control) else { return nil }
        path = files.hba.hasPrefix("/") ? files.hba : control.dataDirectory + "/" + files.hba
      }
      guard let path else { return nil }
      let file = HBAFile(server: control, path: path)
      // A copy makes one in its data directory its own.
      if let replacing = try await file.obstacleToReplacing(unlessIn: side == .target ? control.dataDirectory : "") {
        return AuthenticationFacts(path: path, replacingObstacle: replacing, brokenLine: brokenLine)
      }
      let text = try await file.read()
      // Of the target as well: the copy has the source's roles.
      guard let session = try? await context.session(.source) else {
        throw CheckNotMade(reason: "\(migration.source.name) does not say what roles there are")
      }
      let role = try await HBARole.ask(migration.host(side).postgres.user, session).facing(file, session)
      var obstacle: String?
      do throws(ConvoyError) { _ = try text.fenced(for: role, note: "preflight") } catch { obstacle = error.message }
      return AuthenticationFacts(
        path: path, fenceObstacle: obstacle, isFenced: text.isFenced, brokenLine: brokenLine)
    }
  }

  func cluster(_ role: Reading<RoleFacts>) async -> Reading<ClusterFacts> {
    await reading(.source) {
      let session = try await superuserSession(.source, role)
      var facts = ClusterFacts()
      // The provider's column is there from 15 on; "C", "POSIX" and "C.…" sort by bytes, whatever the library.
      facts.databases = try await rows(
        session,
        """
        SELECT datname, datallowconn, datistemplate, pg_catalog.pg_encoding_to_char(encoding),
               coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
                 AND datcollate !~* '^(c|posix)$|^c[.]'
          FROM pg_catalog.pg_database d ORDER BY datname
        """
      ).map { row in
        ClusterFacts.Database(
          name: row.string(0), takesConnections: row.bool(1), isTemplate: row.bool(2), encoding: row.string(3),
          usesCLibraryLocale: row.bool(4))
      }
      facts.tablespaces = try await SourceSize.tablespaces(session, within: Self.deadline)
      if let row = try await rows(
        session,
        """
        SELECT (\(SourceSize.walBytes)),
               (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots),
               (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender')
        """
      ).first {
        facts.walBytes = UInt64(row.string(0)) ?? 0
        facts.slotsInUse = row.int(1) ?? 0
        facts.walsendersInUse = row.int(2) ?? 0
      }
      facts.walRate = try await walRate(session)
      try await addActivity(session, &facts)
      try await addOthers(session, &facts)
      facts.outputPluginError = try await outputPluginError()
      return facts
    }
  }

  /// Bytes a second. Since the last checkpoint began, where that is long enough ago to tell; and the server's own
  /// average, from 14 on.
  private func walRate(_ session: PostgresSession) async throws -> UInt64 {
    let recently = """
      SELECT CASE WHEN s >= 15 THEN (pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), redo_lsn) / s)
             ELSE 0 END::pg_catalog.int8
        FROM (SELECT redo_lsn, extract(epoch FROM pg_catalog.clock_timestamp() - checkpoint_time)::pg_catalog.numeric s
                FROM pg_catalog.pg_control_checkpoint()) c
      """
    let average = """
      SELECT (wal_bytes / greatest(15, extract(epoch FROM pg_catalog.clock_timestamp() - stats_reset))
             )::pg_catalog.int8
        FROM pg_catalog.pg_stat_wal
      """
    let statements = await session.serverVersion >= 140000 ? [recently, average] : [recently]
    var rate: UInt64 = 0
    for statement in statements {
      rate = max(rate, UInt64(try await rows(session, statement).first?.string(0) ?? "") ?? 0)
    }
    return rate
  }

  private func addActivity(_ session: PostgresSession, _ facts: inout ClusterFacts) async throws {
    facts.sessionsOfOurRole = try await rows(
      session,
      """
      SELECT coalesce(application_name, '') FROM pg_catalog.pg_stat_activity
       WHERE usename = current_user AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
         AND application_name NOT LIKE 'pgconvoy%'
      """
    ).map { $0.string(0) }
    facts.transactions = try await rows(
      session,
      """
      SELECT pid, coalesce(datname, ''),
             extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::pg_catalog.int4, backend_xid IS NOT NULL,
             pg_catalog.left(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 60)
        FROM pg_catalog.pg_stat_activity
       WHERE xact_start < pg_catalog.clock_timestamp() - $1::pg_catalog.int4 * interval '1 second'
         AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'
       ORDER BY xact_start LIMIT 20
      """, [String(Preflight.longTransaction)]
    ).map { row in
      ClusterFacts.Transaction(
        pid: row.int(0) ?? 0, database: row.string(1), seconds: row.int(2) ?? 0, hasWritten: row.bool(3),
        query: row.string(4))
    }
    facts.prepared = try await rows(
      session,
      """
      SELECT gid, database, extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::pg_catalog.int4
        FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 20
      """
    ).map { ClusterFacts.Prepared(gid: $0.string(0), database: $0.string(1), seconds: $0.int(2) ?? 0) }
    facts.subscriptions = try await rows(
      session,
      """
      SELECT s.subname, d.datname
        FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
       WHERE s.subenabled ORDER BY 2, 1
      """
    ).map { ClusterFacts.Subscription(name: $0.string(0), database: $0.string(1)) }
    facts.otherSlots = try await rows(
      session,
      """
      SELECT slot_name, database FROM pg_catalog.pg_replication_slots
       WHERE NOT temporary AND slot_name !~ '^pgconvoy_' ORDER BY 1
      """
    ).map { ClusterFacts.Slot(name: $0.string(0), database: $0[1]) }
  }

  /// Who else is there.
  private func addOthers(_ session: PostgresSession, _ facts: inout ClusterFacts) async throws {
    facts.clientBackends =
      try await rows(
        session,
        """
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
         WHERE backend_type = 'client backend'
           AND (usename IS DISTINCT FROM current_user OR application_name NOT LIKE 'pgconvoy%')
        """
      ).first?.int(0) ?? 0
    facts.standbys = try await rows(
      session,
      """
      SELECT DISTINCT application_name FROM pg_catalog.pg_stat_replication
       WHERE application_name NOT LIKE 'pgconvoy%' AND application_name <> '' ORDER BY 1
      """
    ).map { $0.string(0) }
    facts.backgroundWorkers = try await rows(
      session,
      """
      SELECT DISTINCT backend_type FROM pg_catalog.pg_stat_activity
       WHERE backend_type NOT IN ('client backend', 'walsender', 'parallel worker', \(FenceSweep.background))
         AND backend_type NOT LIKE 'logical replication%' ORDER BY 1
      """
    ).map { $0.string(0) }
  }

  /// Loads the plugin into a session that ends at once.
  private func outputPluginError() async throws -> String? {
    do {
      try await context.withNewSession(.source) { session in
        _ = try await session.script("LOAD \(quotedLiteral(migration.plugin.name))", within: Self.deadline)
      }
      return nil
    } catch let error as PostgresError where error.reason == .server {
      return error.message
    }
  }

  private func rows(
    _ session: PostgresSession, _ sql: String, _ values: [String?] = []
  ) async throws -> [QueryResult.Row] {
    try await session.query(sql, values, within: Self.deadline).rows
  }
}
