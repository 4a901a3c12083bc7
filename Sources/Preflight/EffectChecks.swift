import Inventory
import MigrationCore
import Presentation
import ReplicationModel

/// What the migration would do to those who use the servers, without meaning to.
package enum EffectChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.connections", "connections are left for pgconvoy's sessions", connections),
    PreflightCheck("source.synchronous-standbys", "no commit waits for pgconvoy's walsenders", sourceStandbys),
    PreflightCheck("target.synchronous-standbys", "no commit waits for standbys that a copy has not", targetStandbys),
    PreflightCheck("source.background-workers", "no extension's processes are ended by the fence", workers),
  ]

  /// Beside one session in each database: control, the fence's watch, those who verify, look for drift and read a backlog.
  static let sessions = 12

  @Sendable static func connections(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    guard let limit = try facts.source.server.get().integer("max_connections") else { return [] }
    let used = try facts.cluster.get().clientBackends
    let needed = try facts.selected().count + sessions
    let host = facts.name(.source)
    if limit < needed {
      return [
        Finding(
          .error, "preflight.connections", host: host, object: "max_connections",
          "max_connections is \(limit), pgconvoy alone needs \(needed) during the cutover",
          consequence: "the cutover would fail, and be undone",
          remedy: "ALTER SYSTEM SET max_connections = \(needed + used); then restart PostgreSQL on \(host)")
      ]
    }
    guard limit - used < needed else { return [] }
    return [
      Finding(
        .warning, "preflight.connections", host: host, object: "max_connections",
        "\(HumanFormat.counted(max(0, limit - used), "connection")) left of \(limit), \(needed) needed during the "
          + "cutover",
        consequence: "workers have to wait for one, and a cutover that gets none fails and is undone",
        remedy:
          "make the applications' pools smaller, or ALTER SYSTEM SET max_connections = \(needed + used); then restart "
          + "PostgreSQL on \(host)")
    ]
  }

  /// A walsender counts as a standby by its application_name, logical ones too: `*` means ours as well.
  @Sendable static func sourceStandbys(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let setting = try facts.source.server.get().settings[SynchronousStandbys.setting] ?? ""
    guard SynchronousStandbys(setting).includes(where: { $0.hasPrefix("pgconvoy") }) else { return [] }
    let standbys = try facts.cluster.get().standbys
    let names = standbys.isEmpty ? "\"name of a standby\"" : standbys.map(quotedIdentifier).joined(separator: ", ")
    return [
      Finding(
        .error, "preflight.synchronous-standbys", host: facts.name(.source), object: SynchronousStandbys.setting,
        "\(SynchronousStandbys.setting) is '\(setting)', which means pgconvoy's own walsenders too",
        consequence: "applications' commits would wait for the copy and the workers, or count on them instead of a "
          + "standby",
        remedy: "name the standbys: ALTER SYSTEM SET \(SynchronousStandbys.setting) = "
          + quotedLiteral("FIRST 1 (\(names))") + "; SELECT pg_reload_conf()")
    ]
  }

  /// What the copy will have once it is open: the target's own setting; or, where it has no cluster, what the source's
  /// postgresql.conf says.
  @Sendable static func targetStandbys(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let hasCluster = try facts.target.authentication.get() != nil
    let server = try (hasCluster ? facts.target : facts.source).server.get()
    let setting = server.settings[SynchronousStandbys.setting] ?? ""
    if setting.isEmpty || (!hasCluster && server.madeBySystem.contains(SynchronousStandbys.setting)) { return [] }
    let host = facts.name(.target)
    let resetting = "ALTER SYSTEM SET \(SynchronousStandbys.setting) = ''"
    return [
      Finding(
        .error, "preflight.synchronous-standbys", host: host, object: SynchronousStandbys.setting,
        "\(SynchronousStandbys.setting) will be '\(setting)' on \(host) when it opens",
        consequence: "every commit would wait for standbys that no new server has, and with * for pgconvoy's way back",
        remedy: hasCluster
          ? "on \(host): \(resetting); SELECT pg_reload_conf(); set it again when the new server has standbys"
          : "on \(facts.name(.source)), move it from postgresql.conf to ALTER SYSTEM, which the copy leaves behind")
    ]
  }

  @Sendable static func workers(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let workers = try facts.cluster.get().backgroundWorkers
    guard !workers.isEmpty else { return [] }
    return [
      Finding(
        .warning, "preflight.background-workers", host: facts.name(.source),
        "background workers of extensions are in its databases: \(shortList(workers))",
        consequence:
          "they may write, so the fence ends them; after a cutover that is undone, some of them stay away until "
          + "PostgreSQL is restarted",
        remedy: "stop what they do before the cutover, and look for them in pg_stat_activity after one that was undone")
    ]
  }
}

/// What `synchronous_standby_names` says: `a, "b c"`, `FIRST 2 (a, *)`, `ANY 1 (*)`, `2 (a, b)`.
/// <https://www.postgresql.org/docs/15/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>
struct SynchronousStandbys: Equatable {
  static let setting = "synchronous_standby_names"

  /// In lower case, as they are compared.
  private(set) var names: [String] = []
  /// `*`: whoever connects.
  private(set) var isAny = false

  init(_ text: String) {
    // The method and the number stand before the parenthesis, and are no names.
    let list = Self.tokens(text)
    let start = list.firstIndex(of: .opening).map { $0 + 1 } ?? 0
    for token in list[start...] {
      switch token {
      case .word("*"): isAny = true
      case .word(let name), .quoted(let name): names.append(name.lowercased())
      case .opening: break
      }
    }
  }

  func includes(where isOne: (String) -> Bool) -> Bool { isAny || names.contains(where: isOne) }

  private enum Token: Equatable { case word(String), quoted(String), opening }

  private static func tokens(_ text: String) -> [Token] {
    var tokens: [Token] = []
    var rest = text[...]
    while let first = rest.first {
      if first == "\"" {
        var name = ""
        rest.removeFirst()
        while let next = rest.popFirst() {
          if next == "\"" {
            guard rest.first == "\"" else { break }
            rest.removeFirst()
          }
          name.append(next)
        }
        tokens.append(.quoted(name))
      } else if first == "(" || first == ")" || first == "," || first.isWhitespace {
        if first == "(" { tokens.append(.opening) }
        rest.removeFirst()
      } else {
        let word = rest.prefix { !"(),\"".contains($0) && !$0.isWhitespace }
        tokens.append(.word(String(word)))
        rest = rest.dropFirst(word.count)
      }
    }
    return tokens
  }
}
