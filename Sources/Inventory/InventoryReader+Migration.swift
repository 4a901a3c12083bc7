import LogicalDecoding
import ReplicationModel

/// A migration before its hosts are looked up.
struct MigrationDraft {
  let name: String
  let source: YAMLEntry
  let target: YAMLEntry
  let databases: DatabaseSelection
  let settings: MigrationSettings
  let place: SourcePlace
  let origins: [String: Origin]

  func migration(source: Host, target: Host, sync: SyncSettings, hosts: [Host]) -> Migration {
    Migration(
      name: name, source: source, target: target, databases: databases, services: settings.services,
      versionCheck: settings.versionCheck, plugin: settings.plugin, ddl: settings.ddl, oldData: settings.oldData,
      handOff: settings.handOff, cutover: settings.cutover, baseBackup: settings.baseBackup,
      allowRestart: settings.allowRestart, sync: sync, syncHosts: hosts.filter { !$0.isLocal }, place: place,
      origins: origins)
  }
}

/// What a migration and `defaults` may both say.
struct MigrationSettings {
  var services: [Service]
  var versionCheck: String?
  var plugin: OutputPlugin
  var ddl: DDLMode
  var oldData: OldDataPolicy
  var handOff: HandOffSettings
  var cutover: CutoverSettings
  var baseBackup: BaseBackupSettings
  var allowRestart: Set<Side>
  var sync: SyncDraft
}

extension InventoryReader {
  func migration(_ entry: YAMLEntry, defaults: YAMLFields?) -> MigrationDraft? {
    let name = entry.key
    guard let own = problems.fields(entry, of: "migration \(name)", keys: InventoryKeys.migration) else { return nil }
    let origins = OriginRecorder()
    let layers = Layers(
      prefix: "", layers: [own] + (defaults.map { [$0] } ?? []), problems: problems, origins: origins)
    let source = end("source", of: own, origins)
    let target = end("target", of: own, origins)
    let selection = DatabaseSelection(
      include: layers.optional("databases", databases), except: except(layers))
    let settings = settings(layers)
    guard let source, let target else { return nil }
    return MigrationDraft(
      name: name, source: source, target: target, databases: selection, settings: settings, place: entry.place,
      origins: origins.origins)
  }

  private func end(_ key: String, of own: YAMLFields, _ origins: OriginRecorder) -> YAMLEntry? {
    guard let entry = own.required(key, problems), problems.string(entry) != nil else { return nil }
    origins.record(key, .file(entry.value.place))
    return entry
  }

  /// Nil for `all`, and after an error.
  private func databases(_ entry: YAMLEntry) -> [Glob]? {
    if entry.value.text == "all" { return nil }
    guard case .sequence(let elements) = entry.value.content else {
      problems.add(
        "wrong-type", "databases must be all or a list of names, not \(entry.value.summary)", at: entry.value.place)
      return nil
    }
    if elements.isEmpty {
      problems.add(
        "empty", "databases is empty", at: entry.value.place, hint: "name at least one, or write 'databases: all'")
      return nil
    }
    return problems.strings(entry)?.map(Glob.init)
  }

  func except(_ layers: Layers) -> [Glob] {
    layers.value("except", default: []) { problems.strings($0)?.map(Glob.init) }
  }

  func settings(_ layers: Layers) -> MigrationSettings {
    let handOff = layers.inner("hand_off", keys: InventoryKeys.handOff)
    let cutover = layers.inner("cutover", keys: InventoryKeys.cutover)
    return MigrationSettings(
      services: layers.value("services", default: [], services),
      versionCheck: layers.optional("version_check", problems.string),
      plugin: layers.value("plugin", default: .usual) { problems.choice($0) },
      ddl: layers.value("ddl", default: .report) { problems.choice($0) },
      oldData: layers.value("old_data", default: .keep) { problems.choice($0) },
      handOff: HandOffSettings(
        lockTimeout: handOff.value("lock_timeout", default: .seconds(60), problems.duration),
        deadline: handOff.value("deadline", default: .seconds(900), problems.duration)),
      cutover: CutoverSettings(
        maxLagBytes: cutover.value("max_lag_bytes", default: 16 << 20, problems.size),
        maxLag: cutover.value("max_lag_seconds", default: .seconds(10), problems.duration),
        drainDeadline: cutover.value("drain_deadline", default: .seconds(120), problems.duration),
        verify: cutover.value("verify", default: .full) { problems.choice($0) },
        verifyBudget: cutover.optional("verify_budget", problems.duration),
        copyUnlogged: cutover.value("copy_unlogged", default: false, problems.boolean)),
      baseBackup: baseBackup(layers),
      allowRestart: layers.value("allow_restart", default: [], sides), sync: sync(layers))
  }

  private func baseBackup(_ outer: Layers) -> BaseBackupSettings {
    let layers = outer.inner("base_backup", keys: InventoryKeys.baseBackup)
    return BaseBackupSettings(
      maxRate: layers.optional("max_rate", maxRate),
      checkpoint: layers.value("checkpoint", default: .fast) { problems.choice($0) },
      compress: layers.optional("compress", problems.string),
      tablespaceMapping: layers.value("tablespace_mapping", default: [:], tablespaceMapping),
      walDirectory: layers.optional("wal_directory") { paths.remote($0, problems) })
  }

