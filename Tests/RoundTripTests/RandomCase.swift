import Foundation
import LogicalDecoding
import ReplicationModel
import TestSupport

/// One run of the round trip as a value: made from a seed, cut smaller, written down and read again.
struct RandomCase: Codable, Equatable {
  /// Of the replay's own choices.
  var seed: UInt64
  /// Only this way of applying; nil for all that the seed asks for.
  var mode: ReplayMode?
  var encoding = DatabaseEncoding.utf8
  /// Every third seed's stream is pgoutput's. Then the source refuses updates of tables without a replica identity.
  var plugin: OutputPlugin { seed % 3 == 2 ? .pgoutput : .testDecoding }
  /// Types, tables and rows that both sides have. Rows may be refused.
  var definitions: [String]
  /// Of the databases, when the hand-off is done: what the walsender and the applying session must not listen to.
  var sourceSettings: [String] = []
  var targetSettings: [String] = []
  var units: [SourceUnit]
  /// Statements on the target before the replay.
  var drift: [String] = []

  /// The same seed makes the same schema, settings and transactions.
  init(seed: UInt64, transactions: Int) {
    self.seed = seed
    encoding = DatabaseEncoding(seed: seed)
    let schema = SchemaGenerator(seed: seed)
    definitions = encoding.commonObjects + schema.statements
    var generator = TransactionGenerator(seed: seed, tables: schema.tables, materializedView: schema.materializedView)
    units = generator.units(transactions: transactions)
    var random = SeededRandom(mixing: seed ^ 0x5E77_1265)
    if random.one(in: 2) { sourceSettings = random.some(of: Self.printedSettings) }
    if random.one(in: 2) { targetSettings = random.some(of: Self.printedSettings + Self.executedSettings) }
    definitions = definitions.map { encoding.narrowed($0) }
    for unit in units.indices {
      for transaction in units[unit].transactions.indices {
        units[unit].transactions[transaction].steps = units[unit].transactions[transaction].steps.map { step in
          switch step {
          case .guarded(let sql): .guarded(encoding.narrowed(sql))
          case .plain(let sql): .plain(encoding.narrowed(sql))
          case .copy(let sql, let rows): .copy(encoding.narrowed(sql), encoding.narrowed(rows))
          }
        }
      }
    }
  }

  var modes: [ReplayMode] {
    // Making databases takes most of the time, so the third way is for every second seed.
    mode.map { [$0] } ?? (seed % 2 == 0 ? ReplayMode.allCases : [.single, .batches])
  }

  private static let printedSettings = [
    "datestyle = 'German, DMY'", "datestyle = 'SQL, MDY'", "intervalstyle = 'sql_standard'",
    "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kathmandu'", "bytea_output = 'escape'", "extra_float_digits = -3",
    "quote_all_identifiers = on", "search_path = public, pg_catalog", "xmloption = 'document'",
  ]

  private static let executedSettings = [
    "array_nulls = off", "transform_null_equals = on", "standard_conforming_strings = off",
    "default_transaction_isolation = 'serializable'", "default_transaction_read_only = on", "statement_timeout = 1",
    "row_security = off", "check_function_bodies = off", "synchronous_commit = remote_apply",
  ]
}

/// A server encoding, and how texts that it cannot hold are made to fit.
enum DatabaseEncoding: String, Codable, CaseIterable {
  case utf8 = "UTF8"
  case latin1 = "LATIN1"
  case eucJP = "EUC_JP"
  case win1251 = "WIN1251"
  case sqlASCII = "SQL_ASCII"

  /// Every fifth seed has another encoding than UTF-8.
  init(seed: UInt64) {
    let others = Self.allCases.filter { $0 != .utf8 }
    self = seed % 5 == 0 ? others[Int(seed / 5) % others.count] : .utf8
  }

  /// `CREATE DATABASE`'s options.
  var options: String {
    self == .utf8 ? "TEMPLATE common" : "ENCODING '\(rawValue)' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
  }

  /// What a database has to be given before its own schema; the template of those in UTF-8 has it.
  fileprivate var commonObjects: [String] {
    switch self {
    case .utf8: []
    // ICU does not know it.
    case .sqlASCII: CommonObjects.statements.filter { !$0.hasPrefix("CREATE COLLATION") }
    default: CommonObjects.statements
    }
  }

  /// The text with every character that the encoding lacks replaced by one that it has: the same one everywhere, so that
  /// names still fit each other.
  func narrowed(_ text: String) -> String {
    if self == .utf8 { return text }
    var text = text.replacing("\\ud83d\\udc18", with: "\\u0041")
    if self == .sqlASCII { return text.replacing(" COLLATE \(quotedIdentifier(CommonObjects.schema)).loose", with: "") }
    text.unicodeScalars.replaceSubrange(
      text.unicodeScalars.startIndex..., with: text.unicodeScalars.map { has($0) ? $0 : substitute })
    return text
  }

  private func has(_ scalar: Unicode.Scalar) -> Bool {
    switch self {
    case .utf8, .sqlASCII: true
    case .latin1: scalar.value < 0x100
    case .eucJP: scalar.isASCII || "日本語".unicodeScalars.contains(scalar)
    case .win1251: scalar.isASCII || ("А"..."я").contains(scalar)
    }
  }

  private var substitute: Unicode.Scalar {
    switch self {
    case .eucJP: "語"
    case .win1251: "ж"
    default: "ÿ"
    }
  }
}

extension SeededRandom {
  /// One to three of them.
  mutating func some(of list: [String]) -> [String] { (0..<int(1...3)).map { _ in pick(list) } }
}
