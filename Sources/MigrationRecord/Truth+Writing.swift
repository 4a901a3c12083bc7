import BlockingIO
import HostAdmin
import Inventory
import Journal
import MigrationCore
import PostgresClient
import ReplicationModel

/// What the journal has more, on its way to the servers.
extension Truth {
  /// Brings what the journal has more to the servers, before something is done that rests on it.
  ///
  /// - Throws: `truth.superseded` when a server has moved on by somebody else's hand.
  package func publish() async throws {
    let name = context.migrationName
    guard writes, try await context.journal.perform({ file throws(ConvoyError) in try file.isAhead(migration: name) })
    else { return }
    try await publish(.whatDecides)
  }

  /// For a process that is no play: what it has written down goes to the servers unless a play holds the migration, which
  /// would find a record that it does not know.
  package func publishBetweenPlays() async throws {
    let name = context.migrationName
    guard lease == nil, !writes, try await !isHeldHere(),
      try await context.journal.perform({ file throws(ConvoyError) in try file.isAhead(migration: name) }),
      // It is a play that begins a record.
      try await view()?.standing.epoch ?? 0 > 0
    else { return }
    let lease = Lease(context)
    do {
      try await lease.take()
    } catch let error as ConvoyError where error.code == "migration.held" {
      return
    }
    writes = true
    do {
      try await publish(.whatDecides)
    } catch {
      writes = false
      superseded = nil
      await lease.release()
      throw error
    }
    writes = false
    await lease.release()
  }

  enum Extent {
    /// What decides what comes next, where it has changed.
    case whatDecides
    /// Also what only a reader wants to know.
    case everything
    /// Also to a server that lags behind.
    case everywhere
  }

  func publish(_ extent: Extent) async throws {
    guard writes else { return }
    // One after the other, also for deeds that run side by side.
    let former = publishing
    let task = Task {
      _ = try? await former?.value
      try await self.publishNow(extent)
    }
    publishing = task
    try await task.value
  }

  private func publishNow(_ extent: Extent) async throws {
    if let superseded { throw superseded }
    guard writes, let first = try await view(), isNeeded(first, extent) else { return }
    // Another process of this state directory may be at it.
    let lock = try await publicationLock()
    defer { lock.release() }
    guard let view = try await view(), isNeeded(view, extent) else { return }
    let isNew = view.standing.isAhead || extent == .everything
    let base = standing(view)
    let next = isNew ? base.next(token: Self.token()) : view.standing
    attempted = next
    var isOut = false
    for side in view.document.closedFirst {
      if try await write(view, as: next, to: side) { isOut = true }
    }
    guard isOut else {
      attempted = base
      return
    }
    published = view.document
    let name = context.migrationName
    try await context.journal.perform { file throws(ConvoyError) in
      try file.published(view.document, as: next, migration: name)
    }
    attempted = nil
  }

  /// The latest that a server may have of this run.
  func standing(_ view: JournalView) -> JournalStanding {
    guard let attempted, attempted.follows(view.standing) else { return view.standing }
    return attempted
  }

  private func isNeeded(_ view: JournalView, _ extent: Extent) -> Bool {
    switch extent {
    case .whatDecides: view.standing.isAhead
    case .everything: view.standing.isAhead || published.map { $0 != view.document } ?? false
    case .everywhere: true
    }
  }

  /// - Returns: whether the side has it now.
  private func write(_ view: JournalView, as next: JournalStanding, to side: Side) async throws -> Bool {
    let (document, name) = (view.document, context.migrationName)
    // Nothing is to be kept before the first hand-off; until it is over the target is another server, or a standby.
    if document.handOffs.isEmpty || (side == .target && !document.state.hasHandedOff) { return false }
    let phase = Phase(state: document.state, direction: document.direction, nonce: document.nonce)
    let isDecisive = document.isDecided(on: side) && onRecord != phase
    do {
      let table = try await table(side)
      // A server that has what the journal was told last is part of it. Otherwise: another process of this state directory may
      // have been there.
      if known[side]?.map({ $0.hasSameToken(view.standing) }) != true {
        guard try await isPartOf(document, side) else { return false }
        known[side] = .some(try await table.read(name)?.standing)
      }
      let former = known[side] ?? nil
      if let former, former.hasSameToken(next) { return true }
      // What is finished, and gone from there, does not come again.
      if former == nil && document.state == .finished { return false }
      // A server that has been out of reach may have an older one of ours, never one that we do not know.
      guard former.map({ next.follows($0) }) ?? true else { throw try await findSuperseded(table) }
      if try await !table.write(document, as: next, of: name, over: former, by: Self.writer) {
        // Ours, whose answer was lost.
        let now = try await table.read(name)?.standing
        guard let now, next.follows(now),
          try await table.write(document, as: next, of: name, over: now, by: Self.writer)
        else { throw try await findSuperseded(table) }
      }
      known[side] = .some(next)
      note(document)
      return true
    } catch let error as PostgresError where !isDecisive && error.sqlState == .readOnlyTransaction {
      return false
    } catch  where !isDecisive && isOutOfReach(error) {
      known[side] = nil
      return false
    }
  }

  /// Whether a server has the data that the migration is about: the target's former server has not.
  private func isPartOf(_ document: MigrationDocument, _ side: Side) async throws -> Bool {
    guard let handOff = document.handOffs.last else { return true }
    return try await context.systemIdentifier(side) == handOff.sourceSystemIdentifier
  }

  nonisolated func publicationLock() async throws -> PublicationLock {
    let (directory, name) = (context.environment.stateDirectory, context.migrationName)
    var taken: PublicationLock?
    try await waitUntil(
      within: .seconds(60), interval: .milliseconds(20),
      orThrow: {
        ConvoyError(
          "journal.busy", "another process has been writing the servers' record for a minute",
          hint: "see which pgconvoy process hangs, end it, and run the same command again")
      }
    ) {
      taken = try await context.journal.perform { _ throws(ConvoyError) in
        try PublicationLock.take(directory, migration: name)
      }
      return taken != nil
    }
    guard let taken else { throw CancellationError() }
    return taken
  }

  private static func token() -> String { HandOffNames.random().nonce }
  private static var writer: String { userName() + "@" + hostName() }
}
