import HostAdmin
package import Inventory
import Journal
import Logging
import PostgresClient
package import ReplicationModel

/// Keeps a side closed: looks again and again whether its fence stands and is in force, and whether anybody is inside,
/// and closes it again.
///
/// A look is one statement. That the block stands in pg_hba.conf says nothing of what the postmaster has loaded, so the
/// watch has the server reload it unless that has been done since, and again whenever it has put it back or the file is
/// another one.
package actor FenceWatch: Companion {
  private let context: MigrationContext
  private let side: Side
  private let fence: Fence
  /// Whether the side shall be closed, asked before it is closed again and once more behind that.
  private let isWanted: @Sendable () async throws -> Bool

  private var session: PostgresSession?
  /// The subscriptions that the block names, for when it is gone.
  private var disabled: [Subscriptions.Name] = []
  /// The file that a reload under way will load, or an earlier one.
  private var loading: File?
  /// The file that the postmaster has certainly loaded; nil before.
  private var loaded: File?
  private var rounds: Task<Void, Never>?
  private var isPausing = false

  /// Between two looks of a play.
  private static let interval = Duration.milliseconds(100)
  /// In so many parts, so that a pause need not wait for all of it.
  private static let naps = 10
  /// How long closing again may take.
  private static let patience = Duration.seconds(10)

  package init(_ context: MigrationContext, _ side: Side, while isWanted: @escaping @Sendable () async throws -> Bool) {
    self.context = context
    self.side = side
    self.isWanted = isWanted
    fence = Fence(context: context, side: side)
  }

  // MARK: its life

  /// Looks from now on, beside whatever else is done, until the end. What it finds is told and written down.
  package func begin() {
    guard rounds == nil else { return }
    isPausing = false
    rounds = Task {
      while !isPausing {
        do {
          try await roundAndAlarm()
        } catch {
          context.logger.debug("a closed side was not looked at", metadata: ["reason": "\(error)"])
        }
        for _ in 0..<Self.naps where !isPausing { try? await Task.sleep(for: Self.interval / Self.naps) }
      }
    }
  }

  /// Goes on looking only when it is asked to.
  package func pause() async {
    // Not cut off in the middle of a statement, which could reach the next one of the session.
    isPausing = true
    await rounds?.value
    rounds = nil
  }

  package func end() async {
    await pause()
    await session?.close()
    session = nil
  }

  package func roundAndAlarm() async throws { try await context.alarm(try await round()) }

  // MARK: one round

  private struct Look {
    var text: HostBasedAuthentication
    /// When the file was changed last, whole seconds.
    var changed: String
    /// Whether that was seconds ago: nothing can have been written within the same second behind this look.
    var isSettled: Bool
    var foreign: Int
    var databases: [ConnectionLimits.Database]
  }

  /// Looks once, closes what is open, and ends who is inside.
  ///
  /// - Returns: what was found, if anything.
  package func round() async throws -> [FenceBreach] {
    let look = try await look()
    var found: [String] = []
    if !look.text.isKeptOut {
      guard try await putBack() else { return [] }
      let block = try await isQuarantine() ? "quarantine" : "fence"
      found.append("pg_hba.conf had lost the \(block), which was put back")
    } else if try await !isLoaded(look) {
      try await load()
    }
    if look.foreign > 0 { found.append("\(look.foreign) sessions of others were inside, and were ended") }
    // A quarantine is the block alone.
    if try await state() != .handedOff, let databases = try await closeDatabases(look.databases) {
      found.append("connections to \(databases) were allowed again, and are not any more")
    }
    if !found.isEmpty { try await sweep(within: Self.patience) }
    return found.map { FenceBreach(side: side, at: millisecondsSince1970(), what: $0) }
  }

  /// Ends everybody until two looks in a row find nobody. Who lifts the fence meanwhile finds it put back.
  package func sweep(within deadline: Duration) async throws {
    var sweep = FenceSweep(fence, try await context.server(side), try await openSession())
    var cleanLooks = 0
    var found: [String] = []
    try await waitUntil(
      within: deadline, interval: .milliseconds(20),
      orThrow: {
        ConvoyError(
          "fence.not-clean", "writers are left behind the fence: " + found.joined(separator: "; "), at: fence.place,
          hint: "end them by hand, then run the playbook again")
      }
    ) {
      if try await !self.look().text.isKeptOut {
        _ = try await putBack()
        sweep.beginAnew()
        cleanLooks = 0
      }
      found = try await sweep.look()
      cleanLooks = found.isEmpty ? cleanLooks + 1 : 0
      return cleanLooks >= 2
    }
  }

  package func connect() async throws { _ = try await openSession() }

  /// Before the server is told to read the file.
  ///
  /// - Returns: what proves that it has.
  @discardableResult
  func willReload() async throws -> String? {
    let look = try await look()
    loading = look.text.isKeptOut ? await file(look) : nil
    return look.text.proof
  }

  /// When it has certainly done so.
  ///
  /// - Returns: whether the block stands and is in force.
  @discardableResult
  func hasReloaded() async throws -> Bool {
    guard let loading, try await look().changed == loading.changed else { return false }
    loaded = loading
    return true
  }

  private func look() async throws -> Look {
    let session = try await openSession()
    let row = try await session.query(
      """
      SELECT \(HostBasedAuthentication.reading), (pg_catalog.pg_stat_file(f)).change, (
          SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
           WHERE usename <> $1 AND datname IS NOT NULL AND backend_type IN ('client backend', 'walsender')),
             pg_catalog.clock_timestamp() - (pg_catalog.pg_stat_file(f)).change > '2 seconds'::pg_catalog.interval
        FROM pg_catalog.current_setting('hba_file') AS f
      """, [fence.role]
    ).rows.first
    guard let row else { throw ConvoyError("fence.unreadable", "pg_hba.conf could not be read", at: fence.place) }
    let text = HostBasedAuthentication(binary: row.string(0))
    if text.isKeptOut { disabled = text.disabledSubscriptions }
    return Look(
      text: text, changed: row.string(1), isSettled: row.bool(3), foreign: row.int(2) ?? 0,
      databases: try await ConnectionLimits.databases(session))
  }

  private func openSession() async throws -> PostgresSession {
    if let session, await session.isOpen { return session }
    let made = try await context.newSession(side)
    session = made
    return made
  }

  // MARK: closing again

  /// What the block says of itself.
  private func note() async throws -> String { try await isQuarantine() ? Quarantine.note(context) : fence.note }

  /// Whether it is that of a copy: before a cutover, and once the source is open again.
  private func isQuarantine() async throws -> Bool {
    guard side == .target, let state = try await state() else { return false }
    return !state.isHeldUp && state != .cutOver
  }

  /// Whether applications are to come in on this side, by what is on record.
  private func isServing() async throws -> Bool {
    switch try await state() {
    case .cutOver: side == .target
    case .rolledBack, .handedOff: side == .source
    case .finished: true
    default: false
    }
  }

  private func state() async throws -> MigrationState? { try await context.record()?.state }

  /// - Returns: whether the block stands and is in force; false where the side is to be open by now.
  private func putBack() async throws -> Bool {
    guard try await isWanted() else { return false }
    let file = try await fence.hbaFile(try await context.server(side), try await openSession())
    // One that has begun when the block was gone already has not seen the names in it.
    if disabled.isEmpty { disabled = try await context.fact(.fencedSubscriptions(side)) ?? [] }
    try await file.fence(for: try await fence.hbaRole(), note: note(), disabling: disabled)
    try await load()
    // Somebody may have opened the side while this went on, or while this machine slept. Where it is in between, or this
    // is only told to end, it stays closed.
    if try await isWanted() { return true }
    guard try await isServing() else { return true }
    try await file.lift()
    _ = try await openSession().query(CutoverSQL.reload)
    return false
  }

  /// Has the postmaster load the file with the block in it, however often somebody takes it out.
  private func load() async throws {
    try await waitUntil(
      within: Self.patience, interval: .milliseconds(20),
      orThrow: {
        ConvoyError(
          "fence.rewritten", "something takes the fence out of pg_hba.conf again and again", at: fence.place,
          hint: "stop the configuration management on that host for as long as it takes")
      }
    ) {
      if try await !look().text.isKeptOut {
        let file = try await fence.hbaFile(try await context.server(side), try await openSession())
        try await file.fence(for: try await fence.hbaRole(), note: note(), disabling: disabled)
      }
      let proof = try await willReload()
      guard try await fence.reload(try await openSession(), proving: proof) else { return false }
      return try await hasReloaded()
    }
  }

  /// - Returns: those that somebody had opened; nil where none was, or the lock had not been there.
  private func closeDatabases(_ databases: [ConnectionLimits.Database]) async throws -> String? {
    let open = databases.filter { !$0.isClosed }
    guard !open.isEmpty, try await isWanted() else { return nil }
    try await openSession().script(open.flatMap(\.closing).joined(separator: "; "), within: Self.patience)
    return open.count == databases.count ? nil : few(open.map(\.name))
  }
}

