import Presentation
internal import ReplicationModel

/// Writes decoded records as JSON objects, one a line; docs/reference/decode.md has the forms.
///
/// `table public.t: INSERT: a[integer]:1 b[text]:null` becomes
///
///     {"kind":"insert","schema":"public","table":"t","new":[{"name":"a","type":"integer","value":"1"},
///     {"name":"b","type":"text","value":null}]}
///
/// on one line. Names are unquoted, types stand as in the record, and every value is a JSON string of PostgreSQL's
/// own text for it: a number in JSON would lose digits.
public struct DecodeJSONWriter: Sendable {
  public init() {}

  /// Appends the object and a line feed. `parser` must just have read this record.
  ///
  /// JSON is UTF-8. A record that isn't throws, with the offset of the first such byte, and leaves the output as it
  /// was. The content of a message is any bytes: where it isn't UTF-8 it is written as `content_hex`.
  public func append(
    _ decoded: DecodedRecord, of record: UnsafeRawBufferPointer, from parser: TestDecodingParser,
    to output: inout [UInt8]
  ) throws(MalformedRecord) {
    var contentIsText = true
    if let offset = firstInvalidUTF8(record) {
      guard case .message(_, _, let content) = decoded, offset >= content.start else {
        throw MalformedRecord(offset: offset, reason: "not UTF-8")
      }
      contentIsText = false
    }
    switch decoded {
    case .begin(let xid):
      output.append(literal: #"{"kind":"begin""#)
      append(xid: xid, to: &output)
    case .commit(let xid, let timestamp):
      output.append(literal: #"{"kind":"commit""#)
      append(xid: xid, to: &output)
      append(timestamp: timestamp, of: record, to: &output)
    case .insert(let relation):
      append(change: "insert", parser, relation, to: &output)
      append(columns: parser.newColumns, as: #","new":"#, of: record, to: &output)
    case .update(let relation, let hasOldKey):
      append(change: "update", parser, relation, to: &output)
      if hasOldKey { append(columns: parser.oldColumns, as: #","old":"#, of: record, to: &output) }
      append(columns: parser.newColumns, as: #","new":"#, of: record, to: &output)
    case .delete(let relation):
      append(change: "delete", parser, relation, to: &output)
      append(columns: parser.oldColumns, as: #","old":"#, of: record, to: &output)
    case .truncate(let relations, let restartIdentity, let cascade):
      append(truncate: relations, parser, to: &output)
      output.append(literal: #","restart_identity":"#)
      output.append(json: restartIdentity)
      output.append(literal: #","cascade":"#)
      output.append(json: cascade)
    case .message(let transactional, let prefix, let content):
      output.append(literal: #"{"kind":"message","transactional":"#)
      output.append(json: transactional)
      output.append(literal: #","prefix":"#)
      output.append(jsonString: slice(prefix, of: record))
      output.append(literal: contentIsText ? #","content":"# : #","content_hex":"#)
      if contentIsText {
        output.append(jsonString: slice(content, of: record))
      } else {
        output.append(hexadecimal: slice(content, of: record))
      }
    case .prepare(let gid, let xid, let timestamp):
      append(prepared: "prepare", gid, xid, timestamp, of: record, to: &output)
    case .commitPrepared(let gid, let xid, let timestamp):
      append(prepared: "commit_prepared", gid, xid, timestamp, of: record, to: &output)
    case .rollbackPrepared(let gid, let xid, let timestamp):
      append(prepared: "rollback_prepared", gid, xid, timestamp, of: record, to: &output)
    case .relation:
      output.append(literal: #"{"kind":"relation""#)
    case .streamControl:
      output.append(literal: #"{"kind":"stream_control","text":"#)
      output.append(jsonString: record)
    }
    output.append(literal: "}\n")
  }

  // MARK: Parts

  private func slice(_ span: Span, of record: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: record[span.start..<span.end])
  }

  private func append(xid: UInt32?, to output: inout [UInt8]) {
    guard let xid else { return }
    output.append(literal: #","xid":"#)
    output.append(decimal: xid)
  }

  private func append(timestamp: Span?, of record: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    guard let timestamp else { return }
    output.append(literal: #","timestamp":"#)
    output.append(jsonString: slice(timestamp, of: record))
  }

  private func append(
    prepared kind: StaticString, _ gid: String, _ xid: UInt32?, _ timestamp: Span?, of record: UnsafeRawBufferPointer,
    to output: inout [UInt8]
  ) {
    output.append(literal: #"{"kind":""#)
    output.append(literal: kind)
    output.append(literal: #"","gid":"#)
    output.append(jsonString: gid)
    append(xid: xid, to: &output)
    append(timestamp: timestamp, of: record, to: &output)
  }

  private func append(
    change kind: StaticString, _ parser: TestDecodingParser, _ relation: RelationNumber, to output: inout [UInt8]
  ) {
    output.append(literal: #"{"kind":""#)
    output.append(literal: kind)
    output.append(literal: #"","#)
    append(relation: relation, parser, to: &output)
  }

  private func append(relation: RelationNumber, _ parser: TestDecodingParser, to output: inout [UInt8]) {
    let name = parser.relationName(relation)
    output.append(literal: #""schema":"#)
    output.append(jsonString: name.schema)
    output.append(literal: #","table":"#)
    output.append(jsonString: name.name)
  }

  private func append(truncate relations: [RelationNumber], _ parser: TestDecodingParser, to output: inout [UInt8]) {
    output.append(literal: #"{"kind":"truncate","tables":["#)
    for (index, relation) in relations.enumerated() {
      output.append(literal: index == 0 ? "{" : ",{")
      append(relation: relation, parser, to: &output)
      output.append(literal: "}")
    }
    output.append(literal: "]")
  }

  private func append(
    columns: [DecodedColumn]?, as key: StaticString, of record: UnsafeRawBufferPointer, to output: inout [UInt8]
  ) {
    output.append(literal: key)
    guard let columns else {
      output.append(literal: "null")
      return
    }
    var separator: StaticString = "["
    for column in columns {
      output.append(literal: separator)
      output.append(literal: #"{"name":"#)
      append(name: slice(column.name, of: record), to: &output)
      output.append(literal: #","type":"#)
      output.append(jsonString: slice(column.type, of: record))
      switch column.form {
      case .null:
        output.append(literal: #","value":null}"#)
      case .unchangedToast:
        output.append(literal: #","unchanged_toast":true}"#)
      case .verbatim:
        output.append(literal: #","value":"#)
        output.append(jsonString: slice(column.value, of: record))
        output.append(literal: "}")
      case .doubledQuotes:
        output.append(literal: #","value":"#)
        output.append(jsonString: slice(column.value, of: record), undoubling: UInt8(ascii: "'"))
        output.append(literal: "}")
      }
      separator = ","
    }
    output.append(literal: columns.isEmpty ? "[]" : "]")
  }

  private func append(name: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    guard name.first == UInt8(ascii: "\""), name.count >= 2 else {
      output.append(jsonString: name)
      return
    }
    let inside = UnsafeRawBufferPointer(rebasing: name[1..<(name.count - 1)])
    output.append(jsonString: inside, undoubling: UInt8(ascii: "\""))
  }
}

extension [UInt8] {
  /// A JSON string of a text in which every such quote is doubled: each pair becomes one.
  fileprivate mutating func append(jsonString text: UnsafeRawBufferPointer, undoubling quote: UInt8) {
    append(UInt8(ascii: "\""))
    var rest = text
    while let pair = rest.firstPair(of: quote) {
      append(jsonEscaped: UnsafeRawBufferPointer(rebasing: rest[..<(pair + 1)]))
      rest = UnsafeRawBufferPointer(rebasing: rest[Swift.min(pair + 2, rest.count)...])
    }
    append(jsonEscaped: rest)
    append(UInt8(ascii: "\""))
  }
}
