import FoundationEssentials
import Lab
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// What `--check` announces is what a run does then: the same commands and files on each host in the same order, the
  /// same statements on each server.
  @Suite(.serialized) struct CheckTellsTheTruth {
    @Test func aRunDoesJustWhatCheckHasAnnounced() async throws {
      try await Scenario.run(databases: ["alpha"]) { scenario in
        try await leaveSomethingToInherit(scenario)
        let copy = ["preflight", "base_backup", "start_standby"]
        let whole = try scenario.playbook(steps: copy + ["hand_off"])
        let announced = try await announcements(scenario, whole)
        let first = try await executed(scenario, try scenario.playbook(steps: copy))
        try expectAnnouncedSettings(announced, scenario)
        // Asked again in the middle, the rest is announced with the names that exist by now.
        let rest = try await announcements(scenario, whole)
        let second = try await executed(scenario, whole)

        for host in [scenario.source.name, scenario.target.name] {
          let deeds = (first.deeds[host] ?? []) + (second.deeds[host] ?? [])
          expectSame(announced.deeds[host] ?? [], deeds, host)
          expectSame(rest.deeds[host] ?? [], second.deeds[host] ?? [], "\(host), the rest")
          let statements = (first.statements[host] ?? []) + (second.statements[host] ?? [])
          expectSame(announced.statements[host] ?? [], statements.sorted(), host)
          expectSame(rest.statements[host] ?? [], second.statements[host] ?? [], "\(host), the rest")
        }
        #expect(announced.deeds[scenario.target.name]?.count ?? 0 > 15)
        #expect(announced.statements[scenario.target.name]?.count ?? 0 > 5)

        let again = try await executed(scenario, whole)
        #expect(again.deeds.isEmpty && again.statements.isEmpty)
        #expect(again.output.contains("hand_off: already done"))
        try await theWayThereAndBack(scenario)
      }
    }

    /// Cutover, rollback, and the end, with which the target gets its old data back. The application stands still, so that sequences do.
    private func theWayThereAndBack(_ scenario: Scenario) async throws {
      try await scenario.application("stop")
      try await scenario.play("migrate")
      try await scenario.drained()
      for name in ["cutover", "rollback", "finish"] {
        let playbook = Scenario.shipped(name)
        let announced = try await announcements(scenario, playbook)
        let done = try await executed(scenario, playbook)
        for host in [scenario.source.name, scenario.target.name] {
          // Who is halfway through a login when the fence looks is not known beforehand.
          let deeds = (done.deeds[host] ?? []).filter { !$0.contains(": kill -TERM ") }
          expectSame(announced.deeds[host] ?? [], deeds, "\(name), \(host)")
          // Nor is whom it finds inside; workers move their slots on at any time, and what is worth an ANALYZE is known
          // when it is time.
          func own(_ doings: Doings) -> [String] {
            (doings.statements[host] ?? []).filter {
              !$0.contains("pg_replication_slot_advance") && !$0.contains("pg_terminate_backend")
                && !$0.contains("ANALYZE (SKIP_LOCKED)")
            }.sorted()
          }
          expectSame(own(announced), own(done), "\(name), \(host)")
          #expect(!own(announced).isEmpty || name == "finish" && host == scenario.target.name)
          #expect(announced.deeds[host]?.isEmpty == false || name == "finish" && host == scenario.source.name)
        }
      }
    }

    /// An origin, a prepared transaction and an enabled subscription, which the copy would have too.
    private func leaveSomethingToInherit(_ scenario: Scenario) async throws {
      for role in [Scenario.Role.source, .target] {
        try await scenario.sql(role, "ALTER ROLE pgconvoy SET log_statement = 'all'")
      }
      try await scenario.sql(.source, "SELECT pg_replication_origin_create('somebody_elses')")
      try await scenario.sql(
        .source,
        "CREATE SUBSCRIPTION inherited CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)")
      try await scenario.sql(.source, "ALTER SUBSCRIPTION inherited ENABLE")
    }

    /// Names the first difference.
    private func expectSame(_ announced: [String], _ done: [String], _ what: String) {
      for index in 0..<max(announced.count, done.count) {
        let pair = (
          index < announced.count ? announced[index] : "nothing", index < done.count ? done[index] : "nothing"
        )
        guard pair.0 != pair.1 else { continue }
        Issue.record("\(what), number \(index + 1): announced \(pair.0), done \(pair.1)")
        return
      }
    }

    private struct Doings {
      /// By host, in order: `run as postgres: …`, `write PATH`.
      var deeds: [String: [String]] = [:]
      /// By host, sorted: `DATABASE: STATEMENT`.
      var statements: [String: [String]] = [:]
      /// A new file's announced text, by path.
      var texts: [String: String] = [:]
      var output = ""
    }

    // MARK: announced

    private func announcements(_ scenario: Scenario, _ playbook: String) async throws -> Doings {
      let result = try await scenario.start("play", playbook, "--check", "--diff").result()
      try #require(result.status == 0, "\(result.text)")
      var doings = Doings(output: result.output)
      var lines = result.output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)[...]
      while let line = lines.popFirst() {
        guard line.hasPrefix("  "), !line.hasPrefix("    ") else { continue }
        var block: [String] = []
        while let next = lines.first, next.hasPrefix("    ") {
          block.append(String(next.dropFirst(4)))
          lines.removeFirst()
        }
        let words = line.dropFirst(2).split(separator: " ", maxSplits: 2).map(String.init)
        guard words.count == 3, words[1] == "on" else { continue }
        let rest = words[2]
        switch words[0] {
        case "run":
          let (host, text) = split(rest, block)
          doings.deeds[host, default: []].append("run " + normal(text))
        case "sql":
          let (place, text) = split(rest, block)
          let names = place.split(separator: ",").map { $0.drop { $0 == " " } }
          let database = names.last?.dropFirst("database ".count) ?? ""
          doings.statements[names.first.map(String.init) ?? "", default: []].append("\(database): " + normal(text))
        case "create", "change":
          let (host, path) = split(rest, [])
          doings.deeds[host, default: []].append("write " + normal(path))
          doings.texts[path] = block.filter { $0.hasPrefix("+") }.map { $0.dropFirst() + "\n" }.joined()
        default: break
        }
      }
      doings.statements = doings.statements.mapValues { $0.sorted() }
      return doings
    }

    /// `HOST: TEXT`, or `HOST:` with the text below.
    private func split(_ rest: String, _ block: [String]) -> (String, String) {
      guard let colon = rest.firstIndex(of: ":") else { return (rest, "") }
      let text = rest[rest.index(after: colon)...].drop { $0 == " " }
      return (String(rest[..<colon]), text.isEmpty ? block.joined(separator: "\n") : String(text))
    }

    /// The settings that the copy was given are those that were announced, to the letter.
    private func expectAnnouncedSettings(_ announced: Doings, _ scenario: Scenario) throws {
      for name in ["postgresql.auto.conf", "pgconvoy.kept.auto.conf"] {
        let text = try #require(announced.texts["\(scenario.target.dataDirectory).pgconvoy-copy/\(name)"])
        #expect(normal(try readText("\(scenario.target.dataDirectory)/\(name)")) == normal(text))
        #expect(!text.isEmpty)
      }
      let hba = try readText("\(scenario.target.dataDirectory)/pg_hba.conf")
      let path = "\(scenario.target.dataDirectory).pgconvoy-copy/pg_hba.conf"
      for line in try #require(announced.texts[path]).split(separator: "\n") { #expect(hba.contains(line)) }
    }

    // MARK: executed

    private func executed(_ scenario: Scenario, _ playbook: String) async throws -> Doings {
      let logs = [scenario.source, scenario.target].map { ($0, (try? readText($0.postgresLog))?.utf8.count ?? 0) }
      let result = try await scenario.start("play", playbook, "--yes", "-v", "--log-format", "json").result()
      try #require(result.status == 0, "\(result.text)")
      var doings = Doings(output: result.output)
      for line in result.errors.split(separator: "\n") {
        guard let entry = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8)),
          let host = entry["host"], let message = entry["message"]
        else { continue }
        if message.hasPrefix("write ") {
          doings.deeds[host, default: []].append(normal(message))
        } else if message.hasPrefix("run ") {
          let user = entry["user"].map { "as \($0): " } ?? ""
          doings.deeds[host, default: []].append("run " + user + normal(String(message.dropFirst(4))))
        }
      }
      for (host, length) in logs {
        let text = String(decoding: Array(try readText(host.postgresLog).utf8.dropFirst(length)), as: UTF8.self)
        let found = statements(text).filter(isChange).map(normal).sorted()
        if !found.isEmpty { doings.statements[host.name] = found }
      }
      return doings
    }

    /// Statements of pgconvoy's role in a server's log, parameters filled in.
    private func statements(_ log: String) -> [String] {
      var entries: [String] = []
      for line in log.split(separator: "\n", omittingEmptySubsequences: false) {
        if line.hasPrefix("\t"), !entries.isEmpty {
          entries[entries.count - 1] += "\n" + line.dropFirst()
        } else {
          entries.append(String(line))
        }
      }
      var found: [String] = []
      for entry in entries {
        guard let user = entry.firstRange(of: "] pgconvoy@") else { continue }
        let rest = entry[user.upperBound...]
        let database = rest.prefix { $0 != " " }
        if let statement = rest.firstRange(of: "LOG:  statement: ") {
          found.append("\(database): " + rest[statement.upperBound...])
        } else if let statement = rest.firstRange(of: "LOG:  execute <unnamed>: ") {
          found.append("\(database): " + rest[statement.upperBound...])
        } else if let detail = rest.firstRange(of: "DETAIL:  parameters: "), let last = found.indices.last {
          for parameter in rest[detail.upperBound...].split(separator: ", $") {
            let parts = parameter.split(separator: " = ", maxSplits: 1)
            guard parts.count == 2 else { continue }
            found[last] = found[last].replacing("$" + parts[0].drop { $0 == "$" }, with: parts[1])
          }
        }
      }
      return found
    }

    private func isChange(_ statement: String) -> Bool {
      let calls = [
        "pg_create_", "pg_drop_", "pg_logical_emit_message", "pg_replication_origin_create",
        "pg_replication_origin_drop",
        "pg_replication_origin_advance", "pg_terminate_backend", "pg_reload_conf", "pg_replication_slot_advance",
        "setval",
      ]
      let text = statement.drop { $0 != ":" }.dropFirst(2)
      let verbs = ["ALTER", "CREATE", "DROP", "COMMENT", "GRANT", "ROLLBACK PREPARED", "INSERT", "UPDATE", "DELETE"]
      return calls.contains { text.contains($0) } || verbs.contains { text.hasPrefix($0) }
    }

    /// Nonces and the hand-off's position are not known beforehand.
    private func normal(_ text: String) -> String {
      var result = ""
      var rest = text[...]
      while let start = rest.firstIndex(where: { $0.isHexDigit && !$0.isUppercase }) {
        result += rest[..<start]
        let run = rest[start...].prefix { $0.isHexDigit && !$0.isUppercase }
        result += run.count == 12 || run.count == 24 ? "NONCE" : run
        rest = rest[run.endIndex...]
      }
      result += rest
      result = result.replacing(/'<the [a-z]+'+s position>'/, with: "'<hand-off>'")
      guard result.contains("pg_replication_origin_advance"), !result.contains("<hand-off>"),
        let slash = result.firstIndex(of: "/")
      else {
        return result
      }
      let head = result[..<slash].reversed().drop(while: \.isHexDigit).reversed()
      let tail = result[result.index(after: slash)...].drop(while: \.isHexDigit)
      return String(head) + "<hand-off>" + tail
    }
  }
}
