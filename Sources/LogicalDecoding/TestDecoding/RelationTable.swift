import Glibc
internal import ReplicationModel

/// The relations that a parser has met, found again by their bytes in a record: most records name the relation of
/// the record before, the others cost one hash and one comparison. Names are made once per relation.
///
/// Relations are told apart by the bytes of their unquoted names, not by `String`: in a database whose encoding isn't
/// UTF-8, two names can look the same once they are decoded.
struct RelationTable {
  /// One spelling of a relation, as it stood in a record: `public.t`, `public."t"`.
  private struct Spelling {
    var start: Int
    var count: Int
    var hash: UInt64
    var number: RelationNumber
  }

  private struct Relation {
    var name: RelationName
    var schema: [UInt8]
    var table: [UInt8]
  }

  private var relations: [Relation] = []
  /// By the unquoted schema, a zero byte, and the unquoted name: names hold no zero byte.
  private var numbers: [[UInt8]: RelationNumber] = [:]
  private var spellings: [Spelling] = []
  /// The bytes of all spellings, one after the other.
  private var bytes: [UInt8] = []
  /// Open addressing: indices into `spellings`, -1 where free. A power of two, at most half full.
  private var slots: [Int32] = Array(repeating: -1, count: 64)
  private var last = Spelling(start: 0, count: 0, hash: 0, number: 0)

  func name(_ number: RelationNumber) -> RelationName { relations[number].name }

  func nameBytes(_ number: RelationNumber) -> (schema: [UInt8], table: [UInt8]) {
    (relations[number].schema, relations[number].table)
  }

  /// Reads `schema.table` at the cursor.
  @inline(__always)
  mutating func read(_ cursor: inout RecordCursor) throws(MalformedRecord) -> RelationNumber {
    let start = cursor.offset
    // Neither `:` nor `,` can go on a name outside quotes, and a spelling closes its own: no longer name can match.
    let end = start &+ last.count
    if last.count > 0, end < cursor.count, isTerminator(cursor.byte(at: end)),
      matches(last, cursor.base + start, last.count)
    {
      cursor.offset = end
      return last.number
    }
    let schema = try cursor.identifier()
    try cursor.expect(".", "expected '.' after the name of a schema")
    let table = try cursor.identifier()
    return find(cursor, schema, table)
  }

  @inline(__always)
  private func isTerminator(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: ":") || byte == UInt8(ascii: ",")
  }

  @inline(__always)
  private func matches(_ spelling: Spelling, _ text: UnsafeRawPointer, _ count: Int) -> Bool {
    guard spelling.count == count else { return false }
    return bytes.withUnsafeBytes { stored in
      guard let base = stored.baseAddress else { return false }
      return memcmp(base + spelling.start, text, count) == 0
    }
  }

  @inline(never)
  private mutating func find(_ cursor: RecordCursor, _ schema: Span, _ table: Span) -> RelationNumber {
    let text = cursor.base + schema.start
    let count = table.end - schema.start
    let hash = Self.hash(text, count)
    var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
    while slots[slot] >= 0 {
      let spelling = spellings[Int(slots[slot])]
      if spelling.hash == hash, matches(spelling, text, count) {
        last = spelling
        return spelling.number
      }
      slot = (slot + 1) & (slots.count - 1)
    }
    let record = UnsafeRawBufferPointer(start: cursor.base, count: cursor.count)
    let spelling = Spelling(start: bytes.count, count: count, hash: hash, number: number(of: record, schema, table))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: text, count: count))
    slots[slot] = Int32(spellings.count)
    spellings.append(spelling)
    if spellings.count * 2 > slots.count { grow() }
    last = spelling
    return spelling.number
  }

  /// The relation of a spelling that is new; it may be known under another one (`quote_all_identifiers`).
  private mutating func number(of record: UnsafeRawBufferPointer, _ schema: Span, _ table: Span) -> RelationNumber {
    var schemaBytes: [UInt8] = []
    var tableBytes: [UInt8] = []
    appendUnquotedIdentifier(schema, of: record, to: &schemaBytes)
    appendUnquotedIdentifier(table, of: record, to: &tableBytes)
    let key = schemaBytes + [0] + tableBytes
    if let known = numbers[key] { return known }
    let name = RelationName(
      schema: String(decoding: schemaBytes, as: UTF8.self), name: String(decoding: tableBytes, as: UTF8.self))
    numbers[key] = relations.count
    relations.append(Relation(name: name, schema: schemaBytes, table: tableBytes))
    return relations.count - 1
  }

  private mutating func grow() {
    slots = Array(repeating: -1, count: slots.count * 2)
    for (index, spelling) in spellings.enumerated() {
      var slot = Int(truncatingIfNeeded: spelling.hash) & (slots.count - 1)
      while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = Int32(index)
    }
  }

  /// Eight bytes at a time, multiplied and folded. Not against an adversary: a collision costs a comparison.
  private static func hash(_ text: UnsafeRawPointer, _ count: Int) -> UInt64 {
    var hash = UInt64(count) &* 0x9E37_79B9_7F4A_7C15
    var offset = 0
    while count - offset >= 8 {
      hash = fold(hash ^ text.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    var tail: UInt64 = 0
    while offset < count {
      tail = tail << 8 | UInt64(text.load(fromByteOffset: offset, as: UInt8.self))
      offset += 1
    }
    return fold(hash ^ tail)
  }

  @inline(__always)
  private static func fold(_ value: UInt64) -> UInt64 {
    let (high, low) = value.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    return high ^ low
  }
}