// MARK: what is loaded

extension FenceWatch {
  /// A version of pg_hba.conf.
  private struct File {
    /// When it was changed last, whole seconds: that is what PostgreSQL tells.
    var changed: String
    /// Whether that was seconds ago when it was looked at: nothing can have been written within the same second since.
    var isSettled: Bool
    /// The same to the host's finer clock, and which file it is: each edit of ours makes a new one. Nil where the host
    /// could not be asked.
    var exactly: String?
  }

  /// Whether the file of that look is in force, as far as that can be told without loading it.
  private func isLoaded(_ look: Look) async throws -> Bool {
    guard var loaded else {
      loaded = try? await fileLoadedBehindItsLastChange(look)
      return loaded != nil
    }
    guard loaded.changed == look.changed else { return false }
    if loaded.isSettled { return true }
    guard let exactly = loaded.exactly, exactly == (try? await self.exactly()) else { return false }
    loaded.isSettled = look.isSettled
    self.loaded = loaded
    return true
  }

  private func file(_ look: Look) async -> File {
    File(
      changed: look.changed, isSettled: look.isSettled, exactly: look.isSettled ? nil : try? await self.exactly())
  }

  /// `1790000000.123456789 4711`
  private func exactly() async throws -> String {
    let path = try await openSession().query("SHOW hba_file").first ?? ""
    return trimmed(
      try await context.server(side).ask("stat -L -c '%.9Z %i' -- \"$1\"", [path], label: "looking at pg_hba.conf"))
  }

