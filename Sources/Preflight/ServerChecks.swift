package import Inventory
package import MigrationCore
import PostgresClient
import Presentation
import ReplicationModel

/// The two servers: whether they let us in, as whom, and whether the target can run what the source has.
package enum ServerChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.connection", "the source's server lets pgconvoy's role in", sourceConnection),
    PreflightCheck("target.connection", "so does the target's present server, where it runs", targetConnection),
    PreflightCheck("hosts.server", "source and target are not one server", sameServer),
    PreflightCheck("source.role", "pgconvoy's role is a superuser", role),
    PreflightCheck("source.own-role", "nobody else uses pgconvoy's role", ownRole),
    PreflightCheck("source.recovery", "the source is not a standby", recovery),
    PreflightCheck("hosts.postgres-version", "the target's programs are of the source's major version", version),
    PreflightCheck("source.configuration", "the source would start with its configuration files as they are") {
      facts throws(CheckNotMade) in try configuration(facts, .source)
    },
    PreflightCheck("target.configuration", "so would the target, whose copy keeps them") {
      facts throws(CheckNotMade) in try configuration(facts, .target)
    },
    PreflightCheck("source.authentication", "the source's pg_hba.conf can take a fence") {
      facts throws(CheckNotMade) in try authentication(facts, .source)
    },
    PreflightCheck("target.authentication", "the target's pg_hba.conf can take a quarantine") {
      facts throws(CheckNotMade) in try authentication(facts, .target)
    },
    PreflightCheck("target.settings", "settings that a standby must not have lower", settings),
    PreflightCheck("hosts.result-settings", "statements come to the same on both servers", resultSettings),
    PreflightCheck("hosts.collations", "text sorts the same on both hosts", collations),
  ]

  @Sendable static func sourceConnection(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    for error in [facts.source.role.error, facts.source.server.error, facts.cluster.error].compactMap(\.self) {
      return [Finding(error, host: facts.name(.source), consequence: "the source cannot be read")]
    }
    _ = try facts.source.role.get()
    return []
  }

  @Sendable static func targetConnection(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    if let error = facts.target.role.error {
      var finding = Finding(
        error, host: facts.name(.target),
        consequence: "the copy keeps the target's pg_hba.conf and address, and would not let pgconvoy in either")
      // Roles and passwords come with the copy; what stays is the file, the address, the port.
      if ["postgres.wrong-password", "postgres.no-password"].contains(finding.code) {
        finding.severity = .warning
        finding.consequence =
          "the copy has the source's roles and passwords; the password given for the target must be the source's"
      } else if ["postgres.no-role", "postgres.unknown-database"].contains(finding.code) {
        finding.severity = .note
        finding.consequence = "the copy brings the source's roles and databases along"
        finding.remedy = nil
      }
      return [finding]
    }
    if let error = facts.target.server.error {
      return [
        Finding(error, host: facts.name(.target), consequence: "the target's present settings are not known")
      ]
    }
    _ = try facts.target.role.get()
    return []
  }

  @Sendable static func sameServer(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.server.get()
    let target = try facts.target.server.get()
    guard source.systemIdentifier == target.systemIdentifier, source.startTime == target.startTime,
      source.dataDirectory == target.dataDirectory
    else { return [] }
    let address = facts.migration.target.postgres
    return [
      Finding(
        .error, "preflight.same-server", host: facts.name(.target), object: "\(address.address):\(address.port)",
        "the target's address \(address.address):\(address.port) leads to the source's server",
        consequence: "pgconvoy would stop and fence the source while it means the target",
        remedy: "correct postgres.address and postgres.port of \(facts.name(.target)) in the inventory")
    ]
  }

  @Sendable package static func role(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let role = try facts.source.role.get()
    guard !role.isSuperuser else { return [] }
    return [
      Finding(
        .error, "preflight.not-superuser", host: facts.name(.source), object: role.name,
        "role \(role.name) is not a superuser",
        consequence: "it could neither copy the server, nor make slots, nor fence other superusers out",
        remedy: "ALTER ROLE \(quotedIdentifier(role.name)) SUPERUSER REPLICATION")
    ]
  }

  @Sendable static func ownRole(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let sessions = try facts.cluster.get().sessionsOfOurRole
    guard !sessions.isEmpty else { return [] }
    let role = try facts.source.role.get().name
    let programs = Set(sessions.map { $0.isEmpty ? "no application name" : $0 }).sorted()
    return [
      Finding(
        .warning, "preflight.shared-role", host: facts.name(.source), object: role,
        "\(HumanFormat.counted(sessions.count, "other session")) as role \(role): \(shortList(programs))",
        consequence: "a fence lets that role in, so these could write during the cutover",
        remedy: "CREATE ROLE pgconvoy LOGIN SUPERUSER REPLICATION PASSWORD '…'; and postgres.user: pgconvoy")
    ]
  }

  @Sendable package static func recovery(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    guard try facts.source.role.get().isInRecovery else { return [] }
    return [
      Finding(
        .error, "preflight.source-in-recovery", host: facts.name(.source), "the source is a standby",
        consequence: "no restore point, no fence and no cutover is possible on it",
        remedy: "name its primary as the source")
    ]
  }

  @Sendable package static func version(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.role.get().serverVersion
    let text = try facts.target.machine.get().postgresVersion
    let host = facts.name(.target)
    guard let target = ProgramVersion(parsing: text) else {
      return [
        Finding(
          .error, "preflight.postgres-version", host: host, "postgres --version says '\(text)' on the target",
          consequence: "nobody knows whether it can run a copy of the source",
          remedy: "set postgres.bin_directory of \(host) to the directory of PostgreSQL \(source / 10000)'s programs")
      ]
    }
    if target.major != source / 10000 {
      return [
        Finding(
          .error, "preflight.postgres-version", host: host,
          "the source runs PostgreSQL \(source / 10000), the target's programs are of version \(target.major)",
          consequence: "a physical copy starts under its own major version only",
          remedy: "install PostgreSQL \(source / 10000) on \(host), or set its postgres.bin_directory")
      ]
    }
    guard let minor = target.minor, minor < source % 10000 else { return [] }
    return [
      Finding(
        .warning, "preflight.postgres-minor-version", host: host,
        "the target's programs are \(target.major).\(minor), the source runs \(target.major).\(source % 10000)",
        consequence: "bugs that are mended on the source come back with the cutover",
        remedy: "update PostgreSQL on \(host)")
    ]
  }

  static func configuration(_ facts: PreflightFacts, _ side: Side) throws(CheckNotMade) -> [Finding] {
    guard let error = try facts[side].configurationError.get() else { return [] }
    return [
      Finding(
        .error, "preflight.broken-configuration", host: facts.name(side),
        object: try facts[side].installation.get().dataDirectory, "the configuration has an error: \(error)",
        consequence: side == .source
          ? "the server would not start again, and a reload changes no setting, without a word"
          : "the copy keeps these files, and would not start with them",
        remedy: "mend it; SELECT * FROM pg_file_settings WHERE error IS NOT NULL shows what is left")
    ]
  }

  package static func authentication(_ facts: PreflightFacts, _ side: Side) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(side)
    if let error = facts[side].authentication.error {
      return [Finding(error, host: host, consequence: "writers could not be kept out at the cutover")]
    }
    guard let file = try facts[side].authentication.get() else { return [] }
    var findings: [Finding] = []
    if let line = file.brokenLine {
      findings.append(
        Finding(
          .error, "preflight.broken-hba", host: host, object: file.path, "\(file.path), \(line)",
          consequence: "the server goes on with its old rules without a word, and a fence would not hold",
          remedy: "mend that line, then SELECT pg_reload_conf()"))
    }
    let settings = facts.migration.host(side).postgres
    if let obstacle = file.replacingObstacle {
      findings.append(
        Finding(
          .error, "preflight.hba-not-replaceable", host: host, object: file.path,
          "\(settings.osUser) cannot replace \(file.path): \(obstacle)",
          consequence: "the fence is a block in that file, and could be neither put there nor taken away",
          remedy: "chown \(settings.osUser) \(file.path), in a directory that \(settings.osUser) can write to"))
    }
    if let obstacle = file.fenceObstacle {
      findings.append(
        Finding(
          .error, "preflight.no-own-record", host: host, object: file.path, obstacle,
          consequence: "the cutover could not be fenced without locking pgconvoy out",
          remedy: "in \(file.path): host all \(quotedIdentifier(settings.user)) ADDRESS/32 scram-sha-256"))
    }
    if file.isFenced {
      findings.append(
        Finding(
          .warning, "preflight.fence-standing", host: host, object: file.path,
          "a fence of pgconvoy stands in \(file.path)", consequence: "nobody but \(settings.user) gets in",
          remedy: "if no migration needs it, run a playbook with the step unfence: { on: \(side.rawValue) }"))
    }
    return findings
  }

  package static let standbyMinimums = [
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction",
  ]

  @Sendable package static func settings(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.server.get()
    let target = try facts.target.server.get()
    let lower = standbyMinimums.compactMap { name -> String? in
      guard let ours = target.integer(name), let theirs = source.integer(name), ours < theirs else { return nil }
      return "\(name) (\(ours), source \(theirs))"
    }
    guard !lower.isEmpty else { return [] }
    return [
      Finding(
        .note, "preflight.settings-raised", host: facts.name(.target),
        "lower than on the source: "
          + lower.joined(separator: ", "),
        consequence: "a standby must not have them lower; the copy starts with the source's values")
    ]
  }

  @Sendable static func resultSettings(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let source = try facts.source.server.get()
    let target = try facts.target.server.get()
    guard let ours = source.resultSettings, let theirs = target.resultSettings else { return [] }
    let differences = ours.differences(from: theirs)
    guard !differences.isEmpty else { return [] }
    return [
      Finding(
        .warning, "preflight.result-settings", host: facts.name(.target), object: differences[0],
        "settings that change results are not the same (source, target): " + shortList(differences, limit: 30),
        consequence: "rows are applied under the source's; after the cutover a session that sets nothing itself gets "
          + "the target's",
        remedy: "set them on the target as on the source, in the file that has the target's settings, or now on the "
          + "source by ALTER DATABASE … SET, which the copy has too")
    ]
  }

  @Sendable static func collations(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    var findings: [Finding] = []
    let source = try facts.source.machine.get().cLibrary
    let target = try facts.target.machine.get().cLibrary
    if source != target {
      let affected = try facts.cluster.get().databases.filter(\.usesCLibraryLocale).map(\.name)
      let problem = "the C library is '\(source)' on the source, '\(target)' on the target"
      if affected.isEmpty {
        findings.append(
          Finding(
            .note, "preflight.collation-version", host: facts.name(.target), problem,
            consequence: "only indexes on columns with a COLLATE of their own may sort differently"))
      } else {
        findings.append(
          Finding(
            .warning, "preflight.collation-version", host: facts.name(.target), problem,
            consequence: "indexes on text may be in the wrong order on the copy, in: \(shortList(affected))",
            remedy: "after the hand-off, in each of these databases: REINDEX DATABASE CONCURRENTLY "
              + "\(affected.count == 1 ? quotedIdentifier(affected[0]) : "name")"))
      }
    }
    // Only a running server says which ICU it has.
    if let ours = facts.target.server.value?.icuVersion, let theirs = facts.source.server.value?.icuVersion,
      ours != theirs
    {
      findings.append(
        Finding(
          .warning, "preflight.icu-version", host: facts.name(.target),
          "ICU's collation version is \(theirs) on the source, \(ours) on the target",
          consequence: "indexes with ICU collations may be in the wrong order on the copy",
          remedy: "after the hand-off: REINDEX INDEX CONCURRENTLY for the indexes with ICU collations"))
    }
    return findings
  }
}

/// What `postgres --version` prints: `postgres (PostgreSQL) 15.20 (Debian 15.20-1)`, `… 19devel`.
struct ProgramVersion: Equatable {
  var major: Int
  /// Nil before a release.
  var minor: Int?

  init?(parsing text: String) {
    let words = text.split(separator: " ")
    guard let mark = words.firstIndex(where: { $0.hasPrefix("(") }), mark + 1 < words.count else { return nil }
    let word = words[mark + 1]
    let digits = word.prefix { $0.isNumber }
    guard let major = Int(digits) else { return nil }
    self.major = major
    let rest = word.dropFirst(digits.count)
    minor = rest.first == "." ? Int(rest.dropFirst().prefix { $0.isNumber }) : nil
  }
}
