import ReplicationModel

/// The set-based statements of one table, as pure values.
///
/// A column's values travel as one array of its own type without length or precision (`$1::bpchar[]`), which the
/// assignment to the column sees to. A column whose type is itself an array or a composite, or whose arrays have another
/// delimiter than a comma, travels as text and is cast row by row.
struct BatchStatement: Equatable, Sendable {
  var sql: String
  /// The target column behind each array parameter.
  var columns: [Int]
}

extension TargetRelation {
  /// Whether rows of the table can be netted and sent in sets: the key's types have one text per value, and nothing
  /// on the target watches single rows.
  var canBatchKeyedChanges: Bool {
    guard canBatchInserts, case .key(let names) = identity else { return false }
    return names.allSatisfy { name in
      column(named: name).map { columns[$0].hasOneTextPerValue } ?? false
    } && !columns.enumerated().contains { $1.isIdentityAlways && !names.contains($1.name) }
  }

  /// Whether inserts alone can go in by COPY.
  var canBatchInserts: Bool { kind == .table && !hasRowTriggers && columns.contains { !$0.isGenerated } }

  var keyColumns: [Int] {
    guard case .key(let names) = identity else { return [] }
    return names.compactMap { column(named: $0) }
  }

  func batchDelete() -> BatchStatement {
    let key = keyColumns
    return BatchStatement(
      sql: "DELETE FROM ONLY \(name.quoted) AS t USING \(arrays(key)) WHERE \(keyCondition(key))", columns: key)
  }

  /// `set` are target columns outside the key.
  func batchUpdate(set: [Int]) -> BatchStatement {
    let key = keyColumns
    let assignments = set.map { column in
      "\(quotedIdentifier(columns[column].name)) = \(element(column))"
    }
    return BatchStatement(
      sql: "UPDATE ONLY \(name.quoted) AS t SET \(assignments.joined(separator: ", ")) FROM \(arrays(key + set)) "
        + "WHERE \(keyCondition(key))",
      columns: key + set)
  }

  func batchCopy(columns set: [Int], binary isBinary: Bool) -> String {
    let list = set.map { quotedIdentifier(columns[$0].name) }.joined(separator: ", ")
    return "COPY \(name.quoted) (\(list)) FROM STDIN" + (isBinary ? " (FORMAT binary)" : "")
  }

  private func arrays(_ list: [Int]) -> String {
    let arrays = list.enumerated().map { position, column in
      "pg_catalog.unnest($\(position + 1)::\(columns[column].travelsAsText ? "text" : columns[column].baseType)[])"
    }
    return "ROWS FROM (\(arrays.joined(separator: ", "))) AS x("
      + list.map { "c\($0)" }.joined(separator: ", ") + ")"
  }

  private func element(_ column: Int) -> String {
    columns[column].travelsAsText ? "x.c\(column)::\(columns[column].baseType)" : "x.c\(column)"
  }

  private func keyCondition(_ key: [Int]) -> String {
    key.map { "t.\(quotedIdentifier(columns[$0].name)) OPERATOR(pg_catalog.=) \(element($0))" }
      .joined(separator: " AND ")
  }
}
