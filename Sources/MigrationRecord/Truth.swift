import BlockingIO
import HostAdmin
package import Inventory
import Journal
package import MigrationCore
import PostgresClient
import ReplicationModel

/// Keeps the journal and the servers' records of one migration in step: a journal that is behind is brought up to date, what
/// the journal has more goes to the servers, by compare-and-set, before anything is done that rests on it.
package actor Truth: RecordKeeper {
  nonisolated unowned let context: MigrationContext
  /// Whether this process writes the record: a play does, and who gives orders.
  var writes = false
  /// The phase that is on record on a server. The closed side had it first: from then on it matters no more whether that
  /// one can be reached.
  var onRecord: Phase?
  /// What was written, or may have been: the answer was lost.
  var attempted: JournalStanding?
  /// What each server has, as far as it was asked; `.some(nil)`: nothing of its own.
  var known: [Side: JournalStanding?] = [:]
  /// Sides that could not be asked, until then.
  private var outOfReach: [Side: Deadline] = [:]
  var lease: Lease?
  var publishing: Task<Void, any Error>?
  /// Once somebody else has moved the migration on, this run does nothing more, neither forward nor back.
  var superseded: ConvoyError?
  /// What this process has written last.
  var published: MigrationDocument?

  struct Phase: Equatable {
    var state: MigrationState
    var direction: StreamDirection
    var nonce: String?
  }

  func note(_ document: MigrationDocument) {
    onRecord = Phase(state: document.state, direction: document.direction, nonce: document.nonce)
  }

  /// How long a side that could not be asked is left alone.
  private static let patience = Duration.seconds(5)

  init(_ context: MigrationContext) {
    self.context = context
  }

  // MARK: the beginning

  /// Asks both servers, and brings the journal up to date.
  ///
  /// - Parameters:
  ///   - writes: whether what the journal has more goes to the servers, now and from now on.
  ///   - holds: whether the migration is held on the servers for as long as the context is open.
  /// - Throws: `migration.held`; `truth.contradiction`, with what each of them says.
  package func engage(writes: Bool, holds: Bool = false) async throws {
    if holds {
      let lease = Lease(context)
      try await lease.take()
      self.lease = lease
    }
    self.writes = try await reconcile(publishes: writes) && writes
  }

  /// Takes over what a server has that the journal does not, for who only follows: one small question where nothing is new.
  ///
  /// - Throws: `truth.contradiction`; not where no server can be asked.
  package func follow() async throws {
    guard let view = try await view() else {
      try await reconcile(publishes: false)
      return
    }
    for side in view.document.closedFirst {
      guard let standing = try? await table(side).standing(context.migrationName) else { continue }
      if view.standing.hasSameToken(standing) { return }
      break
    }
    try await reconcile(publishes: false)
  }

  /// Takes the servers' word, whatever the journal says.
  ///
  /// - Returns: the record; nil where no server has one.
  /// - Throws: `truth.contradiction` when the servers contradict each other.
  package func adopt() async throws -> ServerRecord? {
    let lock = try await publicationLock()
    defer { lock.release() }
    let seen = try await look()
    let verdict = Reconciliation(nil, seen)
    if case .contradiction(let what) = verdict { throw contradiction(what, nil) }
    guard case .takeOver(let record) = verdict else {
      let silent = Side.allCases.filter { seen[$0] == .unreachable }.map { context.host($0).name }
      guard !silent.isEmpty else { return nil }
      throw ConvoyError(
        "truth.out-of-reach", "\(silent.joined(separator: " and ")) cannot be asked for a record",
        hint: silent.count == 1
          ? "the other server has none; see 'pgconvoy check' for what is wrong with this one"
          : "see 'pgconvoy check' for what is wrong")
    }
    try await takeOver(record)
    return record
  }

  /// - Returns: whether the servers' records may be written from this journal.
  @discardableResult
  private func reconcile(publishes: Bool) async throws -> Bool {
    // What another process of this state directory is just writing is no news.
    let lock = try await publicationLock()
    let verdict: Reconciliation
    do {
      let seen = try await look()
      let journal = try await view()
      verdict = Reconciliation(journal, seen)
      switch verdict {
      case .takeOver(let record):
        // A play of this state directory goes by its journal, and finds out by itself.
        if lease == nil, try await isHeldHere() { break }
        context.progress(
          "\(journal == nil ? "this journal knows nothing of it" : "this journal is behind"): taken over from "
            + "\(context.host(record.side).name): \(record.summary)")
        try await takeOver(record)
      case .contradiction(let what): throw contradiction(what, journal)
      case .inStep, .publish: break
      }
    } catch {
      lock.release()
      throw error
    }
    lock.release()
    guard publishes, verdict == .publish else { return true }
    if let journal = try await view(), try await isStaleBeginning(journal) {
      context.progress("the servers are not as this journal says: it is not made their record")
      return false
    }
    writes = true
    try await publish(.everywhere)
    return true
  }

  /// Whether a journal of the version before, which would become the record, is a copy from before a cutover: the side that it
  /// takes for closed takes writes. The steps say so, too, and refuse.
  private func isStaleBeginning(_ journal: JournalView) async throws -> Bool {
    let document = journal.document
    guard journal.standing.epoch == 0, !document.state.hasNothingStanding else { return false }
    let closed = document.state.isHeldUp ? document.direction.to : document.closedFirst[0]
    do {
      return try await ServingServers(context).isOpen(closed)
    } catch  where isOutOfReach(error) {
      return false
    }
  }

  private func takeOver(_ record: ServerRecord) async throws {
    let name = context.migrationName
    var document = record.document
    // Hosts may be called otherwise in this inventory.
    (document.source, document.target) = (context.migration.source.name, context.migration.target.name)
    try await context.journal.perform { [document] file throws(ConvoyError) in
      try file.takeOver(document, as: record.standing, migration: name)
    }
  }

  func view() async throws -> JournalView? {
    let name = context.migrationName
    return try await context.journal.perform { file throws(ConvoyError) in try file.view(migration: name) }
  }

  // MARK: what the servers have

  func isHeldHere() async throws -> Bool {
    let name = context.migrationName
    return try await context.journal.perform { file throws(ConvoyError) in try file.isHeld(migration: name) }
  }

  private func look() async throws -> [Side: Reconciliation.Seen] {
    async let source = look(.source)
    async let target = look(.target)
    return try await [.source: source, .target: target]
  }

  /// - Throws: `truth.unreadable`, `truth.foreign-schema`: what cannot be read is not what is not there.
  private func look(_ side: Side) async throws -> Reconciliation.Seen {
    do {
      let record = try await read(side)
      known[side] = .some(record?.standing)
      if let record { note(record.document) }
      return record.map { .record($0) } ?? .nothing
    } catch  where isOutOfReach(error) {
      return .unreachable
    }
  }

  /// - Throws: when the side cannot be asked.
  func read(_ side: Side) async throws -> ServerRecord? {
    let table = try await table(side)
    return try await table.read(context.migrationName)
  }

  func table(_ side: Side) async throws -> RecordTable {
    if let deadline = outOfReach[side], !deadline.hasPassed { throw unreachable(side) }
    do {
      // Not one that a step may have a transaction open in.
      let held = await lease?.session(side)
      let session = if let held { held } else { try await context.session(side) }
      outOfReach[side] = nil
      return RecordTable(session, side, at: .host(context.host(side).name))
    } catch {
      outOfReach[side] = .after(Self.patience)
      throw error
    }
  }

  private func unreachable(_ side: Side) -> ConvoyError {
    ConvoyError(
      "truth.out-of-reach", "\(context.host(side).name) cannot be asked", at: .host(context.host(side).name))
  }

  // MARK: holding

  /// Whether the servers' records follow this journal.
  package var isInStep: Bool { writes && superseded == nil }

  /// Whether this run holds the migration on the servers.
  package var holds: Bool { lease != nil && superseded == nil }

  /// Makes sure that this run may still act: it holds the migration, and the servers know what it knows.
  ///
  /// - Throws: `truth.superseded`.
  package func beforeDeed() async throws {
    guard writes else { return }
    if let superseded { throw superseded }
    do {
      if let lease, try await lease.confirm() == .takenAnew {
        // Somebody may have been there in between.
        known = [:]
        try await refuseNewer()
      }
      try await publish()
    } catch let error as ConvoyError where error.code == "truth.superseded" {
      superseded = error
      throw error
    }
  }

  private func readIfReached(_ side: Side) async throws -> ServerRecord? {
    do {
      return try await read(side)
    } catch  where isOutOfReach(error) {
      return nil
    }
  }

  private func refuseNewer() async throws {
    guard let journal = try await view() else { return }
    for side in Side.allCases {
      guard let record = try await readIfReached(side), !standing(journal).follows(record.standing) else { continue }
      throw supersededBy(record)
    }
  }

  package func forget(_ side: Side) async {
    known[side] = nil
    await lease?.forget(side)
  }

  /// Nothing is written any more: the record has been taken away.
  package func retire() { writes = false }

  /// Whether a side has a record of the migration; false where it cannot be asked.
  package func hasRecord(_ side: Side) async -> Bool { (try? await removal(side).isEmpty) == false }

  /// What takes the record of a side away, for the end; nothing where there is none, or the side is out of reach.
  package func removal(_ side: Side) async throws -> [Deed] {
    guard let table = try? await table(side), try await table.exists(),
      try await table.hasRow(context.migrationName)
    else { return [] }
    return try await table.removal(of: context.migrationName)
  }

  package func close() async {
    try? await publish(.everything)
    await lease?.release()
    lease = nil
    writes = false
  }
}

extension MigrationContext {
  /// What keeps the journal in step with the servers' records.
  package func truth() -> Truth { keeper { Truth($0) } }
}

extension MigrationDocument {
  /// The sides, the one that is closed first: whoever opens a side has to get past what is written on the closed one.
  var closedFirst: [Side] {
    let closed: Side = state.isHeldUp ? direction.from : direction.to
    return [closed, closed == .source ? .target : .source]
  }

  /// Whether the record of a side has to be written before anything goes on: the closed one's, as long as it matters who
  /// serves.
  func isDecided(on side: Side) -> Bool {
    (state.isHeldUp || state == .cutOver || state == .rolledBack) && side == closedFirst[0]
  }
}
