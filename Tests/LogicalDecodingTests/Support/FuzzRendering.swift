import LogicalDecoding

/// A parsed record written again from its spans, byte by byte.
enum FuzzRendering {
  /// The texts that a record may have had; nil where the parser keeps too little to say.
  static func forms(of decoded: DecodedRecord, of record: [UInt8], from parser: TestDecodingParser) -> [[UInt8]]? {
    func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    func at(_ span: Span?) -> [UInt8] { span.map { bytes(" (at ") + record[$0.start..<$0.end] + bytes(")") } ?? [] }
    func change(_ number: RelationNumber, _ rest: [UInt8]) -> [[UInt8]] {
      relation(number, parser).map { bytes("table ") + $0 + rest }
    }
    func tuple(_ columns: [DecodedColumn]?) -> [UInt8] {
      columns.map { $0.flatMap { column($0, record) } } ?? bytes(" (no-tuple-data)")
    }
    func prepared(_ kind: String, _ gid: String, _ xid: UInt32?, _ timestamp: Span?) -> [[UInt8]]? {
      // What was not UTF-8 in a gid is gone from the string.
      guard !gid.unicodeScalars.contains("\u{FFFD}") else { return nil }
      let quoted = gid.utf8.flatMap { $0 == UInt8(ascii: "'") ? [$0, $0] : [$0] }
      let escaped = quoted.flatMap { $0 == UInt8(ascii: "\\") ? [$0, $0] : [$0] }
      let rest = bytes("'") + bytes(xid.map { ", txid \($0)" } ?? "") + at(timestamp)
      // quote_literal puts a space of its own in front of an E.
      return [(" '", quoted), (" E'", escaped), ("  E'", escaped)].map { bytes(kind + $0.0) + $0.1 + rest }
    }
    switch decoded {
    case .begin(let xid): return [bytes("BEGIN" + (xid.map { " \($0)" } ?? ""))]
    case .commit(let xid, let timestamp): return [bytes("COMMIT" + (xid.map { " \($0)" } ?? "")) + at(timestamp)]
    case .insert(let number): return change(number, bytes(": INSERT:") + tuple(parser.newColumns))
    case .update(let number, let hasOldKey):
      let key = hasOldKey ? bytes(" old-key:") + tuple(parser.oldColumns) + bytes(" new-tuple:") : []
      return change(number, bytes(": UPDATE:") + key + tuple(parser.newColumns))
    case .delete(let number): return change(number, bytes(": DELETE:") + tuple(parser.oldColumns))
    case .truncate(let numbers, let restartIdentity, let cascade):
      let flags = (restartIdentity ? " restart_seqs" : "") + (cascade ? " cascade" : "")
      var texts: [[UInt8]] = [bytes("table ")]
      guard numbers.count <= 3 else { return nil }
      for (index, number) in numbers.enumerated() {
        let names = relation(number, parser)
        texts = texts.flatMap { text in names.map { text + (index > 0 ? bytes(", ") : []) + $0 } }
      }
      return texts.map { $0 + bytes(": TRUNCATE:" + (flags.isEmpty ? " (no-flags)" : flags)) }
    case .message(let transactional, let prefix, let content):
      return [
        bytes("message: transactional: \(transactional ? 1 : 0) prefix: ") + record[prefix.start..<prefix.end]
          + bytes(", sz: \(content.count) content:") + record[content.start..<content.end]
      ]
    case .prepare(let gid, let xid, let timestamp): return prepared("PREPARE TRANSACTION", gid, xid, timestamp)
    case .commitPrepared(let gid, let xid, let timestamp): return prepared("COMMIT PREPARED", gid, xid, timestamp)
    case .rollbackPrepared(let gid, let xid, let timestamp): return prepared("ROLLBACK PREPARED", gid, xid, timestamp)
    case .relation, .streamControl: return nil
    }
  }

  /// With and without quotes, each part for itself.
  private static func relation(_ number: RelationNumber, _ parser: TestDecodingParser) -> [[UInt8]] {
    let quote = UInt8(ascii: "\"")
    func forms(_ name: [UInt8]) -> [[UInt8]] {
      [name, [quote] + name.flatMap { $0 == quote ? [$0, $0] : [$0] } + [quote]]
    }
    let name = parser.relationNameBytes(number)
    return forms(name.schema).flatMap { schema in forms(name.table).map { schema + [UInt8(ascii: ".")] + $0 } }
  }

  private static func column(_ column: DecodedColumn, _ record: [UInt8]) -> [UInt8] {
    let head = Array(" ".utf8) + record[column.name.start..<column.name.end] + Array("[".utf8)
    let lead = head + record[column.type.start..<column.type.end] + Array("]:".utf8)
    switch column.form {
    case .null: return lead + Array("null".utf8)
    case .unchangedToast: return lead + Array("unchanged-toast-datum".utf8)
    case .verbatim, .doubledQuotes:
      let value = Array(record[column.value.start..<column.value.end])
      let before = record[column.type.end + 2]
      if before == UInt8(ascii: "'") { return lead + Array("'".utf8) + value + Array("'".utf8) }
      if before == UInt8(ascii: "B") { return lead + Array("B'".utf8) + value + Array("'".utf8) }
      return lead + value
    }
  }
}
