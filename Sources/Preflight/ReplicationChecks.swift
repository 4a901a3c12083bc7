import HostAdmin
import Inventory
import LogicalDecoding
package import MigrationCore
import Presentation
import ReplicationModel

/// What physical and logical replication need of the source.
package enum ReplicationChecks {
  package static let all: [PreflightCheck] = [
    PreflightCheck("source.wal-level", "the source's WAL can be decoded", walLevel),
    PreflightCheck("source.replication-slots", "a slot is free for each database and one for the copy", slots),
    PreflightCheck("source.walsenders", "a walsender is free for each database and two for the copy", walsenders),
    PreflightCheck("source.slot-retention", "no limit takes the WAL away from a slot", retention),
    PreflightCheck("source.wal-space", "the source's disk holds a day's WAL, which slots may keep", walSpace),
    PreflightCheck("source.output-plugin", "the source can load the output plugin", sourcePlugin),
    PreflightCheck("target.output-plugin", "the target has it, for the way back", targetPlugin),
    PreflightCheck("target.replication-connection", "the target can connect to the source to replicate", connection),
    PreflightCheck("source.subscriptions", "no subscription writes on the source", subscriptions),
    PreflightCheck("source.other-slots", "nobody else reads the source's WAL from a slot", otherSlots),
  ]

  @Sendable static func walLevel(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let level = try facts.source.server.get().settings["wal_level"] ?? "unknown"
    guard level != "logical" else { return [] }
    return [
      Finding(
        .error, "preflight.wal-level", host: facts.name(.source), object: "wal_level", "wal_level is \(level)",
        consequence: "no logical slot can be made",
        remedy: "ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL on \(facts.name(.source))")
    ]
  }

  @Sendable package static func slots(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let used = try facts.cluster.get().slotsInUse
    return try room(facts, "max_replication_slots", used: used, more: 1, code: "preflight.replication-slots", "slot")
  }

  @Sendable static func walsenders(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let used = try facts.cluster.get().walsendersInUse
    return try room(facts, "max_wal_senders", used: used, more: 2, code: "preflight.walsenders", "walsender")
  }

  /// One for each database, and some more for the copy.
  private static func room(
    _ facts: PreflightFacts, _ setting: String, used: Int, more: Int, code: String, _ noun: String
  ) throws(CheckNotMade) -> [Finding] {
    guard let limit = try facts.source.server.get().integer(setting) else { return [] }
    let needed = try facts.selected().count + more
    guard limit - used < needed else { return [] }
    return [
      Finding(
        .error, code, host: facts.name(.source), object: setting,
        "\(HumanFormat.counted(max(0, limit - used), noun)) free of \(limit), \(needed) needed",
        consequence: "the hand-off would fail half-way through the databases",
        remedy: "ALTER SYSTEM SET \(setting) = \(used + needed); then restart PostgreSQL on \(facts.name(.source))")
    ]
  }

  @Sendable static func retention(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let settings = try facts.source.server.get().settings
    let host = facts.name(.source)
    var findings: [Finding] = []
    if let limit = settings["max_slot_wal_keep_size"], limit != "-1" {
      findings.append(
        Finding(
          .warning, "preflight.slot-wal-limit", host: host, object: "max_slot_wal_keep_size",
          "max_slot_wal_keep_size is \(limit) MB",
          consequence: "a slot that falls further behind is invalidated, and the migration begins anew",
          remedy: "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()"))
    }
    if let limit = settings["idle_replication_slot_timeout"], limit != "0" {
      findings.append(
        Finding(
          .warning, "preflight.slot-idle-limit", host: host, object: "idle_replication_slot_timeout",
          "idle_replication_slot_timeout is set (\(limit) s)",
          consequence: "a slot whose worker is parked or stopped that long is invalidated",
          remedy: "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()"))
    }
    return findings
  }

  /// Hours. A copy, a night and a worker that is parked until somebody comes.
  static let wantedHours = 24.0

  @Sendable static func walSpace(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let host = facts.name(.source)
    if let error = facts.sourceWAL.error {
      return [Finding(error, host: host, consequence: "nobody knows how much WAL the source's disk can hold")]
    }
    let place = try facts.sourceWAL.get()
    let rate = try facts.cluster.get().walRate
    let limit = try facts.source.server.get().integer("max_slot_wal_keep_size") ?? -1
    // A limit within what is free protects the disk; source.slot-retention speaks of it.
    if limit >= 0, UInt64(limit) << 20 <= place.freeBytes { return [] }
    let hours = rate == 0 ? .infinity : Double(place.freeBytes) / Double(rate) / 3600
    guard hours < wantedHours else { return [] }
    return [
      Finding(
        .warning, "preflight.wal-space", host: host, object: place.path,
        "\(HumanFormat.bytes(place.freeBytes, .sentence)) free at \(place.path), and "
          + "\(HumanFormat.bytes(rate, .sentence)) of WAL a second: "
          + "\(hours < 1 ? "\(Int(hours * 60)) minutes" : HumanFormat.counted(Int(hours), "hour"))",
        consequence: "slots keep WAL from the base backup until it is applied; a full disk stops the source",
        remedy: "make room there, or let slots be lost first: ALTER SYSTEM SET max_slot_wal_keep_size = "
          + "'\((place.freeBytes / 10 * 9) >> 20)MB'")
    ]
  }

  @Sendable static func sourcePlugin(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let version = try facts.source.role.get().serverVersion
    let plugin = facts.migration.plugin
    if version < plugin.since {
      return [
        Finding(
          .error, "preflight.output-plugin", host: facts.name(.source), object: plugin.name,
          "\(plugin.name) carries no logical messages before PostgreSQL \(plugin.since / 10000)",
          consequence: "the cutover would wait for its markers for ever",
          remedy: "set plugin: \(OutputPlugin.usual.name)")
      ]
    }
    guard let words = try facts.cluster.get().outputPluginError else { return [] }
    return [
      Finding(
        .error, "preflight.output-plugin", host: facts.name(.source), object: plugin.name,
        "\(plugin.name) cannot be loaded: \(words)", consequence: "no logical slot can be made", remedy: packageHint)
    ]
  }

  @Sendable static func targetPlugin(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let plugin = facts.migration.plugin.name
    let consequence = "there would be no way back after the cutover"
    switch try facts.target.machine.get().outputPlugin {
    case .present: return []
    case .missing(let directory):
      return [
        Finding(
          .error, "preflight.output-plugin", host: facts.name(.target), object: plugin,
          "\(directory) has no \(plugin).so", consequence: consequence, remedy: packageHint)
      ]
    case .unknown:
      return [
        Finding(
          .warning, "preflight.output-plugin", host: facts.name(.target), object: plugin,
          "\(plugin).so was not found, and pg_config is not there to say where to look",
          consequence: "if it is missing, " + consequence, remedy: packageHint)
      ]
    }
  }

  private static let packageHint = "install PostgreSQL's contrib package there"

  @Sendable package static func connection(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let consequence = "the base backup would fail"
    let host = facts.name(.target)
    if let error = facts.replication.error { return [Finding(error, host: host, consequence: consequence)] }
    let source = facts.migration.source.postgres
    let place = "\(source.address):\(source.port)"
    let server = try facts.source.server.get()
    switch try facts.replication.get() {
    case .identified(let identifier):
      guard identifier != server.systemIdentifier else { return [] }
      return [
        Finding(
          .error, "preflight.other-server", host: host, object: place,
          "seen from \(host), \(place) is another server than seen from here",
          consequence: "the copy would be of the wrong server",
          remedy: "give \(facts.name(.source)) a postgres.replication_address that the target can reach")
      ]
    case .refused(let words):
      let refusal = ReplicationRefusal(words)
      let method = server.settings["password_encryption"] == "md5" ? "md5" : "scram-sha-256"
      let file = facts.source.authentication.value??.path ?? "pg_hba.conf"
      var code: String
      var remedy: String
      switch refusal {
      case .noRecord(let address, _):
        let line =
          "host replication \(hbaName(source.user)) \(address ?? facts.migration.target.address)"
          + "\((address ?? "").contains(":") ? "/128" : "/32") \(method)"
        code = "preflight.replication-hba"
        remedy = "in \(file) on \(facts.name(.source)): \(line); then SELECT pg_reload_conf()"
      case .rejected:
        code = "preflight.replication-hba"
        remedy =
          "a reject line in \(file) on \(facts.name(.source)) comes before any that lets "
          + "\(source.user) replicate from \(host)"
      case .wrongPassword:
        code = "preflight.replication-password"
        remedy = "give pgconvoy the password of \(source.user) (passfile, password_env or password_command)"
      case .unreachable:
        code = "preflight.replication-unreachable"
        remedy = "open \(place) for \(host): listen_addresses, firewall"
      case .other:
        code = "preflight.replication-connection"
        remedy =
          "try on \(host): psql 'host=\(source.address) port=\(source.port) user=\(source.user) "
          + "replication=true' -c IDENTIFY_SYSTEM"
      }
      return [
        Finding(
          .error, code, host: host, object: place, "the target cannot replicate from the source: \(refusal.message)",
          consequence: consequence, remedy: remedy)
      ]
    }
  }

  /// A role's name as pg_hba.conf takes it.
  private static func hbaName(_ name: String) -> String {
    let isPlain = name.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || byte == UInt8(ascii: "_")
    }
    return isPlain && name != "all" ? name : quotedIdentifier(name)
  }

  @Sendable package static func otherSlots(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let slots = try facts.cluster.get().otherSlots
    guard !slots.isEmpty else { return [] }
    return [
      Finding(
        .warning, "preflight.other-slots", host: facts.name(.source), object: slots[0].name,
        "replication slots of others: "
          + shortList(slots.map { "\($0.name) (\($0.database.map { "logical, in \($0)" } ?? "physical"))" }),
        consequence: "the target has none of them: their readers get nothing of what is written there",
        remedy: "make a logical one on the target before applications write there, and have its reader begin anew; "
          + "make standbys anew from the target")
    ]
  }

  @Sendable package static func subscriptions(_ facts: PreflightFacts) throws(CheckNotMade) -> [Finding] {
    let subscriptions = try facts.cluster.get().subscriptions
    guard !subscriptions.isEmpty else { return [] }
    return [
      Finding(
        .warning, "preflight.subscriptions", host: facts.name(.source),
        "enabled subscriptions: " + shortList(subscriptions.map { "\($0.name) in \($0.database)" }),
        consequence: "the fence disables them at the cutover, and the copy does not take them over",
        remedy: "plan to create them on the target after the cutover")
    ]
  }
}
