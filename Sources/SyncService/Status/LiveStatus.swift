import FoundationEssentials
import HostAdmin
import Inventory
import Journal
package import Logging
package import MigrationCore
import PostgresClient
import Presentation
package import ReplicationModel

/// A migration's rows for the report, from the servers where they answer and from the sync process's last word
/// otherwise.
package enum LiveStatus {
  /// How old the sync process's word may be before its worker counts as stopped.
  private static let freshness: Double = 10

  package static func migration(_ context: MigrationContext) async throws -> ConvoyStatus.Migration {
    let record = try await context.record()
    var result = ConvoyStatus.Migration(
      name: context.migrationName, source: context.migration.source.name, target: context.migration.target.name,
      state: record?.state ?? .none, handOffLSN: record?.handOff?.handOffLSN, databases: [])
    if let record, record.handOff?.handOffLSN != nil { result.direction = record.direction }
    result.sync = try await sync(context)
    result.databases = try await read(context, silenceIs: .warning, asks: false)
    async let source = isFenced(context, .source)
    async let target = isFenced(context, .target)
    (result.sourceFenced, result.targetFenced) = await (source, target)
    if let breaches = try await context.fact(.fenceBreaches) {
      let openings = breaches.filter { $0.commits == 0 }
      result.fenceBreaches = UInt64(openings.count)
      result.latestBreach = openings.last { $0.side == result.sideToBeClosed?.rawValue }.map {
        .init(at: HumanFormat.moment(Date(timeIntervalSince1970: Double($0.at / 1000))), what: $0.what)
      }
      result.closedSideCommits = breaches.reduce(0) { $0 + $1.commits }
    }
    return result
  }

  /// What the process says that was put on a host, or that it says nothing; nil where it is on this machine.
  private static func sync(_ context: MigrationContext) async throws -> ConvoyStatus.HostedSync? {
    guard let place = try await context.syncPlaces().current else { return nil }
    var sync = ConvoyStatus.HostedSync(host: place.host, manager: place.manager.rawValue)
    do {
      let report = try await context.exchange(.look, with: place)
      sync.running = report.running
      sync.pid = report.pid
    } catch {
      let line = "\(error)".split(separator: "\n").first.map(String.init) ?? ""
      context.logger.warning("the sync process cannot be asked", metadata: ["reason": "\(line)"])
    }
    return sync
  }

  /// - Parameters:
  ///   - silenceIs: the level at which a server that does not answer is logged; the rows then say less.
  ///   - asks: whether a sync process on a host is asked first, and must answer.
  package static func read(
    _ context: MigrationContext, silenceIs level: Logger.Level = .debug, asks: Bool = true
  ) async throws -> [DatabaseStatus] {
    if asks { try await context.exchange() }
    let isMine = if case .mine = try await context.workersTurn() { true } else { false }
    let record = try await context.record()
    guard let record, let handOff = record.handOff else {
      if record?.state == .finished { return [] }
      // Nothing has been done yet: what the source would hand over, if it answers.
      var databases: [MigrationContext.ServerDatabase] = []
      do { databases = try await context.selectedDatabases() } catch { note(error, from: .source, context, level) }
      return databases.map { DatabaseStatus(migration: context.migrationName, database: $0.name, phase: .pending) }
    }
    let direction = record.direction
    let recorded = try await context.knownStatuses().filter { ($0.status.direction ?? .forward) == direction }
    var isRunning = true
    if isMine { isRunning = try await isSyncRunning(context) }
    let source = await facts(context, of: direction.from, level)
    let target = await progress(context, on: direction.to, level)
    let progress = target ?? [:]
    let silent: Side? = source == nil ? direction.from : target == nil ? direction.to : nil
    return handOff.databases.map { database in
      let word = recorded.first { $0.status.database == database.name }
      var status =
        word?.status ?? DatabaseStatus(migration: context.migrationName, database: database.name, phase: .handedOff)
      status.direction = handOff.handOffLSN == nil ? nil : direction
      status.handOffLSN = handOff.handOffLSN
      status.confirmedFlushLSN = source?.confirmed[handOff.slot(database, direction)]
      status.sourceLSN = source?.insert
      let isFresh = isRunning && word.map { -$0.recorded.timeIntervalSinceNow < freshness } ?? false
      let position = status.appliedLSN
      status.appliedLSN = progress[handOff.origin(database, direction)] ?? position
      if let insert = source?.insert, let applied = isFresh ? position ?? status.appliedLSN : status.appliedLSN {
        status.lagBytes = insert.bytes(since: applied)
      }
      status.phase = phase(record, handOff, word?.status.phase, isFresh: isFresh)
      // A process that cannot be asked goes on: the server knows whether it reads.
      if !isMine, status.phase == .stopped, source?.read.contains(handOff.slot(database, direction)) == true {
        status.phase = .streaming
      }
      if let silent, status.phase.isGoingOn {
        status.phase = .unreachable
        status.lastError = status.lastError ?? "\(context.host(silent).name) does not answer"
      }
      if let since = status.interruptedAt, status.phase.isHeldUp {
        // What it was behind then, and all the time since: it may have missed something from the first moment on.
        let seconds = Double(max(since, millisecondsSince1970()) - since) / 1000
        status.interruptedSeconds = seconds
        status.lagSeconds = (status.lagSeconds ?? 0) + seconds
      } else if status.phase == .unreachable {
        status.lagSeconds = nil
      }
      if status.phase == .stopped || status.phase == .cutOver {
        status.rowsPerSecond = 0
        status.lagSeconds = nil
      }
      if status.phase == .cutOver || handOff.handOffLSN == nil { status.lagBytes = nil }
      return status
    }
  }

  private static func phase(
    _ record: MigrationRecord, _ handOff: HandOffRecord, _ worker: DatabasePhase?, isFresh: Bool
  ) -> DatabasePhase {
    let isHeldUp = worker == .parked || worker == .interrupted || worker == .unreachable
    switch record.state {
    case .none, .prepared: return .pending
    case .copying, .standby: return .copying
    case .finished: return .cutOver
    case .cutOver where handOff.start(.reverse) == nil: return .cutOver
    case .drained where isFresh && !isHeldUp: return .drained
    case .fenced where isFresh && !isHeldUp: return .draining
    default: break
    }
    guard let worker else { return record.direction == .reverse ? .stopped : .handedOff }
    if worker == .parked { return .parked }
    return isFresh && record.desiredSync == DesiredSync(record.direction) ? worker : .stopped
  }

  /// The error's own line names the host.
  private static func note(_ error: any Error, from side: Side, _ context: MigrationContext, _ level: Logger.Level) {
    let line = "\(error)".split(separator: "\n").first.map(String.init) ?? ""
    context.logger.log(
      level: level, "the \(side.rawValue) does not answer",
      metadata: ["migration": "\(context.migrationName)", "reason": "\(line)"])
  }

  /// Whether a block of ours stands on top of the server's pg_hba.conf, whole; nil when it does not say.
  private static func isFenced(_ context: MigrationContext, _ side: Side) async -> Bool? {
    let query = "SELECT \(HostBasedAuthentication.reading)"
    // A server that has not answered just now is not waited for again.
    guard let session = await context.openSession(side),
      let text = try? await session.query(query, within: .seconds(10)).first
    else { return nil }
    return HostBasedAuthentication(binary: text).isKeptOut
  }

  private static func facts(
    _ context: MigrationContext, of side: Side, _ level: Logger.Level
  ) async -> (insert: LSN, confirmed: [String: LSN], read: Set<String>)? {
    do {
      let session = try await context.session(side)
      let rows = try await session.query(
        """
        SELECT slot_name, confirmed_flush_lsn, pg_catalog.pg_current_wal_insert_lsn(), active
          FROM (SELECT) AS one LEFT JOIN pg_catalog.pg_replication_slots ON slot_type = 'logical'
        """, within: .seconds(10)
      ).rows
      guard let insert = rows.first?[2].flatMap({ LSN($0) }) else { return nil }
      var confirmed: [String: LSN] = [:]
      var read: Set<String> = []
      for row in rows {
        if let name = row[0], let lsn = row[1].flatMap({ LSN($0) }) { confirmed[name] = lsn }
        if let name = row[0], row[3] == "t" { read.insert(name) }
      }
      return (insert, confirmed, read)
    } catch {
      note(error, from: side, context, level)
      return nil
    }
  }

  private static func progress(
    _ context: MigrationContext, on side: Side, _ level: Logger.Level
  ) async -> [String: LSN]? {
    do {
      let rows = try await context.session(side).query(
        "SELECT external_id, remote_lsn FROM pg_catalog.pg_replication_origin_status", within: .seconds(10)
      ).rows
      let reached = Dictionary(
        rows.compactMap { row in row[1].flatMap { LSN($0) }.map { (row.string(0), $0) } },
        uniquingKeysWith: { first, _ in first })
      // Behind a backlog a worker's second session may be further.
      return Dictionary(
        uniqueKeysWithValues: reached.map { name, progress in
          (name, max(progress, reached[HandOffNames.secondOrigin(beside: name)] ?? progress))
        })
    } catch {
      note(error, from: side, context, level)
      return nil
    }
  }
}
