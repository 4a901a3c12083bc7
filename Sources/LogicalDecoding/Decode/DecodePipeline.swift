/// From test_decoding text to JSON lines: what `pgconvoy decode` does between reading and writing.
///
///     try pipeline.feed(bytes, to: &output)   // as often as bytes come; write `output` out and empty it
///     try pipeline.finish(to: &output)
///
/// When either throws, the output holds the objects of all records before the faulty one, whole: write them out,
/// then report. Afterwards every call throws the same error.
public struct DecodePipeline: Sendable {
  private var splitter: RecordSplitter
  private var parser = TestDecodingParser()
  private let writer = DecodeJSONWriter()
  private var failure: DecodeInputError?

  public init(maximumRecordBytes: Int = RecordSplitter.maximumRecordBytes) {
    splitter = RecordSplitter(maximumRecordBytes: maximumRecordBytes)
  }

  /// Takes bytes in pieces of any size and appends the objects of the records that are whole.
  public mutating func feed(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) throws(DecodeInputError) {
    splitter.append(bytes)
    try drain(to: &output)
  }

  /// Takes the bytes of an array.
  public mutating func feed(_ bytes: [UInt8], to output: inout [UInt8]) throws(DecodeInputError) {
    bytes.withUnsafeBytes { splitter.append($0) }
    try drain(to: &output)
  }

  /// Says that the input has ended, and appends what the last record gives.
  public mutating func finish(to output: inout [UInt8]) throws(DecodeInputError) {
    splitter.finish()
    try drain(to: &output)
  }

  private mutating func drain(to output: inout [UInt8]) throws(DecodeInputError) {
    if let failure { throw failure }
    do throws(DecodeInputError) {
      while let record = try nextRecord() {
        try Self.write(record, of: splitter, with: &parser, writer, to: &output)
      }
    } catch {
      failure = error
      throw error
    }
  }

  private mutating func nextRecord() throws(DecodeInputError) -> RecordSplitter.Record? {
    do throws(DecodeInputError) {
      return try splitter.next()
    } catch {
      throw Self.refined(error, splitter)
    }
  }

  /// The splitter knows quotes only; the parser may find that the record went wrong further ahead. It sees just the
  /// bytes before the splitter's fault, so that the answer is the same however the input was cut.
  private static func refined(_ error: DecodeInputError, _ splitter: RecordSplitter) -> DecodeInputError {
    let (line, byteOffset) = splitter.unfinishedRecordPlace
    let earlier = splitter.withUnfinishedRecord { bytes -> MalformedRecord? in
      let seen = UnsafeRawBufferPointer(rebasing: bytes[..<min(bytes.count, error.byteOffset - byteOffset)])
      var parser = TestDecodingParser()
      do throws(MalformedRecord) {
        _ = try parser.parse(seen)
        return nil
      } catch {
        return error.offset < seen.count ? error : nil
      }
    }
    guard let earlier else { return error }
    return DecodeInputError(
      kind: .malformed, line: line, byteOffset: byteOffset + earlier.offset, reason: earlier.reason)
  }

  private static func write(
    _ record: RecordSplitter.Record, of splitter: RecordSplitter, with parser: inout TestDecodingParser,
    _ writer: DecodeJSONWriter, to output: inout [UInt8]
  ) throws(DecodeInputError) {
    try splitter.withBytes(of: record) { (bytes) throws(DecodeInputError) in
      let decoded: DecodedRecord
      do throws(MalformedRecord) {
        decoded = try parser.parse(bytes)
      } catch {
        let ended = error.offset == bytes.count && !record.hasLineFeed
        throw DecodeInputError(
          kind: ended ? .truncated : .malformed, line: record.line, byteOffset: record.byteOffset + error.offset,
          reason: error.reason)
      }
      do throws(MalformedRecord) {
        try writer.append(decoded, of: bytes, from: parser, to: &output)
      } catch {
        throw DecodeInputError(
          kind: .encoding, line: record.line, byteOffset: record.byteOffset + error.offset, reason: error.reason)
      }
    }
  }
}
