/// What `ddl: replicate` does with a statement that the source has run.
package enum StatementVerdict: Sendable, Equatable {
  case run
  /// With this text, which makes the table and leaves its rows to the stream.
  case runWithoutData([UInt8])
  /// With this text, which works in one transaction: nobody else is on the target whom CONCURRENTLY would spare.
  case runInstead([UInt8])
  /// It is about a temporary table, which belongs to its session.
  case passOver
  /// Not carried over, for this reason.
  case refuse(String)
}

/// The statements that are carried over: a list of what may be, everything else parks its database.
package enum StatementList {
  /// Command tags, as event triggers have them.
  package static let tags: [String] = [
    "ALTER DEFAULT PRIVILEGES", "ALTER DOMAIN", "ALTER FUNCTION", "ALTER INDEX", "ALTER MATERIALIZED VIEW",
    "ALTER POLICY", "ALTER PROCEDURE", "ALTER ROUTINE", "ALTER RULE", "ALTER SCHEMA", "ALTER SEQUENCE",
    "ALTER STATISTICS", "ALTER TABLE", "ALTER TRIGGER", "ALTER TYPE", "ALTER VIEW", "COMMENT", "CREATE DOMAIN",
    "CREATE FUNCTION", "CREATE INDEX", "CREATE MATERIALIZED VIEW", "CREATE POLICY", "CREATE PROCEDURE", "CREATE RULE",
    "CREATE SCHEMA", "CREATE SEQUENCE", "CREATE STATISTICS", "CREATE TABLE", "CREATE TABLE AS", "CREATE TRIGGER",
    "CREATE TYPE", "CREATE VIEW", "DROP DOMAIN", "DROP FUNCTION", "DROP INDEX", "DROP MATERIALIZED VIEW", "DROP POLICY",
    "DROP PROCEDURE", "DROP ROUTINE", "DROP RULE", "DROP SCHEMA", "DROP SEQUENCE", "DROP STATISTICS", "DROP TABLE",
    "DROP TRIGGER", "DROP TYPE", "DROP VIEW", "GRANT", "REVOKE",
  ]

  /// Those whose rows stand in the stream before the statement has ended.
  package static let tagsWithRows = ["CREATE TABLE AS", "CREATE MATERIALIZED VIEW"]

  /// What may stand between CREATE and the kind of object.
  private static let modifiers: Set<String> = [
    "OR", "REPLACE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "RECURSIVE", "UNIQUE", "CONSTRAINT",
  ]

  /// Decides by the text alone. The text must be one statement and begin as the tag says: DDL inside a function, a DO
  /// block or one of several statements has the text of what it is inside of.
  ///
  /// - Parameters:
  ///   - tag: the command tag that the source's trigger saw.
  ///   - command: what the client had sent.
  package static func judge(tag: String, command: [UInt8], standardStrings: Bool) -> StatementVerdict {
    guard tags.contains(tag) else { return .refuse("it is not on the list of what is carried over") }
    guard let text = StatementText(command, standardStrings: standardStrings) else {
      return .refuse("its text cannot be read")
    }
    var tokens = text.tokens
    while tokens.last == .symbol(";") { tokens.removeLast() }
    guard !tokens.contains(.symbol(";")) else { return .refuse("it is not the only statement in its text") }
    guard let head = head(of: tokens, tag: tag) else {
      return .refuse("its text is of another statement: it ran inside a function or the like")
    }
    if isTemporary(tokens, head) { return .passOver }
    if tokens.contains(.parameter) { return .refuse("it has parameters") }
    if tokens.contains(.word("SESSION_USER")) {
      return .refuse("it names session_user, which is pgconvoy's own role on the target")
    }
    switch tag {
    case "ALTER TABLE":
      if tokens.contains(.word("CONCURRENTLY")) { return .refuse("it works in several transactions") }
      let enables = zip(tokens, tokens.dropFirst()).contains { first, second in
        first == .word("ENABLE") && (second == .word("ALWAYS") || second == .word("REPLICA"))
      }
      if enables { return .refuse("what is enabled so would fire for rows that are applied, as a superuser") }
      return .run
    case "CREATE INDEX", "DROP INDEX":
      guard tokens.dropFirst(head).first == .word("CONCURRENTLY"), head + 1 < text.starts.count else { return .run }
      return .runInstead(Array(command[..<text.starts[head]]) + Array(command[text.starts[head + 1]...]))
    case _ where tagsWithRows.contains(tag): return withoutData(command, tokens, text)
    default: return .run
    }
  }

  /// How many tokens the words of the tag take at the beginning; nil where the text begins otherwise.
  private static func head(of tokens: [StatementText.Token], tag: String) -> Int? {
    var words = tag.split(separator: " ").map(String.init)
    if tag == "CREATE TABLE AS" { words.removeLast() }
    guard tokens.first?.word == words.first else { return nil }
    var position = 1
    if words[0] == "CREATE" {
      while let word = tokens.dropFirst(position).first?.word, modifiers.contains(word) { position += 1 }
    }
    for word in words.dropFirst() {
      guard tokens.dropFirst(position).first?.word == word else { return nil }
      position += 1
    }
    return position
  }

  private static func isTemporary(_ tokens: [StatementText.Token], _ head: Int) -> Bool {
    guard tokens.first == .word("CREATE") else { return false }
    if tokens[..<head].contains(where: { $0 == .word("TEMP") || $0 == .word("TEMPORARY") }) { return true }
    var name = tokens.dropFirst(head)
    for word in ["IF", "NOT", "EXISTS"] where name.first == .word(word) { name = name.dropFirst() }
    guard name.dropFirst().first == .symbol(".") else { return false }
    switch name.first {
    case .word(let schema): return schema == "PG_TEMP" || schema.hasPrefix("PG_TEMP_")
    case .quoted(let schema): return schema == "pg_temp" || schema.hasPrefix("pg_temp_")
    default: return false
    }
  }

  /// `CREATE TABLE t AS SELECT …` becomes `CREATE TABLE t AS SELECT … WITH NO DATA`.
  private static func withoutData(
    _ command: [UInt8], _ tokens: [StatementText.Token], _ text: StatementText
  ) -> StatementVerdict {
    var depth = 0
    for (token, next) in zip(tokens, tokens.dropFirst()) {
      if token == .symbol("(") { depth += 1 }
      if token == .symbol(")") { depth -= 1 }
      guard depth == 0, token == .word("AS") else { continue }
      if next == .word("EXECUTE") { return .refuse("what it executes is known to its session only") }
      break
    }
    let words = tokens.suffix(3)
    if words.elementsEqual([.word("WITH"), .word("NO"), .word("DATA")]) { return .run }
    var end = tokens.count
    if words.suffix(2).elementsEqual([.word("WITH"), .word("DATA")]) { end -= 2 }
    let place = end < text.starts.count ? text.starts[end] : text.end
    return .runWithoutData(Array(command[..<place]) + Array("\nWITH NO DATA".utf8))
  }
}
