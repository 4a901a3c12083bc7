import BlockingIO
import Glibc
import LogicalDecoding
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import DatabaseSync
@testable import ReplicationStream

/// A slot is read in several ways, by SQL in pulls of several sizes and by its walsender, which take turns: what comes
/// out is what the slot has, whole and in its order.
///
/// Serialized, for each needs slots for its pulls.
@Suite(.roundTripServer, .serialized)
struct SlotReading {
  enum Rows: String, CaseIterable {
    case narrow
    case wide
    /// The first pull has narrow ones.
    case narrowThenWide
    /// Most of them are written while the first ones are read.
    case growing

    func statements(_ range: Range<Int>) -> [String] {
      range.map { number in
        let isWide = self == .wide || self == .narrowThenWide && number >= 600
        return "INSERT INTO t VALUES (\(number), repeat('x', \(isWide ? 1000 : 20)))"
      }
    }
  }

  private static let end = "the end of this test"

  private struct Reading: Sendable {
    var read: [StreamEntry]
    var expected: [StreamEntry]
    var start: LSN
    /// The end of what there was before the reading began.
    var first: LSN
    var pulled: LSN
  }

  @Test(arguments: OutputPlugin.allCases, Rows.allCases)
  func handsOverWhatTheSlotHas(plugin: OutputPlugin, rows: Rows) async throws {
    let server = try RoundTripServer.running()
    let reading = try await onDedicatedThread("slot-reading") {
      let pair = try slot(on: server, plugin, rows.statements(0..<(rows == .growing ? 600 : 1200)))
      let source = try server.connect(pair.source)
      let first = try walEnd(server)
      // One chunk at a time, so that the reader is never far ahead of us.
      let feed = startReading(
        pair, plugin, capacity: 1,
        PullLimits(depth: 0, rest: 4 << 10, first: (rows == .wide ? 96 : 16) << 10, largest: 64 << 10, wide: 256))
      var read: [StreamEntry] = []
      var hasSeenEnd = false
      var hasWritten = false
      let deadline = Deadline.after(.seconds(60))
      // A pull that is stopped on its last chunk has not come to its end.
      while !hasSeenEnd || feed.control.pulled == .invalid {
        feed.control.isIdle = feed.queue.isEmpty
        guard let chunk = feed.queue.pop(until: hasSeenEnd ? .after(.milliseconds(10)) : deadline) else {
          try #require(hasSeenEnd && !deadline.hasPassed, "the stream ended early")
          continue
        }
        if !hasWritten {
          if rows == .growing { for statement in rows.statements(600..<1200) { try source.script(statement) } }
          try source.script("INSERT INTO t VALUES (-1, '\(Self.end)')")
          hasWritten = true
        }
        chunk.forEach { item in
          guard case .record(let lsn, let bytes) = item else { return }
          read.append(StreamEntry(lsn: lsn, bytes: [UInt8](bytes)))
          hasSeenEnd = hasSeenEnd || isEnd(bytes)
        }
      }
      feed.stop()
      let expected = try pair.peek(plugin, until: deadline).filter(isOfRows)
      try pair.drop()
      return Reading(
        read: read.filter(isOfRows), expected: expected, start: pair.start, first: first, pulled: feed.control.pulled)
    }
    #expect(reading.expected.count > 3600)
    // The COMMIT behind the last row may be on its way.
    #expect((0...1).contains(reading.expected.count - reading.read.count))
    let difference = zip(reading.read, reading.expected).enumerated().first { $1.0 != $1.1 }
    #expect(difference == nil)
    switch rows {
    // The first pull alone, and all the rest from the walsender.
    case .wide: #expect(reading.pulled > reading.start && reading.pulled < reading.start + (256 << 10))
    case .narrow, .narrowThenWide: #expect(reading.pulled + (32 << 10) > reading.first)
    case .growing: #expect(reading.pulled > reading.first + (32 << 10))
    }
  }

