import LogicalDecoding
import Presentation
import ReplicationModel

/// Renders an inventory for people: `pgconvoy inventory list` and `inventory show`. Passwords never show.
public enum InventoryText {
  /// One line a migration: name, source, target, databases, groups.
  public static func list(_ inventory: FleetInventory) -> String {
    var table = TextTable(titles: ["MIGRATION", "SOURCE", "TARGET", "DATABASES", "GROUPS"])
    for migration in inventory.migrations {
      let groups = inventory.groups.filter { $0.members.contains(migration.name) }.map(\.name)
      table.add([
        migration.name, end(migration.source), end(migration.target), text(migration.databases),
        groups.isEmpty ? "-" : groups.joined(separator: ","),
      ])
    }
    return table.text()
  }

  /// Everything about a migration with its hosts, or about a host, or a group's list; each value with its origin.
  /// Nil when nothing has that name.
  public static func show(_ inventory: FleetInventory, name: String) -> String? {
    if let migration = inventory.migration(named: name) {
      return [text(migration), text(migration.source), text(migration.target)].joined(separator: "\n")
    }
    if let host = inventory.host(named: name) { return text(host) }
    guard let group = inventory.group(named: name) else { return nil }
    var part = inventory
    part.migrations = inventory.migrations.filter { group.members.contains($0.name) }
    return list(part)
  }

  private static func end(_ host: Host) -> String {
    "\(host.name) (\(host.postgres.address):\(host.postgres.port))"
  }

  private static func text(_ selection: DatabaseSelection) -> String {
    let include = selection.include.map { $0.map(\.text).joined(separator: ",") } ?? "all"
    return selection.except.isEmpty
      ? include : "\(include) except \(selection.except.map(\.text).joined(separator: ","))"
  }

  // MARK: One thing in full

  private static func text(_ migration: Migration) -> String {
    let cutover = migration.cutover
    let backup = migration.baseBackup
    let mapping = backup.tablespaceMapping.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    let rows: [(String, String?)] = [
      ("source", migration.source.name),
      ("target", migration.target.name),
      ("databases", migration.databases.include.map { $0.map(\.text).joined(separator: ", ") } ?? "all"),
      ("except", list(migration.databases.except.map(\.text))),
      ("services", list(migration.services.map(text))),
      ("version_check", migration.versionCheck),
      ("plugin", migration.plugin.name),
      ("ddl", migration.ddl.rawValue),
      ("old_data", migration.oldData.rawValue),
      ("hand_off.lock_timeout", Quantities.text(migration.handOff.lockTimeout)),
      ("hand_off.deadline", Quantities.text(migration.handOff.deadline)),
      ("cutover.max_lag_bytes", Quantities.text(bytes: cutover.maxLagBytes)),
      ("cutover.max_lag_seconds", Quantities.text(cutover.maxLag)),
      ("cutover.drain_deadline", Quantities.text(cutover.drainDeadline)),
      ("cutover.verify", cutover.verify.rawValue),
      ("cutover.verify_budget", cutover.verifyBudget.map { Quantities.text($0) }),
      ("cutover.copy_unlogged", cutover.copyUnlogged ? "true" : "false"),
      ("base_backup.max_rate", backup.maxRate.map { Quantities.text(bytes: $0) }),
      ("base_backup.checkpoint", backup.checkpoint.rawValue),
      ("base_backup.compress", backup.compress),
      ("base_backup.tablespace_mapping", list(mapping)),
      ("base_backup.wal_directory", backup.walDirectory),
      ("sync.on", migration.sync.host ?? SyncSettings.workstation),
      ("sync.manager", migration.sync.manager.rawValue), ("sync.directory", migration.sync.directory),
      ("allow_restart", list(Side.allCases.filter(migration.allowRestart.contains).map(\.rawValue))),
    ]
    return "migration \(migration.name)  (\(Origin.file(migration.place)))\n" + settings(rows, migration.origins)
  }

  private static func text(_ service: Service) -> String {
    let sides = service.on.count == 2 ? "" : " on " + service.on.map(\.rawValue).sorted().joined(separator: ",")
    return "\(service.name) (\(service.manager.rawValue)\(sides))"
  }

  private static func text(_ host: Host) -> String {
    let ssh = host.ssh
    let postgres = host.postgres
    var rows: [(String, String?)] = [("address", host.address), ("transport", host.transport.rawValue)]
    if !host.isLocal {
      rows += [
        ("ssh.user", ssh.user), ("ssh.port", String(ssh.port)), ("ssh.identity_file", ssh.identityFile),
        ("ssh.known_hosts", ssh.knownHosts), ("ssh.agent", ssh.agent ? "true" : "false"),
        ("ssh.identities_only", ssh.identitiesOnly ? "true" : "false"),
        ("ssh.connect_timeout", Quantities.text(ssh.connectTimeout)),
        ("ssh.passphrase_command", ssh.passphraseCommand), ("ssh.proxy_jump", jumps(ssh)),
      ]
    }
    rows += [
      ("postgres.address", postgres.address), ("postgres.via", postgres.via.rawValue),
      ("postgres.replication_address", postgres.replicationAddress), ("postgres.port", String(postgres.port)),
      ("postgres.user", postgres.user), ("postgres.database", postgres.maintenanceDatabase),
      ("postgres.os_user", postgres.osUser), ("postgres.data_directory", postgres.dataDirectory),
      ("postgres.bin_directory", postgres.binDirectory), ("postgres.config_file", postgres.configFile),
      ("postgres.socket_directory", postgres.socketDirectory), ("postgres.log_file", postgres.logFile),
      ("postgres.service", postgres.service.map(text)),
      ("postgres.password", text(postgres.password)), ("postgres.sslmode", postgres.sslMode.rawValue),
      ("postgres.connect_timeout", Quantities.text(postgres.connectTimeout)),
      ("service_directory", host.serviceDirectory),
    ]
    return "host \(host.name)  (\(Origin.file(host.place)))\n" + settings(rows, host.origins)
  }

  private static func text(_ password: PasswordSource) -> String? {
    switch password {
    case .none: nil
    case .passfile(let path): "from passfile \(path)"
    case .command(let command): "from command \(command)"
    case .environment(let name): "from environment \(name)"
    case .inline(let secret): secret.description
    }
  }

  private static func list(_ items: [String]) -> String? {
    items.isEmpty ? nil : items.joined(separator: ", ")
  }

  private static func settings(_ rows: [(String, String?)], _ origins: [String: Origin]) -> String {
    var table = TextTable(columns: 3)
    for (key, value) in rows { table.add(["  \(key)", value ?? "-", origins[key, default: .builtIn].description]) }
    return table.text()
  }

  private static func jumps(_ ssh: SSHSettings) -> String? {
    guard !ssh.jumps.isEmpty else { return ssh.proxyJump }
    return ssh.jumps.map { "\($0.settings.user)@\($0.address):\($0.settings.port)" }.joined(separator: ",")
  }
}
