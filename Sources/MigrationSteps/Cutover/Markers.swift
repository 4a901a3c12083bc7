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

/// Emits a message with a nonce into every database of the fenced side, and waits until the workers have applied it.
///
/// A worker announces the marker with NOTIFY in the very transaction that moves progress past it, so the wait needs no
/// polling, works from any machine, and cannot be told too early. What is announced is checked against the
/// replication origin: that alone is the truth.
struct Markers {
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

  /// - Returns: by database, in the order of their names.
  func run(deadline: Duration) async throws -> [Passed] {
    let end = ContinuousClock.now + deadline
    let keeper = keepSyncAlive(context)
    defer { keeper.cancel() }
    return try await withThrowingTaskGroup(of: Passed.self) { group in
      for database in record.databases {
        group.addTask { try await pass(database, end: end) }
      }
      var passed: [Passed] = []
      for try await one in group { passed.append(one) }
      return passed.sorted { $0.marker.database < $1.marker.database }
    }
  }

  private func pass(_ database: HandOffDatabase, end: ContinuousClock.Instant) async throws -> Passed {
    let began = ContinuousClock.now
    let nonce = HandOffNames.random().nonce + HandOffNames.random().nonce
    do {
      return try await context.withSession(direction.to, database: database.name) { listener in
        try await pass(database, listener, nonce, began: began, end: end)
      }
    } catch {
      throw (error as? PostgresError)?.convoyError(
        at: .database(migration: context.migrationName, name: database.name)) ?? error
    }
  }

  private func pass(
    _ database: HandOffDatabase, _ listener: PostgresSession, _ nonce: String, began: ContinuousClock.Instant,
    end: ContinuousClock.Instant
  ) async throws -> Passed {
    try await listener.script("LISTEN pgconvoy_marker")
    let before = try await progress(database, listener)
    let source = try await context.session(direction.from, database: database.name)
    try await source.query(CutoverSQL.marker, [nonce])
    let marker = try await wait(for: nonce, database.name, listener, end: end)
    try await checkProgress(marker, database, listener)
    try await listener.script("UNLISTEN pgconvoy_marker")
    let bytes = before.map { marker.lsn.bytes(since: min($0, marker.lsn)) }
    return Passed(
      marker: marker,
      record: DatabaseRecord(database.name, duration: began.duration(to: .now), bytes: bytes))
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
        hint: "someone else sends notifications on channel pgconvoy_marker")
    }
  }
}

extension DrainMarker {
  /// Reads a worker's announcement; nil for anything else, since any role may send on the channel.
  init?(announcement: String, database: String) {
    var fields: [String: String] = [:]
    let inner = announcement.drop { $0 == "{" }
    guard let end = inner.lastIndex(of: "}") else { return nil }
    for pair in inner[..<end].split(separator: ",") {
      let parts = pair.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { return nil }
      fields[String(parts[0].filter { $0 != "\"" })] = String(parts[1].filter { $0 != "\"" })
    }
    guard let nonce = fields["nonce"], let lsn = fields["lsn"].flatMap({ LSN($0) }),
      let changes = fields["changes"].flatMap({ UInt64($0) }), let applier = fields["applier"]
    else { return nil }
    self.init(database: database, nonce: nonce, lsn: lsn, changes: changes, applier: applier)
  }
}

/// `drain`: every database has applied all that the fenced side ever committed.
struct DrainStep: Step {
  var direction = StreamDirection.forward
  let deadline: Duration?

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    let (record, _) = try await context.travelling(direction)
    return record.databases.map { database in
      PlannedAction(host: context.host(direction.from).name, database: database.name, CutoverSQL.marker, ["NONCE"])
    } + [.init(host: context.host(direction.to).name, .wait, "until every worker has applied its marker")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.isOver(direction)
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    // A cutover that was killed behind its close step has left the workers stopped.
    try await runWorkers(context, direction)
    let passed = try await Markers(context: context, record: record, direction: direction, name: "drain")
      .run(deadline: deadline ?? context.migration.cutover.drainDeadline)
    try await context.setFact(FactKey.markers, passed.map(\.marker))
    try await context.setState(.drained)
    return StepResult(
      changed: true, "all drained", figures: [.init("databases", UInt64(passed.count))],
      databases: passed.map(\.record))
  }

  func undo(_ context: MigrationContext) async throws -> UndoResult {
    try await context.removeFact(FactKey.markers)
    return .nothingToUndo
  }
}

/// `confirm_fence`: a second marker in every database; one change between the two means that the fence leaked.
struct ConfirmFenceStep: Step {
  var direction = StreamDirection.forward
  let deadline: Duration?

  func plan(_ context: MigrationContext) async throws -> [PlannedAction] {
    try await DrainStep(direction: direction, deadline: deadline).plan(context)
      + [.init(host: nil, .note, "call the \(direction.noun) off if anything came between the two markers")]
  }

  func isDone(_ context: MigrationContext) async throws -> Bool {
    try await context.isOver(direction)
  }

  func run(_ context: MigrationContext) async throws -> StepResult {
    let (record, _) = try await context.travelling(direction)
    guard let first = try await context.fact(FactKey.markers, as: [DrainMarker].self) else {
      throw ConvoyError(
        "fence.no-first-marker", "there is no drain marker to compare with", at: context.place("confirm_fence"),
        hint: "run the drain step before this one")
    }
    let second = try await Markers(context: context, record: record, direction: direction, name: "proof")
      .run(deadline: deadline ?? context.migration.cutover.drainDeadline)
    var report = try await context.report()
    for marker in second.map(\.marker) {
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
    try await context.setFact(FactKey.report, report)
    return StepResult(
      changed: false, "nothing came between the two markers",
      databases: second.map { DatabaseRecord($0.record.name, duration: $0.record.duration) })
  }
}
