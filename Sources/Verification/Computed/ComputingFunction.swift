/// A function of a user or an extension, with what can be told of it without running it.
package struct ComputingFunction: Sendable, Equatable {
  /// What its result goes by, apart from its arguments.
  package enum Reason: Sendable, Equatable {
    /// Names that its body has without a schema.
    case names([String])
    /// Types and functions that print or read by settings.
    case settings([String])
    /// The clock, who asks, chance.
    case moment([String])
    /// It reads tables.
    case tables
    /// Nobody but this language knows what it does.
    case language(String)

    var isOfSettings: Bool {
      switch self {
      case .names, .settings, .language: true
      case .moment, .tables: false
      }
    }

    var isOfTheMoment: Bool {
      switch self {
      case .moment, .tables, .language: true
      case .names, .settings: false
      }
    }

    /// `names without a schema: clean, lower`.
    package var words: String {
      switch self {
      case .names(let names): "names without a schema: " + names.joined(separator: ", ")
      case .settings(let words): "what goes by settings: " + words.joined(separator: ", ")
      case .moment(let words): "what changes: " + words.joined(separator: ", ")
      case .tables: "other rows"
      case .language(let name): "language \(name)"
      }
    }
  }

  package var signature: String
  package var name: String
  package var language: String
  package var body: String
  /// Those of its arguments and its result, as SQL writes them.
  package var types: String
  /// Its own `SET` clauses.
  package var settings = ""
  /// Whether the names in it were looked up when it was made: BEGIN ATOMIC.
  package var hasBoundBody = false

  func pins(_ setting: String) -> Bool {
    settings.lowercased().split(separator: " ").contains { $0.hasPrefix(setting + "=") }
  }
}

/// Judges functions by their text: what it finds may do no harm, what it does not find is no proof. Comments and strings
/// count as text, since a body may be executed out of them.
struct ComputingJudge {
  private let functions: [UInt32: ComputingFunction]
  private let byName: [String: [UInt32]]
  private let otherNames: Set<String>

  /// - Parameter otherNames: what a path leads to as well.
  init(_ functions: [UInt32: ComputingFunction], otherNames: Set<String> = []) {
    self.functions = functions
    self.otherNames = otherNames
    byName = Dictionary(grouping: functions.keys.sorted()) { functions[$0]?.name ?? "" }
  }

  /// With those of all functions that it calls by name.
  func reasons(of oid: UInt32) -> [ComputingFunction.Reason] {
    var names: Set<String> = []
    var settings: Set<String> = []
    var moment: Set<String> = []
    var languages: Set<String> = []
    var readsTables = false
    var visited: Set<UInt32> = []
    // What a caller has set holds in what it calls.
    var open: [(oid: UInt32, path: Bool, zone: Bool)] = [(oid, false, false)]
    while let (next, hasPath, hasZone) = open.popLast() {
      guard visited.insert(next).inserted, let function = functions[next] else { continue }
      guard function.language == "sql" || function.language == "plpgsql" else {
        languages.insert(function.language)
        continue
      }
      let isPinned = hasPath || function.pins("search_path") || function.hasBoundBody
      let pinsZone = hasZone || function.pins("timezone")
      let text = FunctionText(function.body)
      for call in text.calls {
        let called = byName[call.name] ?? []
        let isLookedUp = !called.isEmpty || otherNames.contains(call.name)
        if isLookedUp, call.schema == nil, !isPinned { names.insert(call.name) }
        open += called.map { ($0, isPinned, pinsZone) }
      }
      if !isPinned {
        names.formUnion(text.relations.filter { $0.schema == nil }.map(\.name))
        names.formUnion(text.casts.filter { $0.schema == nil && otherNames.contains($0.name) }.map(\.name))
      }
      if !text.relations.isEmpty { readsTables = true }
      settings.formUnion(text.wordsOfSettings(types: function.types, hasZone: pinsZone))
      moment.formUnion(text.wordsOfTheMoment)
    }
    var reasons: [ComputingFunction.Reason] = []
    if !names.isEmpty { reasons.append(.names(names.sorted())) }
    if !settings.isEmpty { reasons.append(.settings(settings.sorted())) }
    if !moment.isEmpty { reasons.append(.moment(moment.sorted())) }
    if readsTables { reasons.append(.tables) }
    reasons += languages.sorted().map { .language($0) }
    return reasons
  }
}

/// The words of a body in SQL or PL/pgSQL.
struct FunctionText {
  struct Name: Equatable {
    var schema: String?
    var name: String
  }

  private enum Token: Equatable {
    case word(String)
    case mark(Character)
  }

  /// What stands before an opening parenthesis, keywords of SQL among them.
  private(set) var calls: [Name] = []
  /// What stands behind `::`.
  private(set) var casts: [Name] = []
  /// What rows are read from or written to.
  private(set) var relations: [Name] = []
  private var words: Set<String> = []
  private var concatenates = false

