public import ReplicationModel

/// Reads the records of PostgreSQL's test_decoding output plugin, versions 9.5 to 18.
///
/// One record is what one CopyData message of the walsender carries, or one row of `pg_logical_slot_get_changes`: it
/// has no line feed at its end, but values may hold some. The line
///
///     table public.t: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:2 "B"[text]:'it''s'
///
/// becomes `.update(0, hasOldKey: true)`; `relationName(0)` is public.t, `oldColumns` has a, `newColumns` a and "B",
/// the latter with the form `.doubledQuotes`. Columns are positions in the record, nothing is copied; bytes are taken
/// as they are, in whatever encoding the database has.
///
/// The whole record must be of the grammar: what is left over, cut short or unknown is a `MalformedRecord`, whose
/// offset is the record's length when it ended too early. A single record cannot tell everything, though: cut between
/// two columns, inside a number, or inside a transaction id, the rest of it is a good record too. Only the framing of
/// the stream knows; this parser trusts it.
///
/// <https://www.postgresql.org/docs/15/test-decoding.html>
public struct TestDecodingParser: RecordParser, Sendable {
  var relations = RelationTable()
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

  public func relationName(_ number: RelationNumber) -> RelationName { relations.name(number) }

  /// The relation's name in the encoding of the stream, unquoted. `relationName` is the same as text when the stream
  /// is UTF-8; in other encodings only these bytes are exact.
  public func relationNameBytes(_ number: RelationNumber) -> (schema: [UInt8], table: [UInt8]) {
    relations.nameBytes(number)
  }

  public mutating func parse(_ record: UnsafeRawBufferPointer) throws(MalformedRecord) -> DecodedRecord {
    hasNew = false
    hasOld = false
    guard let base = record.baseAddress, record.count > 0 else {
      throw MalformedRecord(offset: 0, reason: "the record is empty")
    }
    var cursor = RecordCursor(base: base, count: record.count)
    if cursor.skip("table ") { return try change(&cursor) }
    return try cursor.controlRecord()
  }

  /// What follows `table `.
  @inline(__always)
  private mutating func change(_ cursor: inout RecordCursor) throws(MalformedRecord) -> DecodedRecord {
    let relation = try relations.read(&cursor)
    if cursor.skip(": INSERT:") {
      hasNew = try Self.tuple(&cursor, into: &newStore)
      try cursor.expectEnd()
      return .insert(relation)
    }
    if cursor.skip(": UPDATE:") {
      var hasOldKey = false
      if cursor.skip(" old-key:") {
        // Under REPLICA IDENTITY FULL a row of nulls has an old key without columns.
        try Self.columns(&cursor, into: &oldStore)
        try cursor.expect(" new-tuple:", "expected ' new-tuple:' after the old key")
        hasOld = true
        hasOldKey = true
      }
      hasNew = try Self.tuple(&cursor, into: &newStore)
      try cursor.expectEnd()
      return .update(relation, hasOldKey: hasOldKey)
    }
    if cursor.skip(": DELETE:") {
      hasOld = try Self.tuple(&cursor, into: &oldStore)
      try cursor.expectEnd()
      return .delete(relation)
    }
    return try truncate(&cursor, first: relation)
  }

  private mutating func truncate(_ cursor: inout RecordCursor, first: RelationNumber) throws(MalformedRecord)
    -> DecodedRecord
  {
    var tables = [first]
    while cursor.skip(", ") { tables.append(try relations.read(&cursor)) }
    guard cursor.skip(": TRUNCATE:") else {
      throw cursor.mismatchOfAll(
        tables.count == 1 ? [": INSERT:", ": UPDATE:", ": DELETE:", ": TRUNCATE:", ", "] : [": TRUNCATE:", ", "],
        "expected an action after the name of a table")
    }
    let restartIdentity = cursor.skip(" restart_seqs")
    let cascade = cursor.skip(" cascade")
    if !restartIdentity, !cascade, !cursor.skip(" (no-flags)") {
      throw cursor.mismatchOfAll([" (no-flags)", " restart_seqs", " cascade"], "expected the flags of the truncate")
    }
    guard cursor.isAtEnd else {
      throw restartIdentity && !cascade
        ? cursor.mismatch(" cascade", "expected ' cascade' or the end of the record") : cursor.trailingBytes()
    }
    return .truncate(tables, restartIdentity: restartIdentity, cascade: cascade)
  }

  // MARK: Tuples

  /// Reads columns, or ` (no-tuple-data)`: false then.
  @inline(__always)
  private static func tuple(_ cursor: inout RecordCursor, into columns: inout [DecodedColumn])
    throws(MalformedRecord) -> Bool
  {
    if cursor.count &- cursor.offset >= 2, cursor.byte(at: cursor.offset &+ 1) == UInt8(ascii: "(") {
      try cursor.expect(" (no-tuple-data)", "expected a column or ' (no-tuple-data)'")
      return false
    }
    try Self.columns(&cursor, into: &columns)
    return true
  }

  /// Reads ` name[type]:value` as often as it comes; stops in front of ` new-tuple:`, which no column can look like,
  /// for a name with a hyphen stands in quotes.
  private static func columns(_ cursor: inout RecordCursor, into columns: inout [DecodedColumn])
    throws(MalformedRecord)
  {
    columns.removeAll(keepingCapacity: true)
    while cursor.isAt(" ") {
      if cursor.starts(with: " new-tuple:") { return }
      cursor.offset &+= 1
      let name = try cursor.identifier()
      guard cursor.isAt("[") else { throw cursor.notAColumn(name) }
      cursor.offset &+= 1
      let type = try cursor.typeName()
      cursor.offset &+= 1
      guard cursor.isAt(":") else { throw cursor.fail("expected ':' after the type of a column") }
      cursor.offset &+= 1
      let (value, form) = try Self.value(&cursor)
      columns.append(DecodedColumn(name: name, type: type, value: value, form: form))
    }
  }

  @inline(__always)
  private static func value(_ cursor: inout RecordCursor) throws(MalformedRecord)
    -> (Span, DecodedColumn.Form)
  {
    guard cursor.offset < cursor.count else { throw cursor.fail("expected a value") }
    let start = cursor.offset
    switch cursor.byte(at: start) {
    case UInt8(ascii: "'"):
      let (inside, doubled) = try cursor.singleQuoted()
      return (inside, doubled ? .doubledQuotes : .verbatim)
    case UInt8(ascii: "n"):
      try cursor.expect("null", "expected a value")
      return (Span(start, start), .null)
    case UInt8(ascii: "t"):
      try cursor.expect("true", "expected a value")
      return (Span(start, cursor.offset), .verbatim)
    case UInt8(ascii: "f"):
      try cursor.expect("false", "expected a value")
      return (Span(start, cursor.offset), .verbatim)
    case UInt8(ascii: "u"):
      try cursor.expect("unchanged-toast-datum", "expected a value")
      return (Span(start, start), .unchangedToast)
    case UInt8(ascii: "B"):
      return (try cursor.bitString(), .verbatim)
    default:
      return (try cursor.number(), .verbatim)
    }
  }
}
