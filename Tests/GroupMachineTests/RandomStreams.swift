import BlockingIO
import OriginSession
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import ChangeApply

/// Random streams to a target whose batches fail and that crashes: each source transaction is applied in just one group,
/// in the stream's order, and the source is never told to forget what the target could lose.
struct RandomStreams {
  /// A hundred seeds each; what fails names its own.
  @Test(arguments: 0..<5) func areAppliedExactlyOnce(century: UInt64) throws {
    var withSecond = 0
    var replayed = 0
    for seed in century * 100..<century * 100 + 100 {
      var run = Run(seed)
      try run.play()
      if run.hasUsedSecond { withSecond += 1 }
      if run.hasReplayed { replayed += 1 }
    }
    // Streams that never come to it would show nothing.
    #expect(withSecond > 10)
    #expect(replayed > 10)
  }

  private struct Transaction {
    var number: Int
    /// Where its records begin, which may be before the COMMIT of the one before.
    var begin: UInt64
    var changes: Int
    var commit: LSN
    var hasMarker: Bool
    var hasStatement: Bool
    var isWide: Bool
    var changesSomething: Bool { changes > 0 || hasStatement }
  }

  private struct Run {
    var random: SeededRandom
    let source: [Transaction]
    var driver: Driver
    var limits: BatchLimits
    /// What the source has been told.
    var confirmed: LSN
    let seed: UInt64
    /// How many transactions there are to a disturbance.
    let calm: Int
    private(set) var hasUsedSecond = false
    private(set) var hasReplayed = false

    init(_ seed: UInt64) {
      self.seed = seed
      var random = SeededRandom(mixing: seed)
      calm = random.int(1...20)
      var source: [Transaction] = []
      var end: UInt64 = 0x1000
      for number in 1...random.int(5...120) {
        let changes = random.one(in: 4) ? 0 : random.one(in: 10) ? random.int(20...200) : random.int(1...6)
        end += UInt64(changes) + UInt64(random.int(2...40))
        source.append(
          Transaction(
            number: number, begin: end - UInt64(changes) - UInt64(random.int(2...100)), changes: changes,
            commit: LSN(end), hasMarker: random.one(in: 12), hasStatement: random.one(in: 15),
            isWide: random.one(in: 8)))
      }
      self.source = source
      limits = BatchLimits(
        changes: random.int(4...40), bytes: 100_000, wideBytes: 20_000, least: random.int(2...20), leastBytes: 10_000)
      driver = Driver(start: LSN(0x1000), limits: limits)
      confirmed = LSN(0x1000)
      self.random = random
    }

    mutating func play() throws {
      for attempt in 0..<200 {
        // Quiet in the end, so that it comes to one.
        let isQuiet = attempt > 10
        defer { hasUsedSecond = hasUsedSecond || driver.hasUsedSecond }
        do {
          try stream(isQuiet: isQuiet)
          try driver.wish { $0.recordPosition() }
          try driver.wish { $0.makeDurable() }
          check()
          #expect(driver.target.first == driver.target.progress)
          #expect(driver.target.progress == driver.machine.progress.position)
          #expect(driver.target.transactions == source.filter(\.changesSomething).map(\.number))
          return
        } catch let failure as ApplyFailure {
          check()
          let end = driver.machine.replayEnd(after: failure)
          #expect(end != nil, "a batch that failed is replayed; seed \(seed)")
          hasReplayed = true
          begin(strictUntil: end ?? driver.machine.progress.strictUntil)
        } catch is Crash {
          driver.target = driver.durable
          begin(strictUntil: driver.machine.progress.strictUntil)
        }
      }
      Issue.record("no end; seed \(seed)")
    }

    private struct Crash: Error {}

    private mutating func begin(strictUntil: LSN) {
      // A worker that starts moves the first origin to where the second one stands, and makes it durable.
      var target = driver.target
      target.first = target.progress
      driver = Driver(start: target.progress, strictUntil: strictUntil, limits: limits, target: target)
      check()
    }

    private mutating func stream(isQuiet: Bool) throws {
      driver.hasSecond = !random.one(in: 4)
      driver.machine.hasBacklog = !random.one(in: 4)
      let start = driver.machine.progress.start
      for transaction in source where transaction.commit > start {
        if !isQuiet, random.one(in: calm) { try disturb() }
        try driver.begin(transaction.number, at: LSN(transaction.begin))
        for index in 0..<transaction.changes {
          if random.one(in: 4) { driver.hasFreeRows.toggle() }
          if !isQuiet, random.one(in: 10 * calm) { try disturb() }
          try driver.change(
            at: LSN(transaction.begin + 1 + UInt64(index)), bytes: transaction.isWide ? 3000 : 50,
            fits: !random.one(in: 30))
        }
        if transaction.hasStatement { try driver.statement(at: LSN(transaction.begin + 1)) }
        if transaction.hasMarker { driver.machine.marker() }
        try driver.commit(at: transaction.commit)
        check()
        confirm()
        if random.one(in: 3 * calm) { try driver.wish { $0.settle() } }
      }
    }

    /// What may happen at any moment.
    private mutating func disturb() throws {
      switch random.int(0...13) {
      case 0, 1: driver.machine.hasBacklog = true
      case 2: driver.machine.hasBacklog = random.one(in: 2)
      case 3, 4: driver.finishJob()
      case 5:
        let seen = driver.machine.progress.received.rawValue
        // Within a transaction a keepalive may name what has not come in yet; else all before it has.
        let isBetween = driver.inHand == nil
        let walEnd = isBetween ? seen - UInt64(random.int(0...5)) : seen + UInt64(random.int(0...50))
        let record = random.one(in: 2)
        try driver.wish { $0.keepalive(LSN(walEnd), record: record) }
      case 6:
        // Whoever asks within a transaction gets nothing of it.
        try driver.wish { $0.recordPosition() }
        try driver.wish { $0.settle() }
      case 7: try driver.wish { $0.makeDurable() }
      case 8: try driver.wish { $0.rest() }
      case 9: driver.now = Deadline(nanoseconds: driver.now.nanoseconds + 700_000_000)
      case 10:
        let end = LSN(driver.machine.progress.received.rawValue + UInt64(random.int(0...200)))
        driver.gateStays = { $0 <= end }
        try driver.wish { $0.setGate(true) }
      case 11: confirm()
      case 12 where random.one(in: 2):
        driver.failure = ApplyFailure(.batchMismatch, "as it happens")
      case 13 where random.one(in: 4):
        throw Crash()
      default: return
      }
      check()
    }

    private mutating func confirm() {
      if let position = driver.machine.confirm() { confirmed = position }
    }

    /// Each transaction before progress is there once, in order, and none behind it.
    private func check() {
      for target in [driver.target, driver.durable] {
        #expect(
          target.transactions
            == source.filter { $0.changesSomething && $0.commit <= target.progress }.map(\.number), "seed \(seed)")
      }
      #expect(confirmed <= driver.durable.first, "the source was told to forget what the target may lose; seed \(seed)")
      #expect(driver.machine.progress.recorded <= driver.target.progress, "not there yet; seed \(seed)")
      #expect(driver.machine.progress.breach == nil)
    }
  }
}
