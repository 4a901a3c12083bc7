import Inventory
import Journal
import PostgresClient
import RemoteHost
import ReplicationModel

/// The configuration files of a cluster that live inside its data directory: they must be carried over to the copy.
/// Those outside (as Debian has them) stay where they are.
struct ConfigurationFiles: Equatable {
  /// Files, and whole directories, relative to the data directory, sorted.
  var inside: [String]
  /// Absolute when it lies outside, relative when inside.
  var hba: String

  /// Settings that name one file.
  private static let fileSettings = [
    "hba_file", "ident_file", "ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "ssl_dh_params_file",
    "krb_server_keyfile",
  ]

  /// Nil when there is no cluster to keep anything of.
  static func find(_ server: ServerControl) async throws -> ConfigurationFiles? {
    guard try await server.exists(server.dataDirectory + "/PG_VERSION") else { return nil }
    let configFile = server.configFile ?? server.dataDirectory + "/postgresql.conf"
    guard try await server.exists(configFile) else {
      throw ConvoyError(
        "host.no-configuration", "the target's cluster has no \(configFile)", at: .host(server.host.name),
        hint: "where the configuration lies outside the data directory, set postgres.config_file in the inventory")
    }
    var inside: Set<String> = []
    var hba = "pg_hba.conf"
    func add(_ path: String) -> String {
      guard let relative = relativePath(path, to: server.dataDirectory) else { return path }
      inside.insert(relative)
      return relative
    }
    _ = add(configFile)
    let configured = try await server.configuredValues(fileSettings)
    for setting in fileSettings {
      guard let value = configured[setting], !value.isEmpty else { continue }
      let path = value.hasPrefix("/") ? value : server.dataDirectory + "/" + value
      guard try await server.exists(path) else { continue }
      let found = add(path)
      if setting == "hba_file" { hba = found }
      guard ["hba_file", "ident_file"].contains(setting) else { continue }
      var seen: Set<String> = []
      for path in try await referencedFiles(server, from: path, seen: &seen) { _ = add(path) }
    }
    // From version 14 on.
    if let value = try? await server.configuredValues(["ssl_crl_dir"])["ssl_crl_dir"], !value.isEmpty {
      let path = value.hasPrefix("/") ? value : server.dataDirectory + "/" + value
      if try await server.exists(path) { _ = add(path) }
    }
    var seen: Set<String> = []
    for path in try await includedFiles(server, from: configFile, seen: &seen) { _ = add(path) }
    return ConfigurationFiles(inside: inside.sorted(), hba: hba)
  }

  /// Every file and directory that the configuration includes, directly or not. Relative paths count from the including file.
  private static func includedFiles(
    _ server: ServerControl, from path: String, seen: inout Set<String>
  ) async throws -> [String] {
    guard seen.insert(path).inserted, try await server.exists(path) else { return [] }
    let parsed = ConfigurationText(parsing: try await server.download(path))
    let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    var found: [String] = []
    for include in parsed.includes {
      let full = include.path.hasPrefix("/") ? include.path : directory + "/" + include.path
      if try await server.exists(full) { found.append(full) }
      let files = include.isDirectory ? try await self.files(in: full, server) : [full]
      for file in files { found += try await includedFiles(server, from: file, seen: &seen) }
    }
    return found
  }

  /// Every file and directory that a pg_hba.conf or pg_ident.conf points to, directly or not.
  private static func referencedFiles(
    _ server: ServerControl, from path: String, seen: inout Set<String>
  ) async throws -> [String] {
    guard seen.insert(path).inserted else { return [] }
    let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    var found: [String] = []
    for reference in HostBasedAuthentication(try await server.download(path)).references {
      let full = reference.path.hasPrefix("/") ? reference.path : directory + "/" + reference.path
      guard try await server.exists(full) else { continue }
      found.append(full)
      let files = reference.isDirectory ? try await self.files(in: full, server) : [full]
      for file in files { found += try await referencedFiles(server, from: file, seen: &seen) }
    }
    return found
  }

  /// Those of an included directory that count.
  private static func files(in directory: String, _ server: ServerControl) async throws -> [String] {
    let listing = try await server.remote.run(
      server.shell(
        "for f in \"$1\"/*.conf; do [ -f \"$f\" ] && printf '%s\\n' \"$f\"; done; true", [directory]
      ).asking)
    return listing.text.split(separator: "\n").map(String.init)
  }

