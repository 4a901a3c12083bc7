import ReplicationModel
import Testing

@testable import Journal

@Suite struct SnapshotOrders {
  @Test func anOrderIsAnsweredAndEnds() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    let before = try #require(try journal.generations()["eu"])
    let order = try journal.orderSnapshot(migration: "eu", database: "chef")
    #expect(try #require(try journal.generations()["eu"]) > before)
    #expect(try journal.snapshotOrders(migration: "eu").map(\.database) == ["chef"])
    let second = convoyError { _ = try journal.orderSnapshot(migration: "eu", database: "chef") }
    #expect(second?.code == "verify.in-progress")

    let position = try #require(LSN("0/1A2B"))
    try journal.setSnapshotPosition(position, of: order)
    let waited = try #require(try journal.generations()["eu"])
    try journal.answerSnapshot(order, isHeld: true, snapshot: "3-1", failure: nil)
    let answered = try #require(try journal.snapshotOrder(order))
    #expect(answered.until == position && answered.isHeld && answered.snapshot == "3-1" && answered.failure == nil)
    // The sync process need not look again at what it has said itself.
    #expect(try journal.generations()["eu"] == waited)
    try journal.endSnapshot(order)
    #expect(try journal.snapshotOrder(order) == nil)
    #expect(try journal.orderSnapshot(migration: "eu", database: "chef") > order)
  }

  @Test func anOrderOfAProcessThatIsGoneEnds() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    _ = try journal.orderSnapshot(migration: "eu", database: "chef")
    try journal.execute("UPDATE snapshot_orders SET start_ticks = 'another process'")
    #expect(try journal.snapshotOrders(migration: "eu").isEmpty)
    _ = try journal.orderSnapshot(migration: "eu", database: "chef")
    try journal.execute("UPDATE snapshot_orders SET start_ticks = 'another process'")
    _ = try journal.orderSnapshot(migration: "eu", database: "chef")
    #expect(try journal.snapshotOrders(migration: "eu").count == 1)
  }
}
