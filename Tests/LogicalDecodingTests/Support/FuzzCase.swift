import Foundation
import LogicalDecoding
import ReplicationModel
import TestSupport

/// One case of the fuzz driver: records of a real server or a generated one, cut, joined and spoilt by a seed, and all
/// that must hold of whatever comes out.
struct FuzzCase {
  static let corpus: [[UInt8]] =
    ((try? ServerFixtureTests.records()) ?? [])
    + (ServerFixture.streamed + ServerFixture.prepared + [ServerFixture.allQuoted] + FuzzCorpus.records)
    .map { Array($0.utf8) }

  var records: [[UInt8]]
  var endsInLineFeed: Bool
  private var random: SeededRandom

  /// The same seed is the same case, whatever was run before it.
  init(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    records = (0..<Int.random(in: 1...4, using: &random)).map { _ in Self.record(&random) }
    endsInLineFeed = Int.random(in: 0..<4, using: &random) > 0
    self.random = random
  }

  /// What does not hold.
  mutating func problems() -> [String] {
    var problems: [String] = []
    var warm = TestDecodingParser()
    for record in records { problems += check(record, with: &warm) }
    return problems + checkFile()
  }

  // MARK: making

  private static func record(_ random: inout SeededRandom) -> [UInt8] {
    var bytes = seedRecord(&random)
    if Int.random(in: 0..<6, using: &random) == 0 {
      let other = seedRecord(&random)
      bytes = Array(bytes[..<Int.random(in: 0...bytes.count, using: &random)])
      bytes += other[Int.random(in: 0...other.count, using: &random)...]
    }
    for _ in 0..<(Int.random(in: 0..<3, using: &random) * Int.random(in: 0...2, using: &random)) {
      mutate(&bytes, &random)
    }
    return bytes
  }

  private static func seedRecord(_ random: inout SeededRandom) -> [UInt8] {
    if Bool.random(using: &random), let record = corpus.randomElement(using: &random) { return record }
    var generator = RecordGenerator(seed: random.next())
    return Array(render(generator.record()).utf8)
  }

  // MARK: one record

