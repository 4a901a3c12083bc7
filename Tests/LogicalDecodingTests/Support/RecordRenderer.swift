import ReplicationModel

/// Writes a record as test_decoding would: the way back from `read`.
func render(_ record: RecordModel) -> String {
  func xid(_ xid: UInt32?, _ lead: String) -> String { xid.map { lead + String($0) } ?? "" }
  func at(_ timestamp: String?) -> String { timestamp.map { " (at \($0))" } ?? "" }
  func tuple(_ columns: [RecordModel.Column]?) -> String { columns.map(render) ?? " (no-tuple-data)" }
  switch record {
  case .begin(let id): return "BEGIN" + xid(id, " ")
  case .commit(let id, let timestamp): return "COMMIT" + xid(id, " ") + at(timestamp)
  case .insert(let relation, let columns): return "table \(render(relation)): INSERT:" + tuple(columns)
  case .update(let relation, let old, let hasOldKey, let columns):
    let key = hasOldKey ? " old-key:" + render(old ?? []) + " new-tuple:" : ""
    return "table \(render(relation)): UPDATE:" + key + tuple(columns)
  case .delete(let relation, let columns): return "table \(render(relation)): DELETE:" + tuple(columns)
  case .truncate(let relations, let restartIdentity, let cascade):
    let flags = (restartIdentity ? " restart_seqs" : "") + (cascade ? " cascade" : "")
    return "table \(relations.map(render).joined(separator: ", ")): TRUNCATE:" + (flags.isEmpty ? " (no-flags)" : flags)
  case .message(let transactional, let prefix, let content):
    return "message: transactional: \(transactional ? 1 : 0) prefix: \(prefix), "
      + "sz: \(content.utf8.count) content:\(content)"
  case .prepare(let gid, let id, let timestamp):
    return "PREPARE TRANSACTION \(literal(gid))" + xid(id, ", txid ") + at(timestamp)
  case .commitPrepared(let gid, let id, let timestamp):
    return "COMMIT PREPARED \(literal(gid))" + xid(id, ", txid ") + at(timestamp)
  case .rollbackPrepared(let gid, let id, let timestamp):
    return "ROLLBACK PREPARED \(literal(gid))" + xid(id, ", txid ") + at(timestamp)
  case .streamControl: return "streaming change for transaction"
  }
}

private func render(_ relation: RelationName) -> String {
  identifier(relation.schema) + "." + identifier(relation.name)
}

private func render(_ columns: [RecordModel.Column]) -> String {
  columns.map { " \(identifier($0.name))[\($0.type)]:\(value($0))" }.joined()
}

private let bareTypes: Set = [
  "smallint", "integer", "bigint", "oid", "real", "double precision", "numeric", "boolean",
]

private func value(_ column: RecordModel.Column) -> String {
  switch column.value {
  case .null: "null"
  case .unchangedToast: "unchanged-toast-datum"
  case .text(let text) where bareTypes.contains(column.type): text
  case .text(let text) where column.type.hasPrefix("bit"): "B'\(text)'"
  case .text(let text): "'" + doubled(text, "'") + "'"
  }
}

private func identifier(_ name: String) -> String {
  let safe = name.utf8.enumerated().allSatisfy { index, byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"): true
    case UInt8(ascii: "0")...UInt8(ascii: "9"): index > 0
    default: false
    }
  }
  return safe && name != "select" ? name : "\"" + doubled(name, "\"") + "\""
}

private func literal(_ text: String) -> String {
  text.unicodeScalars.contains("\\") ? "E'" + doubled(doubled(text, "'"), "\\") + "'" : "'" + doubled(text, "'") + "'"
}

private func doubled(_ text: String, _ mark: Unicode.Scalar) -> String {
  var result = String.UnicodeScalarView()
  for scalar in text.unicodeScalars {
    if scalar == mark { result.append(scalar) }
    result.append(scalar)
  }
  return String(result)
}
