import ClosingReports
import Inventory
import Journal
import MigrationCore
import Playbook
import PostgresClient
import ReplicationModel
import SyncService

/// What a marker in one database's stream came to.
struct DrainMarker: Codable, Sendable, Equatable {
  var database: String
  var nonce: String
  /// The end of the marker's own transaction: progress at or beyond it means that all before it is applied.
  var lsn: LSN
  /// How many changes the worker's applier had seen before the marker.
  var changes: UInt64
  /// Which applier counted.
  var applier: String
}

extension FactKey<[DrainMarker]> {
  /// What the drain's markers found, one for each database.
  static var markers: Self { Self("markers") }
}

/// Emits a message with a nonce into every database of the fenced side, and waits until the workers have applied it.
///
/// A worker announces the marker with NOTIFY in the very transaction that moves progress past it, so the wait needs no
/// polling, works from any machine, and cannot be told too early. What is announced is checked against the
/// replication origin: that alone is the truth.
struct Markers: Sendable {
  let context: MigrationContext
  let record: HandOffRecord
  let direction: StreamDirection
  /// `drain` or `proof`.
  let name: String

  /// A marker that has arrived, how long it took, and for how many bytes of WAL before it its worker had still to go.
  struct Passed: Sendable {
    var marker: DrainMarker
    var record: DatabaseRecord
  }

  /// What has come of all of them, in the order of the databases' names.
  var passed: Found<[Passed]> { Found("markers.\(name)", placeholder: "") }

  /// One database's marker on its way.
  private struct Pending: Sendable {
    var listener: PostgresSession
    /// Whether it was opened for this wait alone.
    var isOwn: Bool
    var nonce: String
    var before: LSN?
    var began: ContinuousClock.Instant
  }

  private func pending(_ database: HandOffDatabase) -> Found<Pending> {
    Found("marker.\(name).\(database.oid)", placeholder: "")
  }

  private func nonce(_ database: HandOffDatabase) -> Found<String> {
    Found("nonce.\(name).\(database.oid)", placeholder: "NONCE")
  }

  /// Emits every marker, each behind the session that listens for it, and waits for all.
  func deeds(deadline: Duration) -> [Deed] {
    let end = Found<ContinuousClock.Instant>("deadline.\(name)", placeholder: "")
    return [
      .aside { found in found[end] = ContinuousClock.now + deadline },
      .watching(
        [
          .together(
            record.databases.map { database in
              [
                .aside { found in try await placed(database) { try await listen(database, found) } },
                .sql(direction.from, database: database.name, CutoverSQL.marker, [.found(nonce(database))]),
              ]
            }, atMost: max(1, record.databases.count)),
          .wait(direction.to, "until every worker has applied its marker") { found in
            try await arrive(found, end: found[end] ?? .now)
          },
        ]) { try await keepSyncAlive(context) },
    ]
  }

  private func listen(_ database: HandOffDatabase, _ found: Findings) async throws {
    // The fenced side's sessions are kept: what comes behind the drain reads by them.
    _ = try await context.session(direction.from, database: database.name)
    let began = ContinuousClock.now
    let kept = await context.keptSession(direction.to, database.name)
    let listener = try await context.session(direction.to, database: database.name)
    let own = HandOffNames.random().nonce + HandOffNames.random().nonce
    found[pending(database)] = Pending(
      listener: listener, isOwn: kept == nil, nonce: own, before: nil, began: began)
    found[nonce(database)] = own
    try await listener.script("LISTEN \(MarkerAnnouncement.channel)")
    found[pending(database)]?.before = try await progress(database, listener)
  }

  private func arrive(_ found: Findings, end: ContinuousClock.Instant) async throws {
    found[passed] = try await withThrowingTaskGroup(of: Passed.self) { group in
      for database in record.databases {
        group.addTask { try await placed(database) { try await pass(database, found, end: end) } }
      }
      var passed: [Passed] = []
      for try await one in group { passed.append(one) }
      return passed.sorted { $0.marker.database < $1.marker.database }
    }
    for database in record.databases where found[pending(database)]?.isOwn == true {
      await context.closeSession(direction.to, database: database.name)
    }
  }

  private func placed<Value>(_ database: HandOffDatabase, _ body: () async throws -> Value) async throws -> Value {
    do {
      return try await body()
    } catch {
      throw (error as? PostgresError)?.convoyError(
        at: .database(migration: context.migrationName, name: database.name)) ?? error
    }
  }

  private func pass(
    _ database: HandOffDatabase, _ found: Findings, end: ContinuousClock.Instant
  ) async throws -> Passed {
    guard let pending = found[pending(database)] else { throw CancellationError() }
    let marker = try await wait(for: pending.nonce, database.name, pending.listener, end: end)
    try await checkProgress(marker, database, pending.listener)
    try await pending.listener.script("UNLISTEN \(MarkerAnnouncement.channel)")
    let bytes = pending.before.map { marker.lsn.bytes(since: min($0, marker.lsn)) }
    return Passed(
      marker: marker,
      record: DatabaseRecord(database.name, duration: pending.began.duration(to: .now), bytes: bytes))
  }

  private func wait(
    for nonce: String, _ database: String, _ listener: PostgresSession, end: ContinuousClock.Instant
  ) async throws -> DrainMarker {
    while true {
      let left = end - ContinuousClock.now
      guard left > .zero, let notification = try await listener.notification(within: left) else {
        throw ConvoyError(
          "drain.deadline", "the \(name) marker did not arrive before the deadline",
          at: .database(migration: context.migrationName, name: database),
          hint: "look at 'pgconvoy status': is its worker running, lagging or parked?")
      }
      if let marker = DrainMarker(announcement: notification.payload, database: database), marker.nonce == nonce {
        return marker
      }
    }
  }

