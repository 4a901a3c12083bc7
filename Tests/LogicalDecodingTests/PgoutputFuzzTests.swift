import Glibc
import ReplicationModel
import TestSupport
import Testing

@testable import LogicalDecoding

/// The parser of pgoutput's messages against generated streams, whole and spoilt.
@Suite struct PgoutputFuzzTests {
  /// Cases numbered from the seed on; `PGCONVOY_FUZZ_SECONDS` and `PGCONVOY_FUZZ_SEED` as for the other driver.
  @Test func findsNothing() throws {
    let seconds = number("PGCONVOY_FUZZ_SECONDS")
    let first = number("PGCONVOY_FUZZ_SEED") ?? FuzzTests.seed
    let end = ContinuousClock.now + .seconds(Int64(seconds ?? 0))
    var cases: UInt64 = 0
    repeat {
      let problems = PgoutputCase(seed: first &+ cases).problems()
      if !problems.isEmpty { Issue.record("seed \(first &+ cases): \(problems)") }
      cases += 1
    } while seconds == nil ? cases < 2_000 : ContinuousClock.now < end
    if seconds != nil { print("fuzz of pgoutput: seed \(first), \(cases) cases") }
  }

  private func number(_ variable: String) -> UInt64? {
    getenv(variable).flatMap { UInt64(String(cString: $0)) }
  }
}

/// What a message says, read back from a parser.
private enum Message: Equatable {
  typealias Tuple = [Column]

  struct Column: Equatable {
    var name: [UInt8]
    var form: DecodedColumn.Form
    var value: [UInt8]
  }

  case begin(UInt32?)
  case commit(Int64)
  case insert([UInt8], Tuple)
  case update([UInt8], old: Tuple?, Tuple)
  case delete([UInt8], Tuple)
  case truncate([[UInt8]], restartIdentity: Bool, cascade: Bool)
  case message(transactional: Bool, prefix: [UInt8], content: [UInt8])
  case description

  static func read(_ bytes: [UInt8], with parser: inout PgoutputParser) throws(MalformedRecord) -> Message {
    // A block of exactly this size: a read beyond it is one that memory checkers see.
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { block.deallocate() }
    block.copyBytes(from: bytes)
    let record = UnsafeRawBufferPointer(block)
    let decoded = try parser.parse(record)
    let names = parser.tupleNames(of: record).bytes
    func at(_ span: Span) -> [UInt8] { Array(record[span.start..<span.end]) }
    func relation(_ number: RelationNumber) -> [UInt8] {
      let (schema, table) = parser.relationNameBytes(number)
      return schema + [0] + table
    }
    func tuple(_ columns: [DecodedColumn]?) -> Tuple {
      (columns ?? []).map { column in
        var name: [UInt8] = []
        appendUnquotedIdentifier(column.name, of: names, to: &name)
        var value: [UInt8] = []
        appendValue(column, of: record, to: &value)
        return Column(name: name, form: column.form, value: value)
      }
    }
    switch decoded {
    case .begin(let xid): return .begin(xid)
    case .commit(_, let timestamp):
      guard let timestamp, case .microseconds(let time) = parser.commitTime(timestamp, of: record) else {
        return .commit(.min)
      }
      return .commit(time)
    case .insert(let number): return .insert(relation(number), tuple(parser.newColumns))
    case .update(let number, let hasOldKey):
      return .update(relation(number), old: hasOldKey ? tuple(parser.oldColumns) : nil, tuple(parser.newColumns))
    case .delete(let number): return .delete(relation(number), tuple(parser.oldColumns))
    case .truncate(let numbers, let restartIdentity, let cascade):
      return .truncate(numbers.map(relation), restartIdentity: restartIdentity, cascade: cascade)
    case .message(let transactional, let prefix, let content):
      return .message(transactional: transactional, prefix: at(prefix), content: at(content))
    case .relation: return .description
    default: return .begin(nil)
    }
  }
}

