import Glibc
import ReplicationModel

extension InventoryReader {
  func host(_ entry: YAMLEntry, defaults: YAMLFields?) -> Host? {
    let name = entry.key
    guard let own = problems.fields(entry, of: "host \(name)", keys: InventoryKeys.host) else { return nil }
    let origins = OriginRecorder()
    let layers = Layers(
      prefix: "", layers: [own] + (defaults.map { [$0] } ?? []), problems: problems, origins: origins)
    let transport = transport(layers)
    let address = layers.value("address", default: transport == .local ? "127.0.0.1" : name, problems.string)
    return Host(
      name: name, address: address, transport: transport, ssh: ssh(layers),
      postgres: postgres(layers, address: address), serviceDirectory: serviceDirectory(layers), place: entry.place,
      origins: origins.origins)
  }

  private func transport(_ layers: Layers) -> Transport {
    let named = layers.value("transport", default: Transport.ssh) { problems.choice($0) }
    guard let entry = layers.entry("local"), let isLocal = problems.boolean(entry) else { return named }
    let other = layers.entry("transport")
    if other != nil, (named == .local) != isLocal {
      problems.add(
        "conflicting-keys", "local and transport contradict each other", at: entry.place, hint: "keep one of the two")
    }
    if other == nil { layers.origins.record("transport", .file(entry.value.place)) }
    return isLocal ? .local : .ssh
  }

  func serviceDirectory(_ layers: Layers) -> String {
    layers.value("service_directory", default: "/etc/service") { paths.remote($0, problems) }
  }

  func ssh(_ outer: Layers) -> SSHSettings {
    let layers = outer.inner("ssh", keys: InventoryKeys.ssh)
    let local = { (entry: YAMLEntry) in paths.local(entry, problems) }
    return SSHSettings(
      user: layers.value("user", default: user.name, problems.string),
      port: layers.value("port", default: 22) { problems.integer($0, in: 1...65535) },
      identityFile: layers.optional("identity_file", local),
      knownHosts: layers.value("known_hosts", default: PathRules.normal(user.home + "/.ssh/known_hosts"), local),
      agent: layers.value("agent", default: true, problems.boolean),
      identitiesOnly: layers.value("identities_only", default: false, problems.boolean),
      connectTimeout: layers.value("connect_timeout", default: .seconds(10), problems.duration),
      passphraseCommand: layers.optional("passphrase_command", problems.string),
      config: layers.value("config", default: .standard, config),
      proxyJump: layers.optional("proxy_jump", problems.string))
  }

  private func config(_ entry: YAMLEntry) -> SSHConfig? {
    entry.value.text == "none" ? SSHConfig.none : paths.local(entry, problems).map { .file($0) }
  }

  func postgres(_ outer: Layers, address: String) -> PostgresSettings {
    let layers = outer.inner("postgres", keys: InventoryKeys.postgres)
    let remote = { (entry: YAMLEntry) in paths.remote(entry, problems) }
    let via = layers.value("via", default: PostgresRoute.direct) { problems.choice($0) }
    let own = layers.value("address", default: via == .ssh ? "127.0.0.1" : address, problems.string)
    return PostgresSettings(
      address: own, via: via,
      replicationAddress: layers.value(
        "replication_address", default: via == .ssh ? address : own, problems.string),
      port: layers.value("port", default: 5432) { problems.integer($0, in: 1...65535) },
      user: layers.value("user", default: "postgres", problems.string),
      maintenanceDatabase: layers.value("database", default: "postgres", problems.string),
      osUser: layers.value("os_user", default: "postgres", problems.string),
      dataDirectory: layers.optional("data_directory", remote),
      binDirectory: layers.optional("bin_directory", remote),
      configFile: layers.optional("config_file", remote),
      socketDirectory: layers.optional("socket_directory", remote),
      logFile: layers.optional("log_file", remote),
      service: layers.optional("service") { service($0.value, ofPostgres: true) },
      password: password(layers),
      sslMode: layers.value("sslmode", default: SSLMode.prefer) { problems.choice($0) },
      connectTimeout: layers.value("connect_timeout", default: .seconds(10), problems.duration))
  }

  /// The nearest layer that says anything about the password decides alone.
  private func password(_ layers: Layers) -> PasswordSource {
    let keys = ["passfile", "password_command", "password_env", "password"]
    for layer in layers.layers {
      let entries = layer.entries.filter { keys.contains($0.key) }
      guard let entry = entries.first else { continue }
      if entries.count > 1 {
        problems.add(
          "conflicting-keys", "\(entries[1].key) and \(entry.key) both say where the password comes from",
          at: entries[1].place, hint: "keep one of the two")
        return .none
      }
      layers.origins.record("postgres.password", .file(entry.value.place))
      let source: PasswordSource? =
        switch entry.key {
        case "passfile": paths.local(entry, problems).map { .passfile($0) }
        case "password_command": problems.string(entry).map { .command($0) }
        case "password_env": problems.string(entry).map { .environment($0) }
        default: problems.string(entry).map { .inline(Secret($0)) }
        }
      return source ?? .none
    }
    layers.origins.record("postgres.password", .builtIn)
    return .none
  }

  /// One warning for each place that should not stay as it is, in the order of the file.
  func passwordWarnings(_ hosts: [Host]) -> [InventoryWarning] {
    var warnings: [InventoryWarning] = []
    for host in hosts {
      guard case .file(let place) = host.origins["postgres.password"] else { continue }
      let warning: InventoryWarning? =
        switch host.postgres.password {
        case .inline:
          InventoryWarning(
            "inventory.inline-password", "the password stands in the inventory", at: place,
            hint: "use passfile, password_command or password_env")
        case .passfile(let path):
          passfileWarning(path, at: place)
        case .none, .command, .environment:
          nil
        }
      if let warning, !warnings.contains(warning) { warnings.append(warning) }
    }
    return warnings.sorted { $0.place < $1.place }
  }

  /// libpq passes over a password file that it does not trust, without an error.
  /// <https://www.postgresql.org/docs/15/libpq-pgpass.html>
  private func passfileWarning(_ path: String, at place: SourcePlace) -> InventoryWarning? {
    var status = stat()
    guard stat(path, &status) == 0 else {
      return InventoryWarning(
        "inventory.passfile-unreadable", "cannot read the passfile \(path): \(SystemFailure(errno: errno).reason)",
        at: place, hint: "without it libpq connects without a password")
    }
    if status.st_mode & S_IFMT != S_IFREG {
      return InventoryWarning(
        "inventory.passfile-unreadable", "the passfile \(path) is not a plain file", at: place,
        hint: "libpq passes over it")
    }
    if status.st_mode & (S_IRWXG | S_IRWXO) != 0 {
      return InventoryWarning(
        "inventory.passfile-mode", "group or others may read the passfile \(path)", at: place,
        hint: "libpq passes over it until you run: chmod 600 \(path)")
    }
    return nil
  }
}