  private func progress(_ database: HandOffDatabase, _ session: PostgresSession) async throws -> LSN? {
    try await session.query(
      "SELECT pg_catalog.pg_replication_origin_progress($1, true)", [record.origin(database, direction)]
    ).first.flatMap { LSN($0) }
  }

  private func checkProgress(_ marker: DrainMarker, _ database: HandOffDatabase, _ session: PostgresSession)
    async throws
  {
    let progress = try await progress(database, session)
    guard let progress, progress >= marker.lsn else {
      throw ConvoyError(
        "drain.progress-behind",
        "the marker at \(marker.lsn) was announced, but progress is \(progress?.description ?? "nowhere")",
        at: .database(migration: context.migrationName, name: database.name),
        hint: "someone else sends notifications on channel \(MarkerAnnouncement.channel)")
    }
  }
}

extension DrainMarker {
  /// Reads a worker's announcement; nil for anything else, since any role may send on the channel.
  init?(announcement: String, database: String) {
    guard let read = MarkerAnnouncement(payload: announcement) else { return nil }
    self.init(database: database, nonce: read.nonce, lsn: read.lsn, changes: read.changes, applier: read.applier)
  }
}

/// `drain`: every database has applied all that the fenced side ever committed. The report of the cutover begins here.
struct DrainStep: DeedStep {
  var direction = StreamDirection.forward
  let deadline: Duration?

  var name: String { StepName.drain }

  private func markers(_ context: MigrationContext) async throws -> Markers {
    Markers(
      context: context, record: try await context.travelling(direction).record, direction: direction, name: name)
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.isOver(direction)
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let markers = try await markers(context)
    return [
      .aside { _ in
        // What an earlier attempt has found is past.
        try await context.removeFact(.report)
        // A cutover that was killed behind its close step has left the workers stopped.
        try await runWorkers(context, direction)
      },
      ClosedSide(context: context, direction: direction).beginning(),
    ] + markers.deeds(deadline: deadline ?? context.migration.cutover.drainDeadline) + [
      .aside { found in
        try await context.setFact(.markers, (found[markers.passed] ?? []).map(\.marker))
        try await context.setState(.drained)
      }
    ]
  }

  /// A session that listens is nobody else's any more.
  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await context.closeSessions(direction.to)
    return error
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let passed = found[try await markers(context).passed] ?? []
    return StepResult(
      changed: true, "all drained", figures: [.init("databases", UInt64(passed.count))],
      databases: passed.map(\.record))
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    try await context.removeFact(.markers)
    return .nothingToUndo
  }
}

/// `confirm_fence`: a second marker in every database; one change between the two means that the fence leaked.
struct ConfirmFenceStep: DeedStep {
  var direction = StreamDirection.forward
  let deadline: Duration?

  var name: String { "confirm_fence" }

  private func markers(_ context: MigrationContext) async throws -> Markers {
    Markers(
      context: context, record: try await context.travelling(direction).record, direction: direction, name: "proof")
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.isOver(direction)
  }

  func begin(_ context: MigrationContext) async throws {
    guard try await context.fact(.markers) == nil else { return }
    throw ConvoyError(
      "fence.no-first-marker", "there is no drain marker to compare with", at: context.place("confirm_fence"),
      hint: "run the drain step before this one")
  }

  func deeds(_ context: MigrationContext) async throws -> [Deed] {
    let markers = try await markers(context)
    return markers.deeds(deadline: deadline ?? context.migration.cutover.drainDeadline) + [
      .look(nil, "call the \(direction.noun) off if anything came between the two markers") { found in
        let first = try await context.fact(.markers) ?? []
        try await compare(context, first, (found[markers.passed] ?? []).map(\.marker))
      }
    ]
  }

  private func compare(_ context: MigrationContext, _ first: [DrainMarker], _ second: [DrainMarker]) async throws {
    var report = try await context.report()
    for marker in second {
      guard let before = first.first(where: { $0.database == marker.database }), before.applier == marker.applier else {
        throw ConvoyError(
          "fence.not-proven",
          "its worker was restarted between the two markers, so nothing can be said of what came between",
          at: .database(migration: context.migrationName, name: marker.database),
          hint: "run the \(direction.noun) again")
      }
      guard marker.changes == before.changes else {
        throw ConvoyError(
          "fence.leaked",
          "\(marker.changes &- min(before.changes, marker.changes)) changes came through behind the fence",
          at: .database(migration: context.migrationName, name: marker.database),
          hint: "find the writer that the fence did not keep out, then run the \(direction.noun) again")
      }
      report.markers.append(.init(database: marker.database, name: "drain", lsn: before.lsn))
      report.markers.append(.init(database: marker.database, name: "proof", lsn: marker.lsn, changesBefore: 0))
    }
    try await context.setFact(.report, report)
  }

  /// A session that listens is nobody else's any more.
  func fail(_ context: MigrationContext, _ error: any Error) async -> any Error {
    await context.closeSessions(direction.to)
    return error
  }

  func result(_ context: MigrationContext, _ found: Findings) async throws -> StepResult {
    let second = found[try await markers(context).passed] ?? []
    return StepResult(
      changed: false, "nothing came between the two markers",
      databases: second.map { DatabaseRecord($0.record.name, duration: $0.record.duration) })
  }
}
