import FoundationEssentials
import Journal
import Lab
import ReplicationModel
import TestSupport
import Testing

/// One thing that a step announced or did, as a line of a plan says it. Nonces and positions, which nobody knows
/// beforehand, are replaced by words.
struct Doing: Hashable, CustomStringConvertible {
  var step = ""
  /// Empty: on the machine that pgconvoy runs on.
  var host: String
  /// `command`, `sql`, `file`, `wait` or `note`, as the journal calls them.
  var kind: String
  /// Of a statement.
  var database = ""
  var text: String

  var description: String { "\(step): \(kind) \(database.isEmpty ? "" : "in \(database) ")\(text)" }
}

/// What a play announced or did, as seen in one place.
struct Doings {
  var all: [Doing] = []
  /// A new file's announced text, by path.
  var texts: [String: String] = [:]
  var output = ""

  static func + (one: Doings, other: Doings) -> Doings {
    Doings(all: one.all + other.all, texts: one.texts.merging(other.texts) { $1 }, output: one.output + other.output)
  }

  /// Commands and files of a host, in order.
  func deeds(_ host: String) -> [String] {
    all.filter { $0.host == host && ["command", "file"].contains($0.kind) }.map { "\($0.kind) \($0.text)" }
  }

  /// Statements on a host's server, sorted.
  func statements(_ host: String) -> [String] {
    all.filter { $0.host == host && $0.kind == "sql" }.map { "\($0.database): \($0.text)" }.sorted()
  }
}

/// A play as it was done: seen from the hosts (commands and files) and their servers (statements), and as the journal
/// has it.
struct PlayedDoings {
  var seen = Doings()
  var journal = Doings()

  static func + (one: PlayedDoings, other: PlayedDoings) -> PlayedDoings {
    PlayedDoings(seen: one.seen + other.seen, journal: one.journal + other.journal)
  }
}

extension Scenario {
  // MARK: announced

  /// What `--check --diff` says of a playbook.
  func announced(_ playbook: String) async throws -> Doings {
    let result = try await start("play", playbook, "--check", "--diff").result()
    try #require(result.status == 0, "\(result.text)")
    var doings = Doings(output: result.output)
    var step = ""
    var lines = result.output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)[...]
    while let line = lines.popFirst() {
      if let head = line.wholeMatch(of: #/\[[^\]]*\] ([a-z_]+): would run/#) { step = String(head.1) }
      guard line.hasPrefix("  "), !line.hasPrefix("    ") else { continue }
      var block: [String] = []
      while let next = lines.first, next.hasPrefix("    ") {
        block.append(String(next.dropFirst(4)))
        lines.removeFirst()
      }
      guard
        let parts = line.dropFirst(2).wholeMatch(
          of: #/(run|sql|wait|note|create|change|remove)(?: on ([^:,]+))?(?:, database ([^:]+))?:(?: (.*))?/#)
      else { continue }
      let isFile = ["create", "change", "remove"].contains(parts.1)
      let text = parts.4.map(String.init) ?? block.joined(separator: "\n")
      let kind = isFile ? "file" : parts.1 == "run" ? "command" : String(parts.1)
      doings.all.append(
        Doing(
          step: step, host: parts.2.map(String.init) ?? "", kind: kind, database: parts.3.map(String.init) ?? "",
          text: withoutNonces(text)))
      if isFile { doings.texts[text] = block.filter { $0.hasPrefix("+") }.map { $0.dropFirst() + "\n" }.joined() }
    }
    return doings
  }

  // MARK: done

  /// Plays it, and gathers what was done.
  func played(_ playbook: String) async throws -> PlayedDoings {
    let logs = [source, target].map { ($0, (try? readText($0.postgresLog))?.utf8.count ?? 0) }
    let before = try await journalledDeeds().last?.id?.rawValue ?? 0
    let result = try await start("play", playbook, "--yes", "-v", "--log-format", "json").result()
    try #require(result.status == 0, "\(result.text)")
    var seen = Doings(output: result.output)
    for line in result.errors.split(separator: "\n") {
      guard let entry = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8)),
        let host = entry["host"], let message = entry["message"]
      else { continue }
      if message.hasPrefix("write ") {
        seen.all.append(Doing(host: host, kind: "file", text: withoutNonces(String(message.dropFirst(6)))))
      } else if message.hasPrefix("run ") {
        let user = entry["user"].map { "as \($0): " } ?? ""
        seen.all.append(Doing(host: host, kind: "command", text: user + withoutNonces(String(message.dropFirst(4)))))
      }
    }
    for (host, length) in logs {
      let text = String(decoding: Array(try readText(host.postgresLog).utf8.dropFirst(length)), as: UTF8.self)
      seen.all += changingStatements(text).map {
        Doing(host: host.name, kind: "sql", database: $0.database, text: withoutNonces($0.text))
      }
    }
    let journal = try await journalledDeeds().filter { $0.id?.rawValue ?? 0 > before }
    for deed in journal { #expect(deed.outcome == .done && deed.ended != nil && deed.run != nil, "\(deed)") }
    return PlayedDoings(seen: seen, journal: Doings(all: journal.map(Doing.init), output: result.output))
  }

