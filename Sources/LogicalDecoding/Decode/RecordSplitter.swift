import Glibc

/// Cuts a text of test_decoding records, as `pg_recvlogical` writes it, into records.
///
/// Each record is followed by one line feed, which is no part of it; values, names and messages may hold line feeds
/// of their own. The last record may lack its line feed. Bytes come in pieces of any size and give the same records
/// however they are cut. Memory is bounded by the largest record.
///
///     splitter.append(bytes)
///     while let record = try splitter.next() { splitter.withBytes(of: record) { … } }
///     splitter.finish()   // and drain once more
public struct RecordSplitter: Sendable {
  /// One record; its bytes stay with the splitter until the next `append`.
  public struct Record: Sendable, Equatable {
    /// The line, from 1, on which it starts.
    public var line: Int
    /// Its first byte, counted from the start of the input.
    public var byteOffset: Int
    /// Without the line feed.
    public var count: Int
    /// False only for the last record of an input that doesn't end in a line feed.
    public var hasLineFeed: Bool
    fileprivate var position: Int
  }

  /// No record of PostgreSQL is larger: its strings stay below 1 GiB.
  public static let maximumRecordBytes = 1 << 30

  private let limit: Int
  private var buffer: [UInt8] = []
  /// Where in the buffer the record at hand starts.
  private var start = 0
  /// The bytes of the input before `buffer[0]`.
  private var discarded = 0
  private var line = 1
  private var scanner = RecordScanner()
  private var isFinal = false
  private var failure: DecodeInputError?

  /// A record beyond the limit is an error, so that an input without an end cannot take all memory.
  public init(maximumRecordBytes: Int = RecordSplitter.maximumRecordBytes) {
    limit = maximumRecordBytes
  }

  /// Takes more of the input. Records that came before are gone then, as are their bytes.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard failure == nil, !isFinal else { return }
    if start > 0 {
      buffer.removeSubrange(..<start)
      discarded += start
      start = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// Says that no more input comes; `next` then gives the last record or finds it truncated.
  public mutating func finish() {
    isFinal = true
  }

  /// The next record that is whole; nil when more input is needed, or, after `finish`, when there is none. After an
  /// error every call throws the same again.
  public mutating func next() throws(DecodeInputError) -> Record? {
    if let failure { throw failure }
    guard start < buffer.count else { return nil }
    var scanner = scanner
    let outcome = buffer.withUnsafeBytes { bytes in
      scanner.scan(UnsafeRawBufferPointer(rebasing: bytes[start...]), isFinal: isFinal)
    }
    self.scanner = scanner
    let available = buffer.count - start
    switch outcome {
    case .end(let count) where count <= limit:
      return take(count)
    case .needsMore where available <= limit:
      return nil
    case .malformed(let offset, let reason) where offset <= limit:
      throw fail(.malformed, offset, reason)
    case .truncated(let reason) where available <= limit:
      throw fail(.truncated, available, reason)
    case .end, .needsMore, .malformed, .truncated:
      throw fail(.malformed, limit, "a record is longer than \(limit) bytes")
    }
  }

  /// Calls `body` with the record's bytes; the record must be one that came since the last `append`.
  public func withBytes<Result, Failure: Error>(
    of record: Record, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try buffer.withUnsafeBufferPointer { (bytes) throws(Failure) -> Result in
      let slice = UnsafeBufferPointer(rebasing: bytes[record.position..<(record.position + record.count)])
      return try body(UnsafeRawBufferPointer(slice))
    }
  }

  /// What has come of the record at hand, for a closer look after an error.
  func withUnfinishedRecord<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    buffer.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start...])) }
  }

  /// The place of the record at hand.
  var unfinishedRecordPlace: (line: Int, byteOffset: Int) { (line, discarded + start) }

  private mutating func take(_ count: Int) -> Record {
    let hasLineFeed = start + count < buffer.count
    let record = Record(
      line: line, byteOffset: discarded + start, count: count, hasLineFeed: hasLineFeed, position: start)
    line += lineFeeds(count) + 1
    start += count + (hasLineFeed ? 1 : 0)
    scanner = RecordScanner()
    return record
  }

  /// The number of line feeds inside the record at hand.
  private func lineFeeds(_ count: Int) -> Int {
    buffer.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      var number = 0
      var from = start
      while from < start + count, let hit = memchr(base + from, 10, start + count - from) {
        number += 1
        from = UnsafeRawPointer(hit) - base + 1
      }
      return number
    }
  }

  private mutating func fail(_ kind: DecodeInputError.Kind, _ offset: Int, _ reason: String) -> DecodeInputError {
    let error = DecodeInputError(kind: kind, line: line, byteOffset: discarded + start + offset, reason: reason)
    failure = error
    return error
  }
}
