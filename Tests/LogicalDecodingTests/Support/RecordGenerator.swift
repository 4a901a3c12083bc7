import ReplicationModel
import TestSupport

/// Decides by a seed what a record holds; names, types and values lean to what trips parsers.
struct RecordGenerator {
  var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  mutating func record() -> RecordModel {
    switch Int.random(in: 0..<14, using: &random) {
    case 0: return .begin(xid())
    case 1: return .commit(xid(), at: timestamp())
    case 2...5: return .insert(relation(), tuple())
    case 6: return .update(relation(), old: nil, hasOldKey: false, tuple())
    case 7: return .update(relation(), old: columns(), hasOldKey: true, tuple())
    case 8: return .delete(relation(), tuple())
    case 9:
      let relations = (0..<Int.random(in: 1...3, using: &random)).map { _ in relation() }
      return .truncate(relations, restartIdentity: flip(), cascade: flip())
    case 10: return .message(transactional: flip(), prefix: text(), content: text())
    case 11: return .prepare(text(), xid(), at: timestamp())
    case 12: return .commitPrepared(text(), xid(), at: timestamp())
    default: return .rollbackPrepared(text(), xid(), at: timestamp())
    }
  }

  private static let fragments = [
    "a", "b1", "_", "'", "''", "\"", "\\", "\\'", "\n", " ", ": ", "]:", "[", "]", ".", ", ", "new-tuple: ",
    " new-tuple:", " old-key:", "null", "unchanged-toast-datum", "é", "🐘", "table public.t: INSERT:", "\r\n", "\t",
    "(no-tuple-data)", "COMMIT 1", "B'1'", "select", "\u{1}",
  ]

  private static let types: [(name: String, values: [String])] = [
    ("integer", ["0", "-1", "2147483647"]), ("bigint", ["9223372036854775807"]), ("oid", ["4294967295"]),
    ("numeric", ["NaN", "Infinity", "-Infinity", "12345678901234567890.00010"]),
    ("double precision", ["1e+20", "1.5e-300", "-0", "0.30000000000000004"]), ("boolean", ["true", "false"]),
    ("bit", ["", "101"]), ("bit varying", ["1"]),
  ]

  private static let quotedTypes = [
    "text", "character varying", "timestamp(3) without time zone", "numeric(5,2)[]", "\"we]ird\"[]", "\"S\".\"T\"[]",
    "\"char\"", "public.\"it's\"", "\"a\"\"]:'b\"", "integer[]",
  ]

  private mutating func flip() -> Bool { Bool.random(using: &random) }

  private mutating func xid() -> UInt32? { flip() ? UInt32.random(in: 0...UInt32.max, using: &random) : nil }

  private mutating func timestamp() -> String? { flip() ? "2024-01-01 00:00:00.123456+00" : nil }

  private mutating func text() -> String {
    (0..<Int.random(in: 0...6, using: &random)).map { _ in Self.fragments.randomElement(using: &random) ?? "" }.joined()
  }

  private mutating func name() -> String {
    let name = text()
    return name.isEmpty ? "x" : name
  }

  private mutating func relation() -> RelationName { RelationName(schema: name(), name: name()) }

  private mutating func tuple() -> [RecordModel.Column]? {
    Int.random(in: 0..<10, using: &random) == 0 ? nil : columns()
  }

  private mutating func columns() -> [RecordModel.Column] {
    (0..<Int.random(in: 0...5, using: &random)).map { _ in column() }
  }

  private mutating func column() -> RecordModel.Column {
    let name = name()
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      return .init(name: name, type: "text", value: flip() ? .null : .unchangedToast)
    case 1:
      let (type, values) = Self.types.randomElement(using: &random) ?? ("integer", ["1"])
      return .init(name: name, type: type, value: .text(values.randomElement(using: &random) ?? "1"))
    default:
      return .init(name: name, type: Self.quotedTypes.randomElement(using: &random) ?? "text", value: .text(text()))
    }
  }
}