  func journalledDeeds() async throws -> [DeedRow] {
    let directory = lab.inventoryFile.split(separator: "/").dropLast().joined(separator: "/")
    let journal = try await Journal.open(stateDirectory: StateDirectory(path: "/\(directory)/.pgconvoy"))
    return try await journal.perform { file throws(ConvoyError) in try file.deeds(migration: "lab") }
  }
}

extension Doing {
  init(_ deed: DeedRow) {
    var (database, text) = ("", deed.text[...])
    if deed.kind == "sql", let colon = text.firstRange(of: ": ") {
      database = String(text[..<colon.lowerBound])
      text = text[colon.upperBound...]
    }
    self.init(
      step: deed.step, host: deed.host ?? "", kind: deed.kind, database: database, text: withoutNonces(String(text)))
  }
}

/// Statements of pgconvoy's role in a server's log that change something, parameters filled in.
private func changingStatements(_ log: String) -> [(database: String, text: String)] {
  var entries: [String] = []
  for line in log.split(separator: "\n", omittingEmptySubsequences: false) {
    if line.hasPrefix("\t"), !entries.isEmpty {
      entries[entries.count - 1] += "\n" + line.dropFirst()
    } else {
      entries.append(String(line))
    }
  }
  var found: [(database: String, text: String)] = []
  for entry in entries {
    guard let user = entry.firstRange(of: "] pgconvoy@") else { continue }
    let rest = entry[user.upperBound...]
    let database = String(rest.prefix { $0 != " " })
    if let statement = rest.firstRange(of: "LOG:  statement: ") {
      found.append((database, String(rest[statement.upperBound...])))
    } else if let statement = rest.firstRange(of: "LOG:  execute <unnamed>: ") {
      found.append((database, String(rest[statement.upperBound...])))
    } else if let detail = rest.firstRange(of: "DETAIL:  parameters: "), let last = found.indices.last {
      for parameter in rest[detail.upperBound...].split(separator: ", $") {
        let parts = parameter.split(separator: " = ", maxSplits: 1)
        guard parts.count == 2 else { continue }
        found[last].text = found[last].text.replacing("$" + parts[0].drop { $0 == "$" }, with: parts[1])
      }
    }
  }
  return found.filter { isChange($0.text) }
}

private func isChange(_ statement: String) -> Bool {
  let calls = [
    "pg_create_", "pg_drop_", "pg_logical_emit_message", "pg_replication_origin_create", "pg_replication_origin_drop",
    "pg_replication_origin_advance", "pg_terminate_backend", "pg_reload_conf", "pg_replication_slot_advance", "setval",
  ]
  let verbs = [
    "ALTER", "CREATE", "DROP", "COMMENT", "GRANT", "ROLLBACK PREPARED", "INSERT", "UPDATE", "DELETE", "TRUNCATE",
    "COPY",
    "ANALYZE", "BEGIN; DROP",
  ]
  // The record's own upkeep, which stands in docs/explanation/journal.md.
  if statement.hasPrefix("INSERT INTO pgconvoy_record.") { return false }
  return calls.contains { statement.contains($0) } || verbs.contains { statement.hasPrefix($0) }
}

/// Nonces and positions are not known beforehand.
func withoutNonces(_ text: String) -> String {
  var result = ""
  var rest = text[...]
  while let start = rest.firstIndex(where: { $0.isHexDigit && !$0.isUppercase }) {
    result += rest[..<start]
    let run = rest[start...].prefix { $0.isHexDigit && !$0.isUppercase }
    result += run.count == 12 || run.count == 24 ? "NONCE" : run
    rest = rest[run.endIndex...]
  }
  result += rest
  return result.replacing(#/'(<hand-off>|<the [a-z]+'+s position>|[0-9A-F]+\/[0-9A-F]+)'/#, with: "'<position>'")
}
