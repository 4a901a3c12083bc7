public import ReplicationModel

/// A range of bytes inside the record that was parsed last.
public struct Span: Sendable, Equatable {
  public var start: Int
  public var end: Int

  public init(_ start: Int, _ end: Int) {
    self.start = start
    self.end = end
  }

  public var count: Int { end - start }
}

/// One column of a tuple, as positions in the record; nothing is copied.
public struct DecodedColumn: Sendable, Equatable {
  public enum Form: UInt8, Sendable {
    /// SQL null.
    case null
    /// A TOASTed value that the change did not touch: the stream does not carry it, the target must keep its own.
    case unchangedToast
    /// The value's bytes stand in the record as they are: a number, a boolean, bit digits, or a quoted text without
    /// doubled quotes.
    case verbatim
    /// A quoted text in which every `''` stands for one `'`.
    case doubledQuotes
  }

  /// The identifier's place in the parser's `tupleNames`; in double quotes where the name needs them.
  public var name: Span
  /// The type's name as it stands in the record; empty where the plugin does not say it.
  public var type: Span
  /// The value without its surrounding quotes (and without `B`); empty for null and unchanged TOAST.
  public var value: Span
  public var form: Form

  public init(name: Span, type: Span, value: Span, form: Form) {
    self.name = name
    self.type = type
    self.value = value
    self.form = form
  }
}

/// A relation that this parser has met, numbered from 0 in the order of first appearance; the name is behind
/// `relationName(_:)` of the parser.
public typealias RelationNumber = Int

/// What one record of the stream says. Tuples stay in the parser that returned it, until its next record.
public enum DecodedRecord: Sendable, Equatable {
  case begin(xid: UInt32?)
  /// The timestamp is the text between `(at ` and `)`, or what `RecordParser.commitTime` makes of it.
  case commit(xid: UInt32?, timestamp: Span?)
  /// `newColumns` holds the tuple.
  case insert(RelationNumber)
  /// `newColumns` holds the tuple, `oldColumns` the old key where `hasOldKey`.
  case update(RelationNumber, hasOldKey: Bool)
  /// `oldColumns` holds the key.
  case delete(RelationNumber)
  case truncate([RelationNumber], restartIdentity: Bool, cascade: Bool)
  /// The plugin has described a relation or a type; nothing changes.
  case relation
  case message(transactional: Bool, prefix: Span, content: Span)
  case prepare(gid: String, xid: UInt32?, timestamp: Span?)
  case commitPrepared(gid: String, xid: UInt32?, timestamp: Span?)
  case rollbackPrepared(gid: String, xid: UInt32?, timestamp: Span?)
  /// One of the block markers of `stream-changes`, which carry no rows; pgconvoy never asks for them.
  case streamControl
}

/// Where the names of a tuple's columns stand.
public struct TupleNames {
  public var bytes: UnsafeRawBufferPointer
  /// The same for two new tuples only if they have the same columns in the same order; nil where the plugin spells the
  /// names with each tuple, so that they have to be compared.
  public var version: Int?
  /// For old tuples, which may leave columns out.
  public var unversioned: TupleNames { TupleNames(bytes: bytes) }

  public init(bytes: UnsafeRawBufferPointer, version: Int? = nil) {
    self.bytes = bytes
    self.version = version
  }
}

/// When the source committed.
public enum CommitTime: Sendable, Equatable {
  /// A timestamp with time zone, as PostgreSQL prints it.
  case text(Span)
  /// Since 2000-01-01 00:00 UTC.
  case microseconds(Int64)
}

/// Why a record could not be read.
public struct MalformedRecord: Error, Sendable, Equatable {
  /// Bytes from the start of the record.
  public var offset: Int
  /// Lowercase, says what was expected: `expected ':' after the column type`.
  public var reason: String

  public init(offset: Int, reason: String) {
    self.offset = offset
    self.reason = reason
  }
}

/// Turns the records of one output plugin into `DecodedRecord`s, one at a time, in place.
///
/// An implementation keeps the relations that it has met and the columns of the record that it read last. It never
/// guesses: input outside the plugin's grammar is a `MalformedRecord`.
public protocol RecordParser {
  /// Reads one record. The buffer must stay valid as long as the spans are used.
  mutating func parse(_ record: UnsafeRawBufferPointer) throws(MalformedRecord) -> DecodedRecord
  /// The tuple of the last insert or update; nil where the record said `(no-tuple-data)`.
  var newColumns: [DecodedColumn]? { get }
  /// The key of the last update or delete; nil where the record said `(no-tuple-data)`.
  var oldColumns: [DecodedColumn]? { get }
  /// The names of both tuples' columns. The bytes live until the next record is read.
  func tupleNames(of record: UnsafeRawBufferPointer) -> TupleNames
  /// What a COMMIT's timestamp says.
  func commitTime(_ timestamp: Span, of record: UnsafeRawBufferPointer) -> CommitTime
  /// For messages; bytes that are not UTF-8 are replaced.
  func relationName(_ number: RelationNumber) -> RelationName
  /// Both parts unquoted, in the database's encoding: what to look the relation up by.
  func relationNameBytes(_ number: RelationNumber) -> (schema: [UInt8], table: [UInt8])
  /// The oid on the source of the relation that was last named by this number; nil where the plugin does not tell.
  func relationOID(_ number: RelationNumber) -> UInt32?
}

/// A plugin that prints everything into the record itself.
extension RecordParser {
  public func tupleNames(of record: UnsafeRawBufferPointer) -> TupleNames { TupleNames(bytes: record) }
  public func commitTime(_ timestamp: Span, of record: UnsafeRawBufferPointer) -> CommitTime { .text(timestamp) }
  public func relationOID(_ number: RelationNumber) -> UInt32? { nil }
}
