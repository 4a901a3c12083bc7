import Glibc
public import ReplicationModel

/// Reads the messages of PostgreSQL's own output plugin, pgoutput, in version 1 of its protocol (PostgreSQL 10 to 18),
/// with values as text.
///
/// A change names its relation by a number that a message before it has described. `R` describes `public.t (a integer)`;
/// then the bytes
///
///     I  00 00 40 01  N  00 01  t  00 00 00 01  '1'
///
/// become `.insert(0)`: `relationName(0)` is public.t, `newColumns` has a with the value 1. Values stay in the record;
/// the columns' names stand in `tupleNames`, where the parser keeps them quoted.
///
/// An old tuple holds what test_decoding would print: of a key its columns, of a whole row those that are not null.
///
/// <https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html>
public struct PgoutputParser: RecordParser {
  private var relations: [UInt32: DescribedRelation] = [:]
  private var lastOID: UInt32 = 0
  private var last: DescribedRelation?
  private var numbers: [[UInt8]: RelationNumber] = [:]
  private var names: [(name: RelationName, schema: [UInt8], table: [UInt8])] = []
  /// By number: two relations may have had one name, one after the other.
  private var oids: [UInt32] = []
  private var versions = 0
  private var newStore: [DecodedColumn] = []
  private var oldStore: [DecodedColumn] = []
  private var hasNew = false
  private var hasOld = false

  public init() {
    newStore.reserveCapacity(64)
    oldStore.reserveCapacity(64)
  }

  public var newColumns: [DecodedColumn]? { hasNew ? newStore : nil }
  public var oldColumns: [DecodedColumn]? { hasOld ? oldStore : nil }
  public func relationName(_ number: RelationNumber) -> RelationName { names[number].name }
  public func relationNameBytes(_ number: RelationNumber) -> (schema: [UInt8], table: [UInt8]) {
    (names[number].schema, names[number].table)
  }
  public func relationOID(_ number: RelationNumber) -> UInt32? { oids[number] }

