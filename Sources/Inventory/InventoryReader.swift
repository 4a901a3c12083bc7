/// Turns an inventory's YAML into checked values: first every value by itself, then, when all could be read, what
/// they say about each other.
struct InventoryReader {
  let path: String
  let user: LocalUser
  let paths: PathRules
  let problems = YAMLProblems(area: "inventory")

  init(path: String, user: LocalUser) {
    self.path = path
    self.user = user
    paths = PathRules(inventoryPath: path, home: user.home)
  }

  func inventory(_ root: YAMLValue) throws(InputErrors) -> FleetInventory {
    guard let fields = problems.fields(root, of: "the inventory", keys: InventoryKeys.root) else {
      try problems.throwIfAny()
      return FleetInventory(path: path, hosts: [], migrations: [], groups: [], warnings: [])
    }
    let defaults = fields["defaults"].flatMap {
      problems.fields($0, of: "defaults", keys: InventoryKeys.defaults)
    }
    let hosts = named(fields, "hosts", required: true).compactMap { host($0, defaults: defaults) }
    let drafts = named(fields, "migrations", required: true).compactMap { migration($0, defaults: defaults) }
    let groupDrafts = named(fields, "groups", required: false).compactMap(group)
    // Defaults that every host and migration overrides are checked too.
    if let defaults { checkDefaults(defaults) }
    try problems.throwIfAny()

    let migrations = resolve(drafts, hosts: hosts)
    let groups = check(groupDrafts, against: drafts)
    try problems.throwIfAny()
    return FleetInventory(
      path: path, hosts: hosts, migrations: migrations, groups: groups, warnings: passwordWarnings(hosts))
  }

  /// The entries of a mapping from names to things, their names checked.
  private func named(_ fields: YAMLFields, _ key: String, required: Bool) -> [YAMLEntry] {
    guard let entry = required ? fields.required(key, problems) : fields[key] else { return [] }
    guard let entries = problems.entries(entry) else { return [] }
    if entries.isEmpty, required {
      problems.add("empty", "\(key) is empty", at: entry.place, hint: "describe at least one")
    }
    return entries.filter { isName($0, in: key) }
  }

  private func isName(_ entry: YAMLEntry, in key: String) -> Bool {
    let name = entry.key
    let allowed = name.unicodeScalars.allSatisfy {
      $0.properties.isAlphabetic || "0123456789._-".unicodeScalars.contains($0)
    }
    let first = name.unicodeScalars.first
    if !allowed || first == nil || first == "-" || first == "." {
      problems.add(
        "bad-name", "'\(name)' cannot be a name in \(key)", at: entry.place,
        hint: "letters, digits, '.', '_' and '-', with a letter, digit or '_' first")
      return false
    }
    if name == "all", key != "hosts" {
      problems.add("bad-name", "'all' cannot be a name in \(key)", at: entry.place, hint: "'all' means every migration")
      return false
    }
    return true
  }

  private func group(_ entry: YAMLEntry) -> GroupDraft? {
    guard let members = problems.list(entry) else { return nil }
    guard problems.strings(entry) != nil else { return nil }
    return GroupDraft(entry: entry, members: members)
  }

  private func checkDefaults(_ defaults: YAMLFields) {
    let origins = OriginRecorder()
    let layers = Layers(prefix: "", layers: [defaults], problems: problems, origins: origins)
    _ = ssh(layers)
    _ = postgres(layers, address: "")
    _ = serviceDirectory(layers)
    _ = except(layers)
    _ = settings(layers)
  }

  // MARK: What values say about each other

  private func resolve(_ drafts: [MigrationDraft], hosts: [Host]) -> [Migration] {
    var targets: [String: String] = [:]
    var migrations: [Migration] = []
    for draft in drafts {
      guard let source = find(draft.source, in: hosts), let target = find(draft.target, in: hosts) else { continue }
      let place = draft.target.value.place
      if source.name == target.name {
        problems.add(
          "same-host", "source and target of migration \(draft.name) are the same host, \(target.name)", at: place,
          hint: "a migration needs two hosts")
      } else if source.postgres.replicationAddress == target.postgres.replicationAddress,
        source.postgres.port == target.postgres.port
      {
        problems.add(
          "same-server",
          "source and target of migration \(draft.name) are the same server, "
            + "\(target.postgres.replicationAddress):\(target.postgres.port)", at: place,
          hint: "give \(source.name) and \(target.name) addresses or ports of their own")
      } else if let other = targets[target.name] {
        problems.add(
          "shared-target", "host \(target.name) is already the target of migration \(other)", at: place,
          hint: "the copy replaces the target's whole data directory; each migration needs a target of its own")
      } else {
        targets[target.name] = draft.name
        let sync = sync(draft.settings.sync, source: source, target: target, hosts: hosts)
        migrations.append(draft.migration(source: source, target: target, sync: sync, hosts: hosts))
      }
    }
    return migrations
  }

  private func find(_ entry: YAMLEntry, in hosts: [Host]) -> Host? {
    let name = entry.value.text ?? ""
    if let host = hosts.first(where: { $0.name == name }) { return host }
    problems.add(
      "unknown-host", "unknown host '\(name)'", at: entry.value.place,
      hint: suggestion(for: name, among: hosts.map(\.name), what: "hosts"))
    return nil
  }

  private func check(_ groups: [GroupDraft], against migrations: [MigrationDraft]) -> [MigrationGroup] {
    let known = migrations.map(\.name)
    return groups.map { group in
      if known.contains(group.entry.key) {
        problems.add(
          "name-clash", "group '\(group.entry.key)' has the name of a migration", at: group.entry.place,
          hint: "patterns could not tell them apart; rename one of the two")
      }
      for member in group.members {
        let name = member.value.text ?? ""
        if known.contains(name) { continue }
        problems.add(
          "unknown-migration", "group \(group.entry.key) names an unknown migration '\(name)'", at: member.value.place,
          hint: suggestion(for: name, among: known, what: "migrations"))
      }
      return MigrationGroup(
        name: group.entry.key, members: group.members.compactMap(\.value.text), place: group.entry.place)
    }
  }
}

/// A group before its members are looked up.
struct GroupDraft {
  let entry: YAMLEntry
  let members: [YAMLEntry]
}
