import BlockingIO
import FoundationEssentials
import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import ReplicationModel

/// One run's hold on a migration, on the servers themselves: an advisory lock in a session of its own on each side that can
/// be reached, with a sign of life every other second.
///
/// Whoever finds it held is told by whom. A run that has given no sign of life for a while - its machine sleeps, or the
/// network is gone - is ended on the server by the next one; it finds out before its next action.
package actor Lease {
  /// `pg_locks.classid` of the advisory locks on migrations' names: "pgcv".
  static let space: Int32 = 0x7067_6376
  /// What the server may need to see that a process has just ended.
  private static let grace = Duration.seconds(2)
  /// How long a side that could not be reached is left alone.
  private static let patience = Duration.seconds(10)
  private static let heartbeat = Duration.seconds(2)
  /// How old a sign of life may be when something is done. Less than the silence, so that nobody can have come in between.
  private static let freshness = Duration.seconds(6)

  package enum Confirmation: Sendable { case held, takenAnew }

  private nonisolated unowned let context: MigrationContext
  private var sessions: [Side: PostgresSession] = [:]
  /// The latest answer of each side.
  private var answered: [Side: ContinuousClock.Instant] = [:]
  /// Sides whose lock has been lost, for a restart of the server or for good, or was never had; and from when on it is
  /// tried again.
  private var lost: [Side: Deadline] = [:]
  /// Whether a lock was taken again since the last confirmation: somebody may have had it in between.
  private var wasRetaken = false
  /// One try for each side at a time.
  private var taking: [Side: Task<Void, any Error>] = [:]
  /// Whether any lock was ever had: only then can somebody have taken this run's place.
  private var hasHeld = false
  /// Another run holds the migration by now.
  private var replaced: ConvoyError?
  private var isReleased = false
  private var beating: Task<Void, Never>?

  init(_ context: MigrationContext) {
    self.context = context
  }

  /// Takes the lock on every side that can be reached.
  ///
  /// - Throws: `migration.held`.
  func take() async throws {
    for side in Side.allCases {
      do {
        try await take(side)
      } catch  where isOutOfReach(error) {
        lost[side] = .after(Self.patience)
      } catch {
        await release()
        throw error
      }
    }
    beating = Task { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: Self.heartbeat)
        guard let self, !Task.isCancelled else { return }
        await self.beat()
      }
    }
  }

  /// The session that holds the lock of a side, for the record beside it; nil while there is none.
  func session(_ side: Side) -> PostgresSession? { lost[side] == nil ? sessions[side] : nil }

  /// Looks whether the migration is still held: at once where there was a sign of life just now.
  ///
  /// - Throws: `truth.superseded` when somebody else holds it.
  func confirm() async throws -> Confirmation {
    if let replaced { throw replaced }
    let isFresh = answered.contains { lost[$0.key] == nil && $0.value.duration(to: .now) < Self.freshness }
    var isAnew = wasRetaken
    wasRetaken = false
    if isFresh { return isAnew ? .takenAnew : .held }
    for side in Side.allCases {
      if lost[side] == nil, await answers(side) { continue }
      if let again = lost[side], !again.hasPassed { continue }
      do {
        try await take(side)
        isAnew = true
      } catch  where isOutOfReach(error) {
        lost[side] = .after(Self.patience)
      }
      if let replaced { throw replaced }
    }
    return isAnew ? .takenAnew : .held
  }

  /// The side's server goes down or comes up: its lock is taken again when it can be.
  func forget(_ side: Side) async {
    lost[side] = .now()
    answered[side] = nil
    await sessions.removeValue(forKey: side)?.close()
  }

  func release() async {
    isReleased = true
    let former = beating
    beating = nil
    former?.cancel()
    await former?.value
    for session in sessions.values { await session.close() }
    sessions = [:]
    answered = [:]
  }

  private func beat() async {
    async let source: Void = beat(.source)
    async let target: Void = beat(.target)
    _ = await (source, target)
  }

  private func beat(_ side: Side) async {
    guard let again = lost[side] else {
      _ = await answers(side)
      return
    }
    guard again.hasPassed, !isReleased else { return }
    do {
      try await take(side)
      wasRetaken = true
    } catch {
      lost[side] = .after(Self.patience)
    }
  }

  private func answers(_ side: Side) async -> Bool {
    guard let session = sessions[side] else { return false }
    do {
      try await session.query("SELECT 1", within: Self.freshness)
      answered[side] = .now
      return true
    } catch {
      // Somebody has ended it, or the server was stopped.
      if sessions[side] === session {
        sessions[side] = nil
        answered[side] = nil
        lost[side] = .now()
      }
      await session.close()
      return false
    }
  }

  // MARK: one side

  private func take(_ side: Side) async throws {
    if let running = taking[side] { return try await running.value }
    let task = Task { try await self.takeNow(side) }
    taking[side] = task
    defer { taking[side] = nil }
    do {
      try await task.value
    } catch let error as ConvoyError where error.code == "migration.held" && hasHeld {
      replaced = ConvoyError(
        "truth.superseded", "another run has taken the place of this one: \(error.message); this run stops",
        at: error.place, hint: "see 'pgconvoy status', then decide anew")
      throw error
    }
  }

  private func takeNow(_ side: Side) async throws {
    await sessions.removeValue(forKey: side)?.close()
    let session = try await context.newSession(side)
    do {
      if isReleased { throw CancellationError() }
      try await session.query("SELECT pg_catalog.set_config('application_name', $1, false)", [Self.name])
      try await lock(session, side)
      if isReleased { throw CancellationError() }
    } catch {
      await session.close()
      throw error
    }
    sessions[side] = session
    answered[side] = .now
    lost[side] = nil
    hasHeld = true
  }

  private nonisolated func lock(_ session: PostgresSession, _ side: Side) async throws {
    let lock = AdvisoryLock(key: Self.key(context.migrationName))
    let grace = Deadline.after(Self.grace)
    var told = false
    try await waitUntil(
      within: .seconds(10), interval: .milliseconds(100),
      orThrow: { held(side, "a run that does not end", "end it on its machine") }
    ) {
      if try await lock.take(session) { return true }
      guard let holder = try await lock.holder(session) else { return false }
      let who = "\(holder.name), since \(holder.since)"
      guard holder.isSilent else {
        guard grace.hasPassed else { return false }
        throw held(
          side, who,
          "wait until that run ends, or end it; one that gives no sign of life for "
            + "\(AdvisoryLock.silence.components.seconds) s is taken over")
      }
      if !told {
        told = true
        context.progress("taking over from \(who): no sign of life for \(holder.silent.components.seconds) s")
      }
      try await lock.end(holder, session)
      return false
    }
  }

  private nonisolated func held(_ side: Side, _ who: String, _ hint: String) -> ConvoyError {
    ConvoyError(
      "migration.held", "migration \(context.migrationName) is held by \(who)", at: .host(context.host(side).name),
      hint: hint)
  }

  /// The space, and a hash of the migration's name (FNV-1a), which every pgconvoy has to make alike.
  private static func key(_ migration: String) -> Int64 {
    let hash = migration.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    return Int64(space) << 32 | Int64(hash)
  }

  /// What others see: at most 63 bytes.
  private static var name: String {
    String(
      decoding: "pgconvoy held by \(userName())@\(hostName()) pid \(ProcessInfo.processInfo.processIdentifier)".utf8
        .prefix(63), as: UTF8.self)
  }
}

/// Whether it is a connection that could not be made or has ended, for whatever reason; not what a server said to a
/// statement.
func isOutOfReach(_ error: any Error) -> Bool {
  if let error = error as? PostgresError {
    return error.reason == .connect || error.reason == .deadline || saysThatAConnectionBroke(error)
  }
  guard let code = (error as? ConvoyError)?.code.rawValue else { return false }
  return code.hasPrefix("ssh.") || code.hasPrefix("postgres.") || code == "truth.out-of-reach"
}