  public func tupleNames(of record: UnsafeRawBufferPointer) -> TupleNames {
    TupleNames(bytes: last?.names.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0), version: last?.version)
  }

  /// The eight bytes of a COMMIT's time.
  public func commitTime(_ timestamp: Span, of record: UnsafeRawBufferPointer) -> CommitTime {
    let bits = record.loadUnaligned(fromByteOffset: timestamp.start, as: UInt64.self)
    return .microseconds(Int64(bitPattern: UInt64(bigEndian: bits)))
  }

  public mutating func parse(_ record: UnsafeRawBufferPointer) throws(MalformedRecord) -> DecodedRecord {
    hasNew = false
    hasOld = false
    guard let base = record.baseAddress, record.count > 0 else {
      throw MalformedRecord(offset: 0, reason: "the record is empty")
    }
    var cursor = MessageCursor(base: base, count: record.count)
    let decoded: DecodedRecord
    switch try cursor.uint8() {
    case UInt8(ascii: "I"): decoded = try insert(&cursor)
    case UInt8(ascii: "U"): decoded = try update(&cursor)
    case UInt8(ascii: "D"): decoded = try delete(&cursor)
    case UInt8(ascii: "B"):
      try cursor.skip(16)
      decoded = .begin(xid: try cursor.uint32())
    case UInt8(ascii: "C"):
      guard try cursor.uint8() == 0 else { throw cursor.fail(at: 1, "unknown flags of a commit") }
      try cursor.skip(16)
      let start = cursor.offset
      try cursor.skip(8)
      decoded = .commit(xid: nil, timestamp: Span(start, cursor.offset))
    case UInt8(ascii: "R"): decoded = try relation(&cursor)
    case UInt8(ascii: "Y"):
      try cursor.skip(4)
      _ = try cursor.string()
      _ = try cursor.string()
      decoded = .relation
    case UInt8(ascii: "O"):
      try cursor.skip(8)
      _ = try cursor.string()
      decoded = .relation
    case UInt8(ascii: "T"): decoded = try truncate(&cursor)
    case UInt8(ascii: "M"): decoded = try message(&cursor)
    case let type:
      throw MalformedRecord(offset: 0, reason: "unknown message type \(type)")
    }
    try cursor.expectEnd()
    return decoded
  }

  // MARK: changes

  private mutating func insert(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let relation = try described(&cursor)
    try cursor.expect(UInt8(ascii: "N"), "expected a new tuple")
    try readNew(&cursor, relation)
    return .insert(relation.number)
  }

  private mutating func update(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let relation = try described(&cursor)
    let kind = try cursor.uint8()
    if kind == UInt8(ascii: "N") {
      try readNew(&cursor, relation)
      return .update(relation.number, hasOldKey: false)
    }
    try readOld(kind, &cursor, relation)
    try cursor.expect(UInt8(ascii: "N"), "expected a new tuple behind the old one")
    try readNew(&cursor, relation)
    return .update(relation.number, hasOldKey: true)
  }

  private mutating func delete(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let relation = try described(&cursor)
    try readOld(try cursor.uint8(), &cursor, relation)
    return .delete(relation.number)
  }

  private mutating func readNew(
    _ cursor: inout MessageCursor, _ relation: DescribedRelation
  ) throws(MalformedRecord) {
    try cursor.tuple(of: relation, into: &newStore)
    hasNew = true
  }

  private mutating func readOld(
    _ kind: UInt8, _ cursor: inout MessageCursor, _ relation: DescribedRelation
  ) throws(MalformedRecord) {
    let isKey = kind == UInt8(ascii: "K")
    guard isKey || kind == UInt8(ascii: "O") else {
      throw cursor.fail(at: cursor.offset - 1, "expected an old tuple")
    }
    try cursor.tuple(of: relation, into: &oldStore, keyOnly: isKey, isOld: true)
    hasOld = true
  }

  private mutating func truncate(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let count = try cursor.uint32()
    let flags = try cursor.uint8()
    guard flags & ~3 == 0 else { throw cursor.fail(at: cursor.offset - 1, "unknown flags of a truncate") }
    guard count > 0, Int(count) <= (cursor.count - cursor.offset) / 4 else {
      throw cursor.fail(at: 1, "a truncate of \(count) relations, which the message does not hold")
    }
    var numbers: [RelationNumber] = []
    for _ in 0..<count { numbers.append(try described(&cursor).number) }
    return .truncate(numbers, restartIdentity: flags & 2 != 0, cascade: flags & 1 != 0)
  }

  private func message(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let flags = try cursor.uint8()
    guard flags <= 1 else { throw cursor.fail(at: 1, "unknown flags of a logical message") }
    try cursor.skip(8)
    let prefix = try cursor.string()
    let length = Int(try cursor.uint32())
    let start = cursor.offset
    try cursor.skip(length)
    return .message(transactional: flags == 1, prefix: prefix, content: Span(start, cursor.offset))
  }

  // MARK: relations

  @inline(__always)
  private mutating func described(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DescribedRelation {
    let oid = try cursor.uint32()
    if oid == lastOID, let last { return last }
    guard let known = relations[oid] else {
      throw cursor.fail(at: cursor.offset - 4, "relation \(oid) has not been described")
    }
    lastOID = oid
    last = known
    oids[known.number] = oid
    return known
  }

  private mutating func relation(_ cursor: inout MessageCursor) throws(MalformedRecord) -> DecodedRecord {
    let oid = try cursor.uint32()
    let schemaSpan = try cursor.string()
    let table = cursor.bytes(try cursor.string())
    // The plugin leaves the name of pg_catalog out.
    let schema = schemaSpan.count == 0 ? Array("pg_catalog".utf8) : cursor.bytes(schemaSpan)
    guard let identity = ReplicaIdentityCode(rawValue: try cursor.uint8()) else {
      throw cursor.fail(at: cursor.offset - 1, "unknown replica identity")
    }
    let columnCount = Int(try cursor.uint16())
    var columns: [DescribedRelation.Column] = []
    var quoted: [UInt8] = []
    for _ in 0..<columnCount {
      let flags = try cursor.uint8()
      guard flags <= 1 else { throw cursor.fail(at: cursor.offset - 1, "unknown flags of a column") }
      let name = cursor.bytes(try cursor.string())
      try cursor.skip(8)
      let start = quoted.count
      let quote = UInt8(ascii: "\"")
      quoted.append(quote)
      for byte in name {
        if byte == quote { quoted.append(quote) }
        quoted.append(byte)
      }
      quoted.append(quote)
      // Under FULL every column is flagged, and under NOTHING none.
      columns.append(.init(name: Span(start, quoted.count), isKey: flags == 1 || identity == .full))
    }
    // A description that is refused must not be remembered.
    try cursor.expectEnd()
    versions += 1
    relations[oid] = DescribedRelation(
      number: number(schema, table), version: versions, columns: columns, names: NameStore(quoted))
    lastOID = 0
    last = nil
    return .relation
  }

  private enum ReplicaIdentityCode: UInt8 {
    case usual = 0x64
    case nothing = 0x6E
    case full = 0x66
    case index = 0x69
  }

  private mutating func number(_ schema: [UInt8], _ table: [UInt8]) -> RelationNumber {
    let key = schema + [0] + table
    if let known = numbers[key] { return known }
    numbers[key] = names.count
    let name = RelationName(
      schema: String(decoding: schema, as: UTF8.self), name: String(decoding: table, as: UTF8.self))
    names.append((name, schema, table))
    oids.append(0)
    return names.count - 1
  }
}

