import BlockingIO
import PostgresClient
import ReplicationModel
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

  struct Entry: Equatable, Sendable {
    var lsn: LSN
    var bytes: [UInt8]
  }

  private static let end = "the end of this test"

  @Test(arguments: [OutputPlugin.testDecoding, .pgoutput], Rows.allCases)
  func handsOverWhatTheSlotHas(plugin: OutputPlugin, rows: Rows) async throws {
    let server = try RoundTripServer.running()
    let (read, expected) = try await onDedicatedThread("slot-reading") {
      let pair = try slot(on: server, plugin, rows.statements(0..<(rows == .growing ? 100 : 1200)))
      let source = try server.connect(pair.source)
      let options = plugin.options(publication: Pair.publication)
      let feed = Feed(startingAt: pair.start)
      feed.start(
        SlotReader(
          source: server.parameters(pair.source),
          request: StreamRequest(slot: pair.targets[0], start: pair.start, options: options),
          queue: feed.queue, control: feed.control,
          limits: PullLimits(depth: 0, rest: 4 << 10, first: 16 << 10, largest: 64 << 10, wide: 256)),
        name: "recv")
      var read: [Entry] = []
      var hasSeenEnd = false
      let deadline = Deadline.after(.seconds(60))
      var written = false
      while !hasSeenEnd {
        feed.control.isIdle = feed.queue.isEmpty
        let chunk = try #require(feed.queue.pop(until: deadline), "the stream ended early")
        if !written {
          if rows == .growing { for statement in rows.statements(100..<1200) { try source.script(statement) } }
          try source.script("INSERT INTO t VALUES (-1, '\(Self.end)')")
          written = true
        }
        chunk.forEach { item in
          guard case .record(let lsn, let bytes) = item else { return }
          read.append(Entry(lsn: lsn, bytes: [UInt8](bytes)))
          hasSeenEnd = hasSeenEnd || isEnd(bytes)
        }
      }
      feed.stop()
      let expected = try peek(server, pair, plugin, until: deadline)
      try pair.drop()
      return (read.filter(isOfRows), expected)
    }
    #expect(expected.count > 1200)
    // The COMMIT behind the last row may be on its way.
    #expect((0...1).contains(expected.count - read.count))
    let difference = zip(read, expected).enumerated().first { $1.0 != $1.1 }
    #expect(difference == nil)
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
      let sourceEnd = try #require(
        try server.connect().query("SELECT pg_current_wal_flush_lsn()").first.flatMap { LSN($0) })
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

  private func slot(
    on server: RoundTripServer.Running, _ plugin: OutputPlugin, _ statements: [String]
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

  private func unhex(_ digits: [UInt8]) -> [UInt8] {
    func value(_ digit: UInt8) -> UInt8 { digit < UInt8(ascii: "a") ? digit - 48 : digit - 87 }
    return stride(from: 0, to: digits.count, by: 2).map { value(digits[$0]) << 4 | value(digits[$0 + 1]) }
  }

  /// pgoutput describes a table at the beginning of each reading.
  private func isOfRows(_ entry: Entry) -> Bool { entry.bytes.first != UInt8(ascii: "R") }

  private func peek(
    _ server: RoundTripServer.Running, _ pair: Pair, _ plugin: OutputPlugin, until deadline: Deadline
  ) throws -> [Entry] {
    let connection = try server.connect(pair.source)
    let options = plugin.options(publication: Pair.publication).flatMap { [$0.name, $0.value] }
    let list = options.map { quotedLiteral($0) }.joined(separator: ", ")
    while true {
      do throws(PostgresError) {
        let result = try connection.query(
          """
          SELECT lsn, encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes(
            $1, NULL, NULL, VARIADIC ARRAY[\(list)])
          """, [pair.targets[0]])
        return result.rows.map { row in
          Entry(lsn: LSN(row.string(0)) ?? .invalid, bytes: unhex(Array(row.string(1).utf8)))
        }.filter(isOfRows)
      } catch {
        // Its walsender is about to end.
        if error.sqlState != .objectInUse || deadline.hasPassed { throw error }
      }
    }
  }
}