  /// By the host's finer clock, which a file's times follow in ticks. The session has inherited the postmaster's own load
  /// time, if it is older than itself.
  private func fileLoadedBehindItsLastChange(_ look: Look) async throws -> File? {
    let exactly = try await exactly()
    let isLoaded = try await openSession().query(
      """
      SELECT pg_catalog.pg_conf_load_time() BETWEEN pg_catalog.to_timestamp($1::float8 + 0.01) AND backend_start
        FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
      """, [String(exactly.prefix { $0 != " " })]
    ).first
    return isLoaded == "t" ? File(changed: look.changed, isSettled: look.isSettled, exactly: exactly) : nil
  }
}

// MARK: commits of others

extension FenceWatch {
  package func position() async throws -> WALPosition { try await WALPosition.current(try await openSession()) }

  /// Up to which all records are on the disk.
  package func flushed() async throws -> LSN? {
    try await openSession().query("SELECT pg_catalog.pg_current_wal_flush_lsn()").first.flatMap { LSN($0) }
  }

  /// What others have committed between two positions, of which the second one is on the disk.
  package func foreignCommits(since start: WALPosition, until end: WALPosition) async throws -> [ForeignCommit] {
    try await ForeignCommits(
      context: context, side: side, server: try await context.server(side), session: try await openSession()
    ).between(start, end)
  }
}
