import ReplicationModel
import Testing

@testable import ReplicationStream

struct StreamMessageTests {
  private func read(_ bytes: [UInt8]) throws(MalformedStreamMessage) -> StreamMessage {
    let outcome: Result<StreamMessage, MalformedStreamMessage> = bytes.withUnsafeBytes { buffer in
      do throws(MalformedStreamMessage) { return .success(try StreamMessage(buffer)) } catch { return .failure(error) }
    }
    return try outcome.get()
  }

  private static let data: [UInt8] =
    [UInt8(ascii: "w"), 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xFF, 0, 0, 4] + Array(repeating: 9, count: 8)
  private static let keepalive: [UInt8] =
    [UInt8(ascii: "k"), 0, 0, 0, 1, 0xAB, 0, 0, 2] + Array(repeating: 9, count: 8) + [1]

  @Test func readsData() throws {
    let message = StreamMessage.data(start: LSN(0x1_0000_0002), walEnd: LSN(0x3_FF00_0004))
    #expect(try read(Self.data) == message)
    #expect(try read(Self.data + Array("BEGIN 1".utf8)) == message)
  }

  @Test func readsKeepalives() throws {
    #expect(try read(Self.keepalive) == .keepalive(walEnd: LSN(0x1_AB00_0002), replyRequested: true))
    #expect(
      try read(Self.keepalive.dropLast() + [0]) == .keepalive(walEnd: LSN(0x1_AB00_0002), replyRequested: false))
  }

  @Test func refusesEverythingElse() {
    for length in 0..<Self.data.count {
      #expect(throws: MalformedStreamMessage.self) { try read(Array(Self.data.prefix(length))) }
    }
    for length in 0..<Self.keepalive.count {
      #expect(throws: MalformedStreamMessage.self) { try read(Array(Self.keepalive.prefix(length))) }
    }
    #expect(throws: MalformedStreamMessage("keepalive of 19 bytes instead of 18")) { try read(Self.keepalive + [0]) }
    #expect(throws: MalformedStreamMessage("unknown stream message type 112")) { try read([112]) }
    #expect(throws: MalformedStreamMessage("empty stream message")) { try read([]) }
  }

  @Test func writesStatusUpdates() {
    let update = StandbyStatusUpdate(received: LSN(0x1_0000_0002), flushed: LSN(0x1_0000_0001), clock: -2)
    #expect(
      update.bytes
        == [UInt8(ascii: "r"), 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1] + [
          255, 255, 255, 255, 255, 255, 255, 254, 0,
        ])
  }

  @Test func quotesTheCommand() {
    let request = StreamRequest(
      slot: "s", start: LSN(0x16_0000_00AB), options: [("include-xids", "on"), ("skip-empty-xacts", "off")])
    #expect(
      request.command
        == #"START_REPLICATION SLOT "s" LOGICAL 16/AB ("include-xids" 'on', "skip-empty-xacts" 'off')"#)
    #expect(
      StreamRequest(slot: "s", start: .invalid, options: []).command == #"START_REPLICATION SLOT "s" LOGICAL 0/0"#)
  }
}

struct StreamChunkTests {
  private enum Seen: Equatable {
    case record(LSN, String)
    case keepalive(LSN, urgent: Bool)
  }

  private func contents(_ chunk: StreamChunk) -> [Seen] {
    var seen: [Seen] = []
    chunk.forEach { item in
      switch item {
      case .record(let lsn, let bytes): seen.append(.record(lsn, String(decoding: bytes, as: UTF8.self)))
      case .keepalive(let lsn, let urgent): seen.append(.keepalive(lsn, urgent: urgent))
      }
    }
    return seen
  }

  @Test func keepsOrderAndBytes() {
    var chunk = StreamChunk()
    #expect(chunk.isEmpty)
    let texts = ["BEGIN 1", "", String(repeating: "é", count: 70000), "COMMIT"]
    for (index, text) in texts.enumerated() {
      Array(text.utf8).withUnsafeBytes { chunk.append(lsn: LSN(UInt64(index)), record: $0) }
    }
    chunk.append(keepalive: LSN(UInt64.max), urgent: false)
    chunk.append(keepalive: LSN(7), urgent: true)
    #expect(chunk.recordCount == 4)
    #expect(chunk.byteCount == texts.reduce(0) { $0 + $1.utf8.count } + 6 * 13)
    #expect(
      contents(chunk)
        == texts.enumerated().map { .record(LSN(UInt64($0)), $1) } + [
          .keepalive(LSN(UInt64.max), urgent: false), .keepalive(LSN(7), urgent: true),
        ])
  }

  /// What waits in a queue takes up no more than is in it, and may still grow.
  @Test func roomThatIsNotFilledIsGivenUp() {
    var chunk = StreamChunk(capacity: 1 << 20)
    let record = [UInt8](repeating: 120, count: 4000)
    record.withUnsafeBytes { chunk.append(lsn: LSN(1), record: $0) }
    #expect(chunk.allocatedBytes >= 1 << 20)
    chunk.trim()
    #expect(chunk.allocatedBytes <= chunk.byteCount * 5 / 4)
    record.withUnsafeBytes { chunk.append(lsn: LSN(2), record: $0) }
    let text = String(repeating: "x", count: 4000)
    #expect(contents(chunk) == [.record(LSN(1), text), .record(LSN(2), text)])
  }

  @Test func anErrorEndsTheWalk() {
    struct Stop: Error {}
    var chunk = StreamChunk()
    for number in 1...3 { chunk.append(keepalive: LSN(UInt64(number)), urgent: false) }
    var seen = 0
    #expect(throws: Stop.self) {
      try chunk.forEach { _ throws(Stop) in
        seen += 1
        if seen == 2 { throw Stop() }
      }
    }
    #expect(seen == 2)
  }
}