  init(_ body: String) {
    let tokens = Self.tokens(body)
    var index = 0
    var before = ""
    while index < tokens.count {
      guard case .word(let word) = tokens[index] else {
        if tokens[index] == .mark("|"), index + 1 < tokens.count, tokens[index + 1] == .mark("|") {
          concatenates = true
        }
        before = ""
        index += 1
        continue
      }
      words.insert(word)
      var name = Name(schema: nil, name: word)
      var end = index + 1
      while end + 1 < tokens.count, tokens[end] == .mark("."), case .word(let next) = tokens[end + 1] {
        name = Name(schema: name.name, name: next)
        words.insert(next)
        end += 2
      }
      let isCalled = end < tokens.count && tokens[end] == .mark("(")
      if isCalled { calls.append(name) }
      if index >= 2, tokens[index - 1] == .mark(":"), tokens[index - 2] == .mark(":") { casts.append(name) }
      let isSource = ["from", "join", "into", "update"].contains(before)
      // `extract(year FROM at)`, `IS DISTINCT FROM other` and `SELECT … INTO variable` name no table.
      if isSource, !isCalled, !Self.keywords.contains(word), Self.namesTable(tokens, index, behind: before) {
        relations.append(name)
      }
      before = word
      index = end
    }
  }

  private static let keywords: Set<String> = ["select", "lateral", "only", "strict", "set", "values", "unnest"]

  private static func namesTable(_ tokens: [Token], _ index: Int, behind word: String) -> Bool {
    let before = index >= 2 ? tokens[index - 2] : .mark(";")
    return switch word {
    case "into": before == .word("insert")
    case "from": before != .word("distinct") && !isInExtract(tokens, index)
    default: true
    }
  }

  /// Whether the last opening parenthesis before is that of `extract`, `substring`, `trim`, `overlay`.
  private static func isInExtract(_ tokens: [Token], _ index: Int) -> Bool {
    var depth = 0
    var place = index - 1
    while place > 0 {
      if tokens[place] == .mark(")") { depth += 1 }
      if tokens[place] == .mark("(") {
        if depth == 0 {
          return ["extract", "substring", "trim", "overlay", "position"].contains { tokens[place - 1] == .word($0) }
        }
        depth -= 1
      }
      place -= 1
    }
    return false
  }

  private static func tokens(_ body: String) -> [Token] {
    var tokens: [Token] = []
    var word = ""
    func isOfWord(_ character: Character) -> Bool { character == "_" || character.isLetter || character.isNumber }
    for character in body where character != "\"" {
      if isOfWord(character) {
        word += character.lowercased()
        continue
      }
      if !word.isEmpty { tokens.append(.word(word)) }
      word = ""
      if !character.isWhitespace { tokens.append(.mark(character)) }
    }
    if !word.isEmpty { tokens.append(.word(word)) }
    return tokens
  }

  /// What goes by the clock, by who asks, or by chance.
  var wordsOfTheMoment: [String] {
    words.intersection([
      "clock_timestamp", "current_date", "current_role", "current_time", "current_timestamp", "current_user",
      "current_setting", "currval", "execute", "gen_random_uuid", "lastval", "localtime", "localtimestamp", "nextval",
      "now",
      "random", "session_user", "statement_timestamp", "timeofday", "transaction_timestamp", "txid_current",
    ]).sorted()
  }

  private static let byZone: Set<String> = ["timestamptz", "timetz", "to_timestamp", "make_timestamptz"]
  private static let bySettings: Set<String> = [
    "current_setting", "to_char", "to_number", "to_tsvector", "to_tsquery", "plainto_tsquery", "phraseto_tsquery",
    "websearch_to_tsquery", "ts_headline", "unaccent", "money", "regclass", "regproc", "regtype", "regconfig",
    "current_schema",
  ]
  private static let printing: Set<String> = [
    "concat", "concat_ws", "format", "text", "varchar", "cast", "to_json", "to_jsonb",
  ]
  private static let printed = [
    "date", "timestamp", "time", "interval", "double precision", "real", "bytea", "float8", "float4", "record",
  ]

  /// - Parameter types: of the arguments and the result.
  func wordsOfSettings(types: String, hasZone: Bool) -> [String] {
    var found = words.intersection(Self.bySettings)
    let types = types.lowercased()
    if !hasZone {
      found.formUnion(words.intersection(Self.byZone))
      if types.contains("with time zone") { found.insert("timestamptz") }
      if types.contains("timestamp without time zone") || types.contains("date"), words.contains("timestamptz") {
        found.insert("timestamptz")
      }
    }
    let isPrinted = concatenates || !words.isDisjoint(with: Self.printing)
    if isPrinted || types.contains("text") || types.contains("character varying") {
      let typeWords = Set(types.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init))
      for type in Self.printed {
        let isThere =
          type.contains(" ")
          ? types.contains(type) : typeWords.contains(type) || words.contains(type)
        if isThere { found.insert(type) }
      }
    }
    return found.sorted()
  }
}
