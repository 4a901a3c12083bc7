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

  func batchCopy(columns set: [Int]) -> String {
    let list = set.map { quotedIdentifier(columns[$0].name) }.joined(separator: ", ")
    return "COPY \(name.quoted) (\(list)) FROM STDIN"
  }

  /// Unqualified: with several arguments `unnest` is syntax, not a function. The session's search_path is empty.
  private func arrays(_ list: [Int]) -> String {
    let arrays = list.enumerated().map { position, column in
      "$\(position + 1)::\(columns[column].travelsAsText ? "text" : columns[column].baseType)[]"
    }
    return "unnest(\(arrays.joined(separator: ", "))) AS x("
      + list.map { "c\($0)" }.joined(separator: ", ") + ")"
  }

  private func element(_ column: Int) -> String {
    columns[column].travelsAsText ? "x.c\(column)::\(columns[column].baseType)" : "x.c\(column)"
  }

  private func keyCondition(_ key: [Int]) -> String {
    key.map { "t.\(quotedIdentifier(columns[$0].name)) = \(element($0))" }.joined(separator: " AND ")
  }
}

/// Writes one array literal: `{"a","b\"c",NULL}`.
struct ArrayLiteral {
  static func open(_ bytes: inout [UInt8]) { bytes.append(UInt8(ascii: "{")) }

  /// Ends the literal, with the NUL that makes it a C string.
  static func close(_ bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "}"))
    bytes.append(0)
  }

  /// Every value is quoted, so that only quotes and backslashes need escaping.
  static func append(_ value: UnsafeRawBufferPointer?, isFirst: Bool, to bytes: inout [UInt8]) {
    if !isFirst { bytes.append(UInt8(ascii: ",")) }
    guard let value else {
      bytes.append(contentsOf: "NULL".utf8)
      return
    }
    bytes.append(UInt8(ascii: "\""))
    appendEscaped(value, to: &bytes) { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    bytes.append(UInt8(ascii: "\""))
  }
}

/// Writes rows of COPY's text format.
/// <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2>
struct CopyText {
  static func append(_ value: UnsafeRawBufferPointer?, isFirst: Bool, to bytes: inout [UInt8]) {
    if !isFirst { bytes.append(UInt8(ascii: "\t")) }
    guard let value else {
      bytes.append(contentsOf: "\\N".utf8)
      return
    }
    var plain = 0
    var index = 0
    while true {
      index = firstSpecial(value, from: index)
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: value[plain..<index]))
      guard index < value.count else { return }
      bytes.append(UInt8(ascii: "\\"))
      switch value[index] {
      case UInt8(ascii: "\n"): bytes.append(UInt8(ascii: "n"))
      case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "r"))
      case UInt8(ascii: "\t"): bytes.append(UInt8(ascii: "t"))
      default: bytes.append(value[index])
      }
      index += 1
      plain = index
    }
  }

  /// Where the next byte stands that needs a backslash, or the end. Eight at a time, as there are few.
  private static func firstSpecial(_ value: UnsafeRawBufferPointer, from start: Int) -> Int {
    var index = start
    while index + 8 <= value.count {
      let word = value.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      let backslashes = word ^ (0x5C &* ones)
      // The highest bit of each byte that is below 0x20 or a backslash. A borrow may set one too many, behind a true one.
      let found = ((word &- 0x20 &* ones) & ~word | (backslashes &- ones) & ~backslashes) & (0x80 &* ones)
      if found == 0 {
        index += 8
        continue
      }
      let end = index + 8
      while index < end, !isSpecial(value[index]) { index += 1 }
      if index < end { return index }
    }
    while index < value.count, !isSpecial(value[index]) { index += 1 }
    return index
  }

  private static let ones: UInt64 = 0x0101_0101_0101_0101

  @inline(__always)
  private static func isSpecial(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\t")
  }

  static func endRow(_ bytes: inout [UInt8]) { bytes.append(UInt8(ascii: "\n")) }
}

/// Appends bytes with a backslash before each that needs one.
@inline(__always)
private func appendEscaped(
  _ value: UnsafeRawBufferPointer, to bytes: inout [UInt8], where needsEscape: (UInt8) -> Bool
) {
  var plain = 0
  for index in value.indices where needsEscape(value[index]) {
    bytes.append(contentsOf: value[plain..<index])
    bytes.append(UInt8(ascii: "\\"))
    plain = index
  }
  bytes.append(contentsOf: value[plain...])
}
