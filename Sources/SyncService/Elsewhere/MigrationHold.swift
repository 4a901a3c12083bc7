import Inventory
package import Journal
package import MigrationCore
import MigrationRecord
import PostgresClient
import ReplicationModel

/// The right to run a migration's workers: an advisory lock on the target, held by a session of the sync process for as
/// long as its workers run. One process has it, on whichever machine, with whichever state directory.
///
/// That nothing is applied twice does not hang on it: a replication origin and a slot are one session's at a time. It
/// keeps two processes from taking databases from each other, and says whether one has really gone.
package actor MigrationHold {
  enum State: Equatable, Sendable {
    case mine
    /// Another process has it: who, as its session says.
    case elsewhere(String)
    /// The target does not answer: nobody can apply anything there now.
    case unknown
  }

  private let context: MigrationContext
  private let handOff: HandOffRecord
  private var session: PostgresSession?
  private var isOver = false

  init(_ context: MigrationContext, _ handOff: HandOffRecord) {
    self.context = context
    self.handOff = handOff
  }

  /// Takes it, or takes it again where the session has broken. Never waits for whoever has it, and for a target that does
  /// not answer no longer than it must: others wait meanwhile.
  func take() async -> State {
    if let session, (try? await session.query("SELECT 1", within: .seconds(5))) != nil { return .mine }
    await close()
    do {
      var parameters = try await context.parameters(.target, database: Self.database(handOff)).canonical
      parameters.applicationName = "pgconvoy sync, \(operatorName())"
      parameters.connectTimeout = min(parameters.connectTimeout, 3)
      let made = try await PostgresSession.connect(parameters)
      let isTaken = try await Self.lock(handOff).take(made)
      if isOver {
        await made.close()
        return .unknown
      }
      if isTaken {
        session = made
        return .mine
      }
      let holder = try await Self.lock(handOff).holder(made)
      if let holder, holder.isSilent { try await cutOff(holder, made) }
      await made.close()
      return .elsewhere(holder.map(Self.words) ?? "a process that has just ended")
    } catch {
      return .unknown
    }
  }

  /// What the workers' sessions are called on both servers.
  static func workerName(_ migration: String) -> String { "pgconvoy worker \(migration)" }

  /// A process that sleeps, or is cut off, keeps its sessions open: they are ended, so that somebody else can go on. The
  /// workers that wake up find that, and wait. Only for a process whose turn it is.
  private func cutOff(_ holder: AdvisoryLock.Holder, _ session: PostgresSession) async throws {
    try await Self.lock(handOff).end(holder, session)
    for side in Side.allCases {
      _ = try? await context.session(side).query(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE application_name = $1",
        [Self.workerName(context.migrationName)], within: .seconds(10))
    }
  }

  /// For good, also where it is just being taken.
  func release() async {
    isOver = true
    await close()
  }

  private func close() async {
    let held = session
    session = nil
    await held?.close()
  }

  /// Who has it: nil when nobody does.
  package static func holder(_ context: MigrationContext, _ handOff: HandOffRecord) async throws -> String? {
    try await lock(handOff).holder(context.session(.target)).map(words)
  }

  private static func words(_ holder: AdvisoryLock.Holder) -> String {
    "\(holder.name), from \(holder.address) (backend \(holder.pid))"
  }

  /// `pg`, and the hand-off's nonce: nobody else's lock has that number.
  private static func lock(_ handOff: HandOffRecord) -> AdvisoryLock {
    AdvisoryLock(key: Int64(0x7067) << 48 | (Int64(handOff.names.nonce, radix: 16) ?? 0) & 0xFFFF_FFFF_FFFF)
  }

  /// An advisory lock belongs to a database. The hand-off has the same ones for everybody; what an inventory calls the
  /// maintenance database need not be.
  private static func database(_ handOff: HandOffRecord) -> String? {
    handOff.databases.min { $0.oid < $1.oid }?.name
  }
}
