import LogicalDecoding
import ReplicationModel

/// A record as plain values, to compare with and to render: what the parser's spans stand for.
enum RecordModel: Equatable {
  struct Column: Equatable {
    var name: String
    /// As in the record.
    var type: String
    var value: Value
  }

  enum Value: Equatable {
    case null
    case unchangedToast
    case text(String)
  }

  case begin(UInt32?)
  case commit(UInt32?, at: String?)
  case insert(RelationName, [Column]?)
  case update(RelationName, old: [Column]?, hasOldKey: Bool, [Column]?)
  case delete(RelationName, [Column]?)
  case truncate([RelationName], restartIdentity: Bool, cascade: Bool)
  case message(transactional: Bool, prefix: String, content: String)
  case prepare(String, UInt32?, at: String?)
  case commitPrepared(String, UInt32?, at: String?)
  case rollbackPrepared(String, UInt32?, at: String?)
  case streamControl
}

/// Parses a text with a parser of its own and takes everything out of the spans.
func read(_ text: String) throws(MalformedRecord) -> RecordModel {
  var parser = TestDecodingParser()
  return try read(Array(text.utf8), with: &parser)
}

func read(_ bytes: [UInt8], with parser: inout TestDecodingParser) throws(MalformedRecord) -> RecordModel {
  // A block of exactly this size: a read beyond it is one that memory checkers see.
  let block = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { block.deallocate() }
  block.copyBytes(from: bytes)
  let record = UnsafeRawBufferPointer(block)
  let decoded = try parser.parse(record)
  func text(_ span: Span) -> String { String(decoding: record[span.start..<span.end], as: UTF8.self) }
  func columns(_ columns: [DecodedColumn]?) -> [RecordModel.Column]? {
    columns?.map { column in
      var value: [UInt8] = []
      appendValue(column, of: record, to: &value)
      let model: RecordModel.Value =
        switch column.form {
        case .null: .null
        case .unchangedToast: .unchangedToast
        case .verbatim, .doubledQuotes: .text(String(decoding: value, as: UTF8.self))
        }
      return .init(name: unquotedIdentifier(column.name, in: record), type: text(column.type), value: model)
    }
  }
  switch decoded {
  case .begin(let xid): return .begin(xid)
  case .commit(let xid, let timestamp): return .commit(xid, at: timestamp.map(text))
  case .insert(let number): return .insert(parser.relationName(number), columns(parser.newColumns))
  case .update(let number, let hasOldKey):
    return .update(
      parser.relationName(number), old: columns(parser.oldColumns), hasOldKey: hasOldKey, columns(parser.newColumns))
  case .delete(let number): return .delete(parser.relationName(number), columns(parser.oldColumns))
  case .truncate(let numbers, let restartIdentity, let cascade):
    return .truncate(numbers.map(parser.relationName), restartIdentity: restartIdentity, cascade: cascade)
  case .message(let transactional, let prefix, let content):
    return .message(transactional: transactional, prefix: text(prefix), content: text(content))
  case .prepare(let gid, let xid, let timestamp): return .prepare(gid, xid, at: timestamp.map(text))
  case .commitPrepared(let gid, let xid, let timestamp): return .commitPrepared(gid, xid, at: timestamp.map(text))
  case .rollbackPrepared(let gid, let xid, let timestamp):
    return .rollbackPrepared(gid, xid, at: timestamp.map(text))
  case .relation, .streamControl: return .streamControl
  }
}

/// The error that a text gives; nil if it can be read.
func fault(_ text: String) -> MalformedRecord? {
  do throws(MalformedRecord) {
    _ = try read(text)
    return nil
  } catch {
    return error
  }
}

let t = RelationName(schema: "public", name: "t")

func integer(_ name: String, _ value: String) -> RecordModel.Column {
  .init(name: name, type: "integer", value: .text(value))
}

func text(_ name: String, _ value: String) -> RecordModel.Column {
  .init(name: name, type: "text", value: .text(value))
}