  private func check(_ record: [UInt8], with warm: inout TestDecodingParser) -> [String] {
    // A block of exactly this size: a read beyond it is one that memory checkers see.
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: record.count, alignment: 1)
    defer { block.deallocate() }
    block.copyBytes(from: record)
    let bytes = UnsafeRawBufferPointer(block)
    var cold = TestDecodingParser()
    do throws(MalformedRecord) {
      let decoded = try cold.parse(bytes)
      var problems = checkColumns(cold.newColumns, record) + checkColumns(cold.oldColumns, record)
      guard problems.isEmpty else { return problems }
      let rendered = FuzzRendering.forms(of: decoded, of: record, from: cold)
      if let rendered, !rendered.contains(record) {
        problems.append("renders as \(rendered.map { String(decoding: $0, as: UTF8.self) })")
      }
      problems += checkJSON(decoded, of: bytes, from: cold)
      // A parser that has met other relations before reads the same.
      do throws(MalformedRecord) {
        let again = try warm.parse(bytes)
        if warm.newColumns != cold.newColumns || warm.oldColumns != cold.oldColumns
          || FuzzRendering.forms(of: again, of: record, from: warm) != rendered
        {
          problems.append("a used parser reads something else")
        }
      } catch {
        problems.append("a used parser refuses: \(error)")
      }
      return problems
    } catch {
      var problems: [String] = []
      if !(0...record.count).contains(error.offset) { problems.append("an offset outside the record: \(error)") }
      if error.reason.isEmpty { problems.append("no reason") }
      do throws(MalformedRecord) {
        _ = try warm.parse(bytes)
        problems.append("a used parser accepts what a new one refuses: \(error)")
      } catch let other {
        if other != error { problems.append("a used parser says \(other), a new one \(error)") }
      }
      return problems
    }
  }

  private func checkColumns(_ columns: [DecodedColumn]?, _ record: [UInt8]) -> [String] {
    var end = 0
    for column in columns ?? [] {
      for span in [column.name, column.type, column.value] {
        guard span.start >= end, span.end >= span.start, span.end <= record.count else { return ["a span: \(column)"] }
        end = span.end
      }
      if column.name.count == 0 || column.type.count == 0 { return ["an empty name or type: \(column)"] }
    }
    return []
  }

  /// A JSON reader that is not ours finds one object with the values that the spans stand for.
  private func checkJSON(
    _ decoded: DecodedRecord, of bytes: UnsafeRawBufferPointer, from parser: TestDecodingParser
  ) -> [String] {
    var output: [UInt8] = Array("before".utf8)
    do throws(MalformedRecord) {
      try DecodeJSONWriter().append(decoded, of: bytes, from: parser, to: &output)
    } catch {
      let isText = String(validating: bytes, as: UTF8.self) != nil
      var problems: [String] = []
      if isText { problems.append("the writer refuses UTF-8: \(error)") }
      if !(0..<bytes.count).contains(error.offset) { problems.append("the writer's offset is outside: \(error)") }
      if output != Array("before".utf8) { problems.append("the writer failed and left something behind") }
      return problems
    }
    let line = output.dropFirst("before".utf8.count)
    guard line.last == 10, line.dropLast().firstIndex(of: 10) == nil else { return ["not one line of JSON"] }
    guard let object = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any] else {
      return ["not a JSON object: \(String(decoding: line, as: UTF8.self))"]
    }
    return compare(object["new"], parser.newColumns, bytes) + compare(object["old"], parser.oldColumns, bytes)
  }

  private func compare(_ json: Any?, _ columns: [DecodedColumn]?, _ record: UnsafeRawBufferPointer) -> [String] {
    guard let columns else { return json is [Any] ? ["columns in JSON only"] : [] }
    guard let objects = json as? [[String: Any]], objects.count == columns.count else {
      return ["columns lost in JSON"]
    }
    for (object, column) in zip(objects, columns) {
      var value: [UInt8] = []
      appendValue(column, of: record, to: &value)
      let isRight =
        switch column.form {
        case .null: object["value"] is NSNull
        case .unchangedToast: object["value"] == nil && object["unchanged_toast"] as? Bool == true
        case .verbatim, .doubledQuotes: (object["value"] as? String).map { Array($0.utf8) } == value
        }
      var name: [UInt8] = []
      appendUnquotedIdentifier(column.name, of: record, to: &name)
      guard isRight, (object["name"] as? String).map({ Array($0.utf8) }) == name else {
        return ["JSON says something else of \(column)"]
      }
    }
    return []
  }

  // MARK: all of them as a file

  private mutating func checkFile() -> [String] {
    var file = Array(records.joined(separator: [10]))
    if endsInLineFeed { file.append(10) }
    var problems: [String] = []
    let whole = decode(file)
    let pieces = cuts(of: file.count)
    let split = decode(file, pieces: pieces)
    if split.output != whole.output || split.error != whole.error { problems.append("decoded otherwise when cut") }
    if let error = whole.error { problems += checkPlace(error, in: file) }
    let (uncut, uncutError) = splitRecords(file, [])
    let (cut, cutError) = splitRecords(file, pieces)
    if uncut != cut || uncutError != cutError { problems.append("split otherwise when cut") }
    if let uncutError { problems += checkPlace(uncutError, in: file) }
    var position = 0
    for record in uncut {
      if record.offset != position || Array(file[position..<(position + record.bytes.count)]) != record.bytes
        || record.line != 1 + file[..<position].count(where: { $0 == 10 })
      {
        return problems + ["the splitter's places are wrong at byte \(position)"]
      }
      position += record.bytes.count + 1
    }
    if uncutError == nil && position < file.count { problems.append("the splitter left bytes behind") }
    return problems
  }

  /// At every byte, or at some.
  private mutating func cuts(of count: Int) -> [Int] {
    let longest = Int.random(in: 0..<3, using: &random) == 0 ? 1 : Int.random(in: 2...60, using: &random)
    var cuts: [Int] = []
    var next = Int.random(in: 1...longest, using: &random)
    while next < count {
      cuts.append(next)
      next += Int.random(in: 1...longest, using: &random)
    }
    return cuts
  }

  private func checkPlace(_ error: DecodeInputError, in file: [UInt8]) -> [String] {
    let lines = 1 + file.count { $0 == 10 }
    let isRight = (0...file.count).contains(error.byteOffset) && (1...lines).contains(error.line)
    return isRight && !error.reason.isEmpty ? [] : ["a place outside the input: \(error)"]
  }

  private struct Piece: Equatable {
    var line: Int
    var offset: Int
    var bytes: [UInt8]
  }

  private func splitRecords(_ file: [UInt8], _ cuts: [Int]) -> ([Piece], DecodeInputError?) {
    var splitter = RecordSplitter()
    var pieces: [Piece] = []
    do throws(DecodeInputError) {
      var start = 0
      for end in cuts + [file.count] {
        file[start..<end].withUnsafeBytes { splitter.append($0) }
        start = end
        if end == file.count { splitter.finish() }
        while let record = try splitter.next() {
          let bytes = splitter.withBytes(of: record) { Array($0) }
          pieces.append(Piece(line: record.line, offset: record.byteOffset, bytes: bytes))
        }
      }
      return (pieces, nil)
    } catch {
      return (pieces, error)
    }
  }
}

/// Bytes to spoil records with.
func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
  guard !bytes.isEmpty else { return }
  let special = Array("'\"[]: .,\\\nB0n(\r".utf8)
  let position = Int.random(in: 0..<bytes.count, using: &random)
  switch Int.random(in: 0..<6, using: &random) {
  case 0: bytes[position] = UInt8.random(in: 0...255, using: &random)
  case 1: bytes[position] = special.randomElement(using: &random) ?? 0
  case 2: bytes.remove(at: position)
  case 3: bytes.insert(special.randomElement(using: &random) ?? 0, at: position)
  case 4: bytes.removeSubrange(position...)
  default:
    let end = Int.random(in: position...min(bytes.count, position + 20), using: &random)
    bytes.insert(contentsOf: bytes[position..<end], at: Int.random(in: 0...bytes.count, using: &random))
  }
}