/// What a relation message has said.
final class DescribedRelation {
  struct Column {
    /// In `names`.
    var name: Span
    var isKey: Bool
  }

  let number: RelationNumber
  let version: Int
  let columns: [Column]
  let names: NameStore

  init(number: RelationNumber, version: Int, columns: [Column], names: NameStore) {
    self.number = number
    self.version = version
    self.columns = columns
    self.names = names
  }
}

/// Bytes at an address that stays.
final class NameStore {
  let bytes: UnsafeRawBufferPointer

  init(_ content: [UInt8]) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 1)
    copy.copyBytes(from: content)
    bytes = UnsafeRawBufferPointer(copy)
  }

  deinit { bytes.deallocate() }
}

/// A position in one message of pgoutput. Reads never leave `0..<count`.
struct MessageCursor {
  let base: UnsafeRawPointer
  let count: Int
  var offset = 0

  init(base: UnsafeRawPointer, count: Int) {
    self.base = base
    self.count = count
  }

  func fail(at offset: Int, _ reason: String) -> MalformedRecord { MalformedRecord(offset: offset, reason: reason) }

  private var tooShort: MalformedRecord { fail(at: count, "the message ends too early") }

  @inline(__always)
  func expectEnd() throws(MalformedRecord) {
    guard offset == count else { throw fail(at: offset, "bytes behind the end of the message") }
  }

  @inline(__always)
  mutating func skip(_ length: Int) throws(MalformedRecord) {
    guard length <= count &- offset else { throw tooShort }
    offset &+= length
  }

  @inline(__always)
  mutating func uint8() throws(MalformedRecord) -> UInt8 {
    guard offset < count else { throw tooShort }
    defer { offset &+= 1 }
    return base.load(fromByteOffset: offset, as: UInt8.self)
  }

  @inline(__always)
  mutating func uint16() throws(MalformedRecord) -> UInt16 {
    guard count &- offset >= 2 else { throw tooShort }
    defer { offset &+= 2 }
    return UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  mutating func uint32() throws(MalformedRecord) -> UInt32 {
    guard count &- offset >= 4 else { throw tooShort }
    defer { offset &+= 4 }
    return UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  mutating func expect(_ byte: UInt8, _ reason: StaticString) throws(MalformedRecord) {
    let start = offset
    guard try uint8() == byte else { throw fail(at: start, "\(reason)") }
  }

  /// A string without its NUL.
  mutating func string() throws(MalformedRecord) -> Span {
    guard let end = memchr(base + offset, 0, count - offset) else { throw tooShort }
    let span = Span(offset, UnsafeRawPointer(end) - base)
    offset = span.end + 1
    return span
  }

  func bytes(_ span: Span) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: base + span.start, count: span.count))
  }

  /// Reads one tuple.
  ///
  /// - Parameters:
  ///   - keyOnly: whether only the columns of the identity are in it; the others are sent as nulls.
  ///   - isOld: a null of an old row says nothing that its absence would not.
  @inline(__always)
  mutating func tuple(
    of relation: DescribedRelation, into columns: inout [DecodedColumn], keyOnly: Bool = false, isOld: Bool = false
  ) throws(MalformedRecord) {
    columns.removeAll(keepingCapacity: true)
    let columnCount = Int(try uint16())
    guard columnCount == relation.columns.count else {
      throw fail(
        at: offset - 2, "a tuple of \(columnCount) columns for a relation that has \(relation.columns.count)")
    }
    for column in relation.columns {
      let kind = try uint8()
      switch kind {
      case UInt8(ascii: "t"):
        let length = Int(try uint32())
        let start = offset
        try skip(length)
        if keyOnly && !column.isKey { continue }
        columns.append(
          DecodedColumn(name: column.name, type: Span(0, 0), value: Span(start, offset), form: .verbatim))
      case UInt8(ascii: "n"):
        if isOld { continue }
        columns.append(
          DecodedColumn(name: column.name, type: Span(0, 0), value: Span(offset, offset), form: .null))
      case UInt8(ascii: "u"):
        if keyOnly && !column.isKey { continue }
        columns.append(
          DecodedColumn(name: column.name, type: Span(0, 0), value: Span(offset, offset), form: .unchangedToast))
      case UInt8(ascii: "b"):
        throw fail(at: offset - 1, "a binary value, which was not asked for")
      default: throw fail(at: offset - 1, "unknown kind of value \(kind)")
      }
    }
  }
}