  /// A target that takes nothing holds a snapshot on the source as long as a pull lasts; one that is slow goes on.
  @Test(arguments: [false, true]) func aPullThatNobodyTakesIsGivenUp(isSlow: Bool) async throws {
    let server = try RoundTripServer.running()
    let (failure, taken) = try await onDedicatedThread("slot-reading") { () throws -> (StreamFailure?, Int) in
      let pair = try slot(
        on: server, .testDecoding, ["INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i"])
      // Half of it has to be taken before there is room again.
      let feed = startReading(
        pair, .testDecoding, capacity: 3 << 20,
        PullLimits(depth: 0, rest: 0, first: 64 << 20, patience: isSlow ? .seconds(1) : .milliseconds(200)))
      let deadline = Deadline.after(.seconds(60))
      var (records, chunks) = (0, 0)
      if isSlow {
        while records < 20002, let chunk = feed.queue.pop(until: deadline) {
          records += chunk.recordCount
          chunks += 1
          // The patience is over before there is room, while one chunk after the other is taken.
          if chunks < 8 { usleep(250_000) }
        }
      } else {
        while !feed.queue.isClosed && !deadline.hasPassed { usleep(10_000) }
      }
      feed.stop()
      try pair.drop()
      do throws(StreamFailure) { try feed.outcome() } catch { return (error, records) }
      return (nil, records)
    }
    if isSlow {
      #expect(failure == nil)
      #expect(taken == 20002)
    } else if case .pullGivenUp(let message) = failure {
      #expect(message.contains("took no changes"))
    } else {
      Issue.record("\(String(describing: failure))")
    }
  }

  /// Whose records are wide after the first pull is left to the walsender, and nobody else.
  @Test(arguments: Rows.allCases.filter { $0 != .growing })
  func recognizesWideRecords(rows: Rows) async throws {
    let server = try RoundTripServer.running()
    let (start, position, sourceEnd, isWide) = try await onDedicatedThread("slot-reading") {
      let pair = try slot(on: server, .testDecoding, rows.statements(0..<1200))
      let control = StreamControl()
      let queue = ByteBoundedQueue<StreamChunk>(capacity: 64 << 20, roomWakeUp: control.wakeUp)
      var puller = try #require(
        try BacklogPuller.open(
          server.parameters(pair.source),
          request: StreamRequest(
            slot: pair.targets[0], start: pair.start,
            options: OutputPlugin.testDecoding.options(publication: Pair.publication)),
          queue: queue, control: control,
          // Of wide rows too it has more than a hundred records.
          limits: PullLimits(depth: 0, rest: 0, first: 96 << 10, largest: 1 << 20, wide: 256)))
      defer { puller.close() }
      try puller.run()
      let sourceEnd = try walEnd(server)
      puller.close()
      try pair.drop()
      return (pair.start, puller.position, sourceEnd, puller.hasWideRecords)
    }
    #expect(isWide == (rows == .wide))
    if rows == .wide {
      #expect(position < start + (512 << 10))
    } else {
      #expect(position + (64 << 10) > sourceEnd)
    }
  }

  private func startReading(_ pair: Pair, _ plugin: OutputPlugin, capacity: Int, _ limits: PullLimits) -> Feed {
    let feed = Feed(startingAt: pair.start, capacity: capacity)
    feed.start(
      SlotReader(
        source: pair.server.parameters(pair.source),
        request: StreamRequest(
          slot: pair.targets[0], start: pair.start, options: plugin.options(publication: Pair.publication)),
        queue: feed.queue, control: feed.control, limits: limits),
      name: "recv")
    return feed
  }

  private func walEnd(_ server: Cluster) throws -> LSN {
    try #require(try server.connect().query("SELECT pg_current_wal_flush_lsn()").first.flatMap { LSN($0) })
  }

  private func slot(
    on server: Cluster, _ plugin: OutputPlugin, _ statements: [String]
  ) throws -> Pair {
    var pair = try Pair(server, named: "reading_\(HandOffNames.random().nonce)")
    let source = try server.connect(pair.source)
    try source.script("CREATE TABLE t (id int PRIMARY KEY, v text)")
    source.close()
    try pair.handOff(to: ["slot"], plugin: plugin)
    let writer = try server.connect(pair.source)
    defer { writer.close() }
    for statement in statements { try writer.script(statement) }
    return pair
  }

  private func isEnd(_ bytes: UnsafeRawBufferPointer) -> Bool {
    String(decoding: bytes.suffix(Self.end.utf8.count + 1), as: UTF8.self).contains(Self.end)
  }

  /// pgoutput describes a table at the beginning of each reading.
  private func isOfRows(_ entry: StreamEntry) -> Bool { entry.bytes.first != UInt8(ascii: "R") }
}
