import Inventory
import RemoteHost
import ReplicationModel

/// The configuration files of a cluster that live inside its data directory: they must be carried over to the copy.
/// Those outside (as Debian has them) stay where they are.
package struct ConfigurationFiles: Equatable {
  /// Files, and whole directories, relative to the data directory, sorted.
  package var inside: [String]
  /// Absolute when it lies outside, relative when inside.
  package var hba: String

  /// Settings that name one file.
  private static let fileSettings = [
    "hba_file", "ident_file", "ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "ssl_dh_params_file",
    "krb_server_keyfile",
  ]

  /// Nil when there is no cluster to keep anything of.
  package static func find(_ server: ServerControl) async throws -> ConfigurationFiles? {
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
