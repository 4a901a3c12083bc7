import FoundationEssentials
import ReplicationModel
import Testing

@testable import Journal

/// What a state directory and that of a sync process on a host tell each other.
@Suite struct SyncExchangeTests {
  private let (here, there): (TemporaryState, TemporaryState)
  private let own: JournalFile
  private let process: JournalFile

  init() throws {
    (here, there) = (try TemporaryState(), try TemporaryState())
    (own, process) = (try here.open(), try there.open())
    try own.registerMigration("eu", source: "a", target: "b")
    var handOff = HandOffRecord(
      names: HandOffNames(nonce: "0123456789ab"), sourceSystemIdentifier: .max - 1, sourceTimeline: 3)
    handOff.databases = [HandOffDatabase(name: "chef", oid: 16_384, names: handOff.names, state: .active)]
    try own.beginHandOff(handOff, migration: "eu")
    let lsn = try #require(LSN("1/16B3748"))
    try own.updateHandOff(migration: "eu") { record in
      record.handOffLSN = lsn
      record.targetTimeline = 4
    }
    try own.setDesiredSync(.forward, migration: "eu")
  }

  @discardableResult
  private func exchange(_ kind: SyncExchange = .order, from journal: JournalFile? = nil) throws -> SyncReport {
    let journal = journal ?? own
    let report = try through(process.take(through(SyncMessage(kind, journal.syncOrders(migration: "eu")))))
    try journal.takeReport(report, migration: "eu")
    return report
  }

  /// As it travels.
  private func through<Value: Codable>(_ value: Value) throws -> Value {
    try JSONDecoder().decode(Value.self, from: JSONEncoder().encode(value))
  }

  @Test func theProcessReadsWhatWasOrdered() throws {
    #expect(try exchange().answer == .followed)
    let (ordered, known) = (try own.migration("eu"), try process.migration("eu"))
    #expect(known?.handOff?.names.nonce == "0123456789ab")
    #expect(known?.handOff?.sourceSystemIdentifier == UInt64.max - 1)
    #expect(known?.handOff?.handOffLSN == ordered?.handOff?.handOffLSN)
    #expect(known?.handOff?.databases == ordered?.handOff?.databases)
    #expect(known?.desiredSync == .forward && known?.state == ordered?.state)

    // The same again is nothing new to a process that runs.
    let generation = try process.generations()["eu"]
    try exchange()
    #expect(try process.generations()["eu"] == generation)
    try own.setDesiredSync(.stopped, migration: "eu")
    try exchange()
    #expect(try process.migration("eu")?.desiredSync == .stopped)
    #expect(try process.generations()["eu"] != generation)
  }

  @Test func whoOnlyLooksOrdersNothing() throws {
    #expect(try exchange(.look).answer == .looked)
    #expect(try process.migration("eu") == nil)
    try exchange()
    try own.setDesiredSync(.stopped, migration: "eu")
    try exchange(.look)
    #expect(try process.migration("eu")?.desiredSync == .forward)
  }

  @Test func olderOrdersAndThoseOfOthersAreNotFollowed() throws {
    let old = try own.syncOrders(migration: "eu")
    try own.setDesiredSync(.stopped, migration: "eu")
    try exchange()
    #expect(try process.take(SyncMessage(.order, old)).answer == .stale)
    #expect(try process.migration("eu")?.desiredSync == .stopped)

    let other = try TemporaryState().open()
    try other.registerMigration("eu", source: "a", target: "b")
    let refused = try exchange(from: other)
    #expect(refused.answer == .followsAnother && refused.follows == operatorName())
    #expect(try process.migration("eu")?.handOff != nil)
    // Its generations are its own; from then on the first one's are not followed.
    #expect(try exchange(.takeOver, from: other).answer == .followed)
    #expect(try process.migration("eu")?.handOff == nil)
    #expect(try exchange().answer == .followsAnother)
  }

  @Test func skipsGoThereAndTheirOutcomesComeBack() throws {
    let lsn = try #require(LSN("2/10"))
    try own.requestSkip(migration: "eu", database: "chef", lsn: lsn)
    try exchange()
    let order = try #require(try process.skips(migration: "eu", pendingOnly: true).first)
    #expect(order.lsn == lsn && order.database == "chef" && order.requestedBy == operatorName())
    let generation = try process.generations()["eu"]
    try process.skipDone(order.id, outcome: "a row of t")
    try exchange()
    #expect(try own.skips(migration: "eu").map(\.outcome) == ["a row of t"])
    #expect(try own.skips(migration: "eu", pendingOnly: true).isEmpty)
    // Nor is it ordered again.
    try exchange()
    #expect(try process.skips(migration: "eu", pendingOnly: true).isEmpty)
    #expect(try process.generations()["eu"] == generation)
  }

  @Test func snapshotsAreOrderedAnsweredAndEnded() throws {
    let order = try own.orderSnapshot(migration: "eu", database: "chef")
    try exchange()
    #expect(try process.snapshotOrders(migration: "eu").map(\.id) == [order])
    try process.answerSnapshot(order, isHeld: true, snapshot: nil, failure: nil)
    let position = try #require(LSN("3/30"))
    try own.setSnapshotPosition(position, of: order)
    try exchange()
    #expect(try own.snapshotOrder(order)?.isHeld == true)
    #expect(try process.snapshotOrder(order)?.until == position)
    try process.answerSnapshot(order, isHeld: true, snapshot: "3-1", failure: nil)
    try exchange()
    #expect(try own.snapshotOrder(order)?.snapshot == "3-1")
    try own.endSnapshot(order)
    try exchange()
    #expect(try process.snapshotOrders(migration: "eu").isEmpty)
  }

  /// A verifier whose machine has fallen asleep holds no worker up for long.
  @Test func aSnapshotThatNobodyAsksForAnyMoreEnds() throws {
    _ = try own.orderSnapshot(migration: "eu", database: "chef")
    try exchange()
    try process.execute("UPDATE snapshot_orders SET start_ticks = start_ticks - 29000")
    #expect(try process.snapshotOrders(migration: "eu").count == 1)
    try exchange()
    try process.execute("UPDATE snapshot_orders SET start_ticks = start_ticks - 31000")
    #expect(try process.snapshotOrders(migration: "eu").isEmpty)
  }

  @Test func whatWasCountedGoesAlongAndComesBackOnlyWhenNewer() throws {
    var status = DatabaseStatus(migration: "eu", database: "chef", phase: .streaming)
    status.missedRows = 2
    status.transactionsApplied = 10
    try own.recordStatuses([status])
    try exchange(.takeOver)
    #expect(try process.recordedStatuses(migration: "eu").map(\.status.missedRows) == [2])

    status.missedRows = 3
    try process.recordStatuses([status])
    let report = try exchange(.look)
    #expect(try own.recordedStatuses(migration: "eu").map(\.status.missedRows) == [3])
    status.missedRows = 4
    try own.recordStatuses([status])
    var late = report
    late.statuses[0].age = 60
    try own.takeReport(late, migration: "eu")
    #expect(try own.recordedStatuses(migration: "eu").map(\.status.missedRows) == [4])
  }
}