/// One case: a stream as a server would send it, with relations that are described and described anew, and then the
/// same stream with some of its messages spoilt.
private struct PgoutputCase {
  private var random: SeededRandom
  private var sent: [[UInt8]] = []
  private var meant: [Message] = []
  private var relations: [UInt32: (name: [UInt8], columns: [(name: [UInt8], isKey: Bool)], identity: UInt8)] = [:]

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    for _ in 0..<Int.random(in: 1...20, using: &random) { add() }
  }

  func problems() -> [String] {
    var problems: [String] = []
    var parser = PgoutputParser()
    for (bytes, message) in zip(sent, meant) {
      do throws(MalformedRecord) {
        let found = try Message.read(bytes, with: &parser)
        if found != message { problems.append("read \(found) instead of \(message)") }
      } catch {
        problems.append("refused \(message): \(error)")
      }
    }
    return problems + spoilt()
  }

  /// Whatever comes, an error has a place in its message, and a message that is refused leaves no trace: a parser that
  /// never saw it reads the rest alike. So does one that has seen it cut off at any place before.
  private func spoilt() -> [String] {
    var random = random
    var problems: [String] = []
    var parser = PgoutputParser()
    var accepted: [([UInt8], Message)] = []
    for original in sent {
      var bytes = original
      if Int.random(in: 0..<3, using: &random) == 0 { spoil(&bytes, &random) }
      for length in 0..<min(original.count, 40) {
        do throws(MalformedRecord) {
          _ = try Message.read(Array(original[..<length]), with: &parser)
          problems.append("accepted \(original) cut at \(length)")
        } catch {
          if !(0...length).contains(error.offset) || error.reason.isEmpty { problems.append("place of \(error)") }
        }
      }
      do throws(MalformedRecord) {
        accepted.append((bytes, try Message.read(bytes, with: &parser)))
      } catch {
        if !(0...bytes.count).contains(error.offset) || error.reason.isEmpty { problems.append("place of \(error)") }
      }
    }
    var other = PgoutputParser()
    for (bytes, message) in accepted {
      do throws(MalformedRecord) {
        if try Message.read(bytes, with: &other) != message { problems.append("\(bytes) depends on what was refused") }
      } catch {
        problems.append("\(bytes) was accepted only after what was refused: \(error)")
      }
    }
    return problems
  }

  private func spoil(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
    mutate(&bytes, &random)
    guard bytes.count > 4, Bool.random(using: &random) else { return }
    // Lengths and counts.
    let position = Int.random(in: 1..<bytes.count, using: &random)
    bytes[position] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
  }

  // MARK: making

  private mutating func add() {
    let known = relations.keys.sorted()
    guard let oid = known.randomElement(using: &random), Int.random(in: 0..<6, using: &random) > 0 else {
      return describe()
    }
    switch Int.random(in: 0..<12, using: &random) {
    case 0:
      let xid = UInt32.random(in: 0 ... .max, using: &random)
      let body: [UInt8] = positions + bytes(xid)
      send("B", body, .begin(xid))
    case 1:
      let time = Int64.random(in: .min ... .max, using: &random)
      var body: [UInt8] = [0]
      body += positions
      body += bytes(time)
      send("C", body, .commit(time))
    case 2...4:
      let (tuple, columns) = newTuple(oid)
      send("I", head(oid) + tuple, .insert(name(oid), columns))
    case 5, 6:
      let (tuple, columns) = newTuple(oid)
      send("U", head(oid) + tuple, .update(name(oid), old: nil, columns))
    case 7:
      let (old, oldColumns) = oldTuple(oid)
      let (tuple, columns) = newTuple(oid)
      var body: [UInt8] = bytes(oid)
      body += old
      body.append(UInt8(ascii: "N"))
      body += tuple
      send("U", body, .update(name(oid), old: oldColumns, columns))
    case 8:
      let (old, columns) = oldTuple(oid)
      send("D", bytes(oid) + old, .delete(name(oid), columns))
    case 9:
      var oids: [UInt32] = [oid]
      for _ in 0..<Int.random(in: 0...2, using: &random) { oids.append(known.randomElement(using: &random) ?? oid) }
      let flags = UInt8.random(in: 0...3, using: &random)
      var body: [UInt8] = bytes(UInt32(oids.count))
      body.append(flags)
      for oid in oids { body += bytes(oid) }
      send(
        "T", body,
        .truncate(oids.map { name($0) }, restartIdentity: flags & 2 != 0, cascade: flags & 1 != 0))
    case 10:
      let prefix = text()
      let content: [UInt8] = text() + [0, 0xFF]
      let isTransactional = Bool.random(using: &random)
      var body: [UInt8] = [isTransactional ? 1 : 0]
      body += bytes(UInt64(9))
      body += prefix + [0]
      body += bytes(UInt32(content.count))
      body += content
      send("M", body, .message(transactional: isTransactional, prefix: prefix, content: content))
    default:
      if Bool.random(using: &random) {
        var body: [UInt8] = bytes(UInt32(70_000))
        for _ in 0..<2 { body += text() + [0] }
        send("Y", body, .description)
      } else {
        var body: [UInt8] = bytes(UInt64(1))
        body += text() + [0]
        send("O", body, .description)
      }
    }
  }

  private mutating func describe() {
    let oid = UInt32.random(in: 16_384...16_388, using: &random)
    let identity = Array("dnfi".utf8).randomElement(using: &random) ?? 0
    let schema = Int.random(in: 0..<5, using: &random) == 0 ? [] : text()
    let table = text() + [UInt8(ascii: "t")]
    var columns: [(name: [UInt8], isKey: Bool)] = []
    for index in 0..<Int.random(in: 0...4, using: &random) {
      columns.append((text() + Array("\(index)".utf8), Bool.random(using: &random)))
    }
    var name: [UInt8] = schema.isEmpty ? Array("pg_catalog".utf8) : schema
    name += [0] + table
    relations[oid] = (name, columns, identity)
    var body: [UInt8] = bytes(oid)
    body += schema + [0]
    body += table + [0, identity]
    body += bytes(UInt16(columns.count))
    for column in columns {
      body.append(column.isKey ? 1 : 0)
      body += column.name + [0]
      body += bytes(UInt32(25))
      body += bytes(UInt32.max)
    }
    send("R", body, .description)
  }

  private func name(_ oid: UInt32) -> [UInt8] { relations[oid]?.name ?? [] }

  private mutating func newTuple(_ oid: UInt32) -> ([UInt8], Message.Tuple) {
    let columns = relations[oid]?.columns ?? []
    var tuple = bytes(UInt16(columns.count))
    var meant: Message.Tuple = []
    for column in columns {
      switch Int.random(in: 0..<5, using: &random) {
      case 0:
        tuple.append(UInt8(ascii: "n"))
        meant.append(.init(name: column.name, form: .null, value: []))
      case 1:
        tuple.append(UInt8(ascii: "u"))
        meant.append(.init(name: column.name, form: .unchangedToast, value: []))
      default:
        let value = text()
        tuple.append(UInt8(ascii: "t"))
        tuple += bytes(UInt32(value.count))
        tuple += value
        meant.append(.init(name: column.name, form: .verbatim, value: value))
      }
    }
    return (tuple, meant)
  }

  /// A key's other columns come as nulls; a null of a whole row is left out.
  private mutating func oldTuple(_ oid: UInt32) -> ([UInt8], Message.Tuple) {
    guard let relation = relations[oid] else { return ([], []) }
    let isWhole = relation.identity == UInt8(ascii: "f")
    var tuple: [UInt8] = [isWhole ? UInt8(ascii: "O") : UInt8(ascii: "K")]
    tuple += bytes(UInt16(relation.columns.count))
    var meant: Message.Tuple = []
    for column in relation.columns {
      if isWhole ? Int.random(in: 0..<4, using: &random) == 0 : !column.isKey {
        tuple.append(UInt8(ascii: "n"))
        continue
      }
      let value = text()
      tuple.append(UInt8(ascii: "t"))
      tuple += bytes(UInt32(value.count))
      tuple += value
      meant.append(.init(name: column.name, form: .verbatim, value: value))
    }
    return (tuple, meant)
  }

  private mutating func text() -> [UInt8] {
    let pieces: [[UInt8]] = [
      Array("a".utf8), Array("\"".utf8), Array("'".utf8), Array("é🐘".utf8), [0xFF], Array("\n".utf8), Array("x y".utf8),
    ]
    var text: [UInt8] = []
    for _ in 0..<Int.random(in: 0...4, using: &random) { text += pieces.randomElement(using: &random) ?? [] }
    return text
  }

  private mutating func send(_ type: Unicode.Scalar, _ body: [UInt8], _ message: Message) {
    sent.append([UInt8(ascii: type)] + body)
    meant.append(message)
  }

  /// Of a BEGIN or a COMMIT; nobody looks at them.
  private var positions: [UInt8] { bytes(UInt64(1)) + bytes(UInt64(2)) }

  private func head(_ oid: UInt32) -> [UInt8] { bytes(oid) + [UInt8(ascii: "N")] }

  private func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }
}