  /// pg_basebackup takes 32 kB to 1 GB a second.
  /// <https://www.postgresql.org/docs/15/app-pgbasebackup.html>
  private func maxRate(_ entry: YAMLEntry) -> UInt64? {
    guard let rate = problems.size(entry) else { return nil }
    if (32 << 10...1 << 30).contains(rate) { return rate }
    problems.add(
      "wrong-type", "max_rate must be from 32kB to 1GB a second, not \(entry.value.summary)", at: entry.value.place)
    return nil
  }

  private func tablespaceMapping(_ entry: YAMLEntry) -> [String: String]? {
    guard let entries = problems.entries(entry) else { return nil }
    var mapping: [String: String] = [:]
    for pair in entries {
      let old = YAMLEntry(
        key: "tablespace_mapping", place: pair.place,
        value: YAMLValue(.scalar(text: pair.key, isPlain: false), at: pair.place))
      let new = YAMLEntry(key: "tablespace_mapping", place: pair.place, value: pair.value)
      guard let from = paths.remote(old, problems), let to = paths.remote(new, problems) else { return nil }
      mapping[from] = to
    }
    return mapping
  }

  private func sides(_ entry: YAMLEntry) -> Set<Side>? {
    guard let elements = problems.list(entry) else { return nil }
    var sides: Set<Side> = []
    for element in elements {
      guard let side: Side = problems.choice(element) else { return nil }
      sides.insert(side)
    }
    return sides
  }

  // MARK: Services

  private func services(_ entry: YAMLEntry) -> [Service]? {
    guard let elements = problems.list(entry) else { return nil }
    var services: [Service] = []
    for element in elements {
      guard let service = service(element.value) else { continue }
      if services.contains(where: { $0.name == service.name && !$0.on.isDisjoint(with: service.on) }) {
        problems.add(
          "duplicate-service", "service \(service.name) is listed twice", at: element.value.place,
          hint: "remove one, or give them different sides with 'on'")
      }
      services.append(service)
    }
    return services
  }

  /// - Parameter ofPostgres: it is what runs PostgreSQL itself.
  func service(_ value: YAMLValue, ofPostgres: Bool = false) -> Service? {
    let keys = ofPostgres ? InventoryKeys.postgresService : InventoryKeys.service
    guard let fields = problems.fields(value, of: "a service", keys: keys) else { return nil }
    guard let nameEntry = fields.required("name", problems) else { return nil }
    let name = problems.string(nameEntry)
    let manager: ServiceManager? = fields.required("manager", problems).flatMap { problems.choice($0) }
    let on = fields["on"].map { entry -> Set<Side>? in
      guard let chosen = sides(entry) else { return nil }
      if chosen.isEmpty {
        problems.add("empty", "on is empty", at: entry.value.place, hint: "name source, target or both")
        return nil
      }
      return chosen
    }
    let directory = fields["directory"].flatMap { paths.remote($0, problems) }
    guard let name, let manager else { return nil }
    if !ofPostgres, isPostgres(name) {
      problems.add(
        "service-is-postgresql", "service \(name) is PostgreSQL itself", at: nameEntry.value.place,
        hint:
          "list only the services that use the databases; what runs PostgreSQL stands in postgres.service of its host")
      return nil
    }
    if manager != .runit, let entry = fields["directory"] {
      problems.add(
        "conflicting-keys", "directory is for manager runit, not \(manager.rawValue)", at: entry.place,
        hint: "remove it")
    }
    guard let commands = commands(fields, name: name, manager: manager) else { return nil }
    return Service(
      name: name, manager: manager, on: (on ?? Set(Side.allCases)) ?? [], directory: directory,
      commands: commands,
      place: value.place)
  }

  /// Start, stop and status: all three for manager `command`, none (a nil inside) for the others; nil after an error.
  private func commands(_ fields: YAMLFields, name: String, manager: ServiceManager) -> ServiceCommands?? {
    let keys = ["start", "stop", "status"]
    guard manager == .command else {
      guard let entry = fields.entries.first(where: { keys.contains($0.key) }) else { return .some(nil) }
      problems.add(
        "conflicting-keys", "\(entry.key) is for manager command, not \(manager.rawValue)", at: entry.place,
        hint: "remove it, or write 'manager: command'")
      return nil
    }
    if let missing = keys.first(where: { fields[$0] == nil }) {
      problems.add(
        "missing-key", "service \(name) has no '\(missing)'", at: fields.place,
        hint: "manager command needs start, stop and status")
      return nil
    }
    let texts = keys.compactMap { fields[$0].flatMap(problems.string) }
    guard texts.count == 3 else { return nil }
    return .some(ServiceCommands(start: texts[0], stop: texts[1], status: texts[2]))
  }

  /// `postgresql`, `postgresql-15`, `postgresql@15-main.service`, `postgres`.
  private func isPostgres(_ name: String) -> Bool {
    var rest = name.hasSuffix(".service") ? name.dropLast(8) : name[...]
    rest = rest.prefix { $0 != "@" }
    guard let word = ["postgresql", "postgres"].first(where: { rest.hasPrefix($0) }) else { return false }
    return rest.dropFirst(word.count).allSatisfy { $0.isNumber || $0 == "-" || $0 == "." }
  }
}