  static func relativePath(_ path: String, to directory: String) -> String? {
    let (path, directory) = (resolved(path), resolved(directory))
    guard path.count > directory.count, path.starts(with: directory) else { return nil }
    return path[directory.count...].joined(separator: "/")
  }

  /// The components of a path, `.` and `..` resolved as far as that can be done without looking.
  private static func resolved(_ path: String) -> [Substring] {
    path.split(separator: "/").reduce(into: []) { parts, part in
      if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(part) }
    }
  }
}

/// A server's pg_hba.conf on its host.
struct HBAFile {
  let server: ServerControl
  /// Absolute.
  let path: String

  func read() async throws -> HostBasedAuthentication {
    HostBasedAuthentication(try await server.download(path))
  }

  /// Puts the block on top; owner and mode stay.
  func fence(
    for role: String, note: String, disabling disabled: [HostBasedAuthentication.SubscriptionName] = []
  ) async throws {
    let fenced = try await read().fenced(for: role, note: note, disabling: disabled)
    try await server.remote.replace(path, with: Array(fenced.text.utf8), as: server.user)
  }

  /// Takes the block out again. Nothing happens when there is none.
  ///
  /// - Parameter known: the file's text, where it has just been read.
  func lift(_ known: HostBasedAuthentication? = nil) async throws {
    let current = if let known { known } else { try await read() }
    guard current.isFenced else { return }
    try await server.remote.replace(path, with: Array(current.unfenced.text.utf8), as: server.user)
  }
}

extension Quarantine {
  static let comment = """
    Written by pgconvoy: the quarantine of a physical copy. It is rewritten at the hand-off and lifted at the
    cutover; ALTER SYSTEM would be lost.
    """

  /// What the block in the copy's pg_hba.conf says of itself.
  static func note(_ context: MigrationContext) -> String { "quarantine of migration \(context.migrationName)" }

  /// Stands among the kept settings: the target's own `shared_preload_libraries`, which cannot be asked for once the
  /// quarantine's file is in force.
  static let keptPreload = "pgconvoy.preload_libraries"

  /// Settings that a standby must not have lower than its source.
  private static let standbyMinimums = [
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction",
  ]

  /// Reads what the quarantine of a copy depends on: the settings that were kept in it, the target's own values, the
  /// source's.
  static func assemble(
    _ context: MigrationContext, _ target: ServerControl, directory: String
  ) async throws -> Quarantine {
    let kept = ConfigurationText(parsing: try await target.download("\(directory)/\(ServerControl.keptSettings)"))
    return try await assemble(context, target, kept: kept, configuredIn: directory)
  }

  /// - Parameters:
  ///   - kept: the target's own `postgresql.auto.conf`, with `keptPreload`.
  ///   - directory: whose configuration files say the rest; nil for a target without a cluster of its own.
  static func assemble(
    _ context: MigrationContext, _ target: ServerControl, kept: ConfigurationText, configuredIn directory: String?
  ) async throws -> Quarantine {
    var kept = kept
    let preload = kept[keptPreload] ?? ""
    kept.remove(keptPreload)
    let source = try await context.session(.source)
    let handOff = try await context.record()?.handOff
    let databases =
      if let handOff { handOff.databases.count } else { try await context.selectedDatabases().count }
    var names = standbyMinimums + ["max_replication_slots"]
    if await source.serverVersion >= 180000 { names.append("max_active_replication_origins") }
    let theirs = try await source.query(
      "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[])",
      ["{" + names.joined(separator: ",") + "}"])
    let configured =
      if let directory { try await target.configuredValues(names, directory: directory) } else { [String: String]() }
    var minimums: [ConfigurationText.Setting] = []
    for name in names {
      let source = theirs.rows.first { $0[0] == name }?.int(1) ?? 0
      var value = max(source, (kept[name] ?? configured[name]).flatMap { Int($0) } ?? 0)
      // Two origins or a slot for the way back for every database, which are counted apart, and some to spare.
      if name == "max_replication_slots" || name == "max_active_replication_origins" {
        value = max(value, 2 * databases + 4)
      }
      if name == "max_wal_senders" { value = max(value, databases + 4) }
      minimums.append(.init(name: name, value: String(value)))
    }
    return Quarantine(
      kept: kept, minimums: minimums, preloadLibraries: preload, serverVersion: await source.serverVersion)
  }
}
