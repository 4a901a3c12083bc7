import DatabaseSync
import PostgresClient
import ReplicationModel
import Testing

/// Every rule of `StartInvariants`, one broken at a time, to the letter.
@Suite struct StartRules {
  private static let slot = "pgconvoy_0123456789ab_16385"

  private static let assignment: WorkerAssignment = {
    let parameters = ConnectionParameters(host: "192.0.2.1", port: 5432, user: "pgconvoy", database: "shop")
    return WorkerAssignment(
      migration: "lab", database: "shop", databaseOID: 16385, from: parameters, to: parameters, slot: slot,
      origin: slot, handOff: LSN(0x1000), systemIdentifier: "7001", fromTimeline: 1, toTimeline: 2)
  }()

  private static let sound = StartInvariants(
    source: .init(systemIdentifier: "7001", timeline: 1, isInRecovery: false),
    target: .init(systemIdentifier: "7001", timeline: 2, isInRecovery: false),
    slot: .init(databaseOID: 16385, confirmedFlush: LSN(0x1000), isLost: false, isTwoPhase: false),
    databaseOID: 16385, sourceFlush: LSN(0x3000), progress: LSN(0x2000), targetHasSourceSlot: false)

  @Test(arguments: [
    (confirmed: 0x1000, progress: 0x1000, flush: 0x1000), (0x1000, 0x2000, 0x3000), (0x2000, 0x2000, 0x2000),
    (0x800, 0x1000, 0x1000),
  ]) func aSoundStateStartsAtTheOriginsProgress(confirmed: Int, progress: Int, flush: Int) throws {
    var state = Self.sound
    state.slot?.confirmedFlush = LSN(UInt64(confirmed))
    state.progress = LSN(UInt64(progress))
    state.sourceFlush = LSN(UInt64(flush))
    #expect(try state.startPosition(for: Self.assignment) == LSN(UInt64(progress)))
  }

  struct Broken: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var change: @Sendable (inout StartInvariants) -> Void
    var message: String
  }

  @Test(arguments: Self.broken) func aBrokenRuleSaysSo(broken: Broken) {
    var state = Self.sound
    broken.change(&state)
    let error = #expect(throws: ConvoyError.self) { try state.startPosition(for: Self.assignment) }
    #expect(error?.description == "error: migration lab, database shop: " + broken.message)
    #expect(error?.exitStatus == 1)
  }

  private static let anew = "this database needs a new hand-off"

  private static let broken: [Broken] = [
    Broken(
      testDescription: "the source is another server", change: { $0.source.systemIdentifier = "7002" },
      message: """
        the source is another server: its system identifier is 7002 and was 7001 [sync.wrong-server]
        hint: check the source's address in the inventory
        """),
    Broken(
      testDescription: "the target is another server", change: { $0.target.systemIdentifier = "7002" },
      message: """
        the target is another server: its system identifier is 7002 and was 7001 [sync.wrong-server]
        hint: check the target's address in the inventory
        """),
    Broken(
      testDescription: "the source is a standby",
      change: { $0.source = .init(systemIdentifier: "7001", timeline: 0, isInRecovery: true) },
      message: """
        the source is in recovery [sync.in-recovery]
        hint: was it demoted to a standby?
        """),
    Broken(
      testDescription: "the target is a standby",
      change: { $0.target = .init(systemIdentifier: "7001", timeline: 0, isInRecovery: true) },
      message: """
        the target is in recovery [sync.in-recovery]
        hint: was it demoted to a standby?
        """),
    Broken(
      testDescription: "the target is the source", change: { $0.targetHasSourceSlot = true },
      message: """
        the target's address leads to the source [sync.same-server]
        hint: check the addresses of both hosts
        """),
    Broken(
      testDescription: "the source failed over", change: { $0.source.timeline = 2 },
      message: """
        the source is on timeline 2 and was on 1 [sync.source-timeline]
        hint: a standby was promoted, or the source restored: this migration needs a new hand-off
        """),
    Broken(
      testDescription: "the target was restored", change: { $0.target.timeline = 3 },
      message: """
        the target is on timeline 3 and was on 2 [sync.target-timeline]
        hint: is the target's address right, and has nobody restored it?
        """),
    Broken(
      testDescription: "no slot", change: { $0.slot = nil },
      message: """
        slot \(slot) does not exist on the source [sync.slot-missing]
        hint: what the source committed since is out of reach: \(anew)
        """),
    Broken(
      testDescription: "another database of that name", change: { $0.databaseOID = 20000 },
      message: """
        the source's database is not the one that was handed off: its oid is 20000 and was 16385 [sync.database-replaced]
        hint: it was dropped and made again: \(anew)
        """),
    Broken(
      testDescription: "no database of that name", change: { $0.databaseOID = nil },
      message: """
        the source's database is not the one that was handed off: its oid is none and was 16385 [sync.database-replaced]
        hint: it was dropped and made again: \(anew)
        """),
    Broken(
      testDescription: "the slot is of another database", change: { $0.slot?.databaseOID = 20000 },
      message: """
        slot \(slot) belongs to the database with oid 20000, not 16385 [sync.database-replaced]
        hint: it was dropped and made again: \(anew)
        """),
    Broken(
      testDescription: "the slot has lost its WAL", change: { $0.slot?.isLost = true },
      message: """
        slot \(slot) has lost its WAL [sync.slot-lost]
        hint: max_slot_wal_keep_size was too small: \(anew)
        """),
    Broken(
      testDescription: "a two-phase slot", change: { $0.slot?.isTwoPhase = true },
      message: """
        slot \(slot) was made with two_phase [sync.slot-two-phase]
        hint: such a slot sends rows of prepared transactions twice or not at all: \(anew)
        """),
    Broken(
      testDescription: "no origin", change: { $0.progress = nil },
      message: """
        replication origin \(slot) does not exist on the target [sync.origin-missing]
        hint: it is the only record of what was applied: \(anew)
        """),
    Broken(
      testDescription: "an origin without progress", change: { $0.progress = .invalid },
      message: """
        progress 0/0 lies before the hand-off at 0/1000 [sync.origin-behind]
        hint: the origin was changed by someone else: \(anew)
        """),
    Broken(
      testDescription: "progress before the hand-off", change: { $0.progress = LSN(0xFFF) },
      message: """
        progress 0/FFF lies before the hand-off at 0/1000 [sync.origin-behind]
        hint: the origin was changed by someone else: \(anew)
        """),
    Broken(
      testDescription: "a slot beyond progress", change: { $0.slot?.confirmedFlush = LSN(0x2001) },
      message: """
        slot \(slot) is confirmed up to 0/2001, beyond the target's progress 0/2000 [sync.slot-ahead]
        hint: changes between the two are lost for this target: \(anew)
        """),
    Broken(
      testDescription: "a slot that is not ready", change: { $0.slot?.confirmedFlush = nil },
      message: """
        slot \(slot) is confirmed up to nowhere, beyond the target's progress 0/2000 [sync.slot-ahead]
        hint: changes between the two are lost for this target: \(anew)
        """),
    Broken(
      testDescription: "a source behind the target's progress", change: { $0.sourceFlush = LSN(0x1FFF) },
      message: """
        progress 0/2000 lies beyond the source's WAL, which ends at 0/1FFF [sync.source-behind]
        hint: is this the same source, or one that was restored from a backup?
        """),
  ]
}
