import Inventory
import RemoteHost
import ReplicationModel

/// The configuration files of a cluster that live inside its data directory: they must be carried over to the copy.
/// Those outside (as Debian has them) stay where they are.
package struct ConfigurationFiles: Equatable {
  /// Files, and whole directories, relative to the data directory, sorted: those that are named, and what symbolic links
  /// among them lead to.
  package var inside: [String]
  /// Where the file itself is, whatever link leads to it. Absolute when it lies outside, relative when inside.
  package var hba: String
  /// Directories that the configuration wants to be there, likewise: for sockets, logs, the process id.
  package var directories: [String] = []

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
    var paths = [configFile]
    var hba = server.dataDirectory + "/pg_hba.conf"
    let configured = try await server.configuredValues(fileSettings + directorySettings)
    for setting in fileSettings {
      guard let value = configured[setting], !value.isEmpty else { continue }
      let path = absolute(value, server)
      guard try await server.exists(path) else { continue }
      paths.append(path)
      if setting == "hba_file" { hba = path }
      guard ["hba_file", "ident_file"].contains(setting) else { continue }
      var seen: Set<String> = []
      paths += try await referencedFiles(server, from: path, seen: &seen)
    }
    // From version 14 on.
    if let value = try? await server.configuredValues(["ssl_crl_dir"])["ssl_crl_dir"], !value.isEmpty {
      let path = absolute(value, server)
      if try await server.exists(path) { paths.append(path) }
    }
    var seen: Set<String> = []
    paths += try await includedFiles(server, from: configFile, seen: &seen)
    let ways = try await ways(of: paths + [hba], server)
    let inside = Set(ways.dropLast().flatMap { $0.compactMap { relativePath($0, to: server.dataDirectory) } })
    let last = ways.last?.last ?? hba
    return ConfigurationFiles(
      inside: inside.sorted(), hba: relativePath(last, to: server.dataDirectory) ?? last,
      directories: directories(configured, server))
  }

  private static func absolute(_ path: String, _ server: ServerControl) -> String {
    path.hasPrefix("/") ? path : server.dataDirectory + "/" + path
  }

  private static let directorySettings = ["unix_socket_directories", "log_directory", "external_pid_file"]

  private static func directories(_ configured: [String: String], _ server: ServerControl) -> [String] {
    let sockets = (configured["unix_socket_directories"] ?? "").split(separator: ",").map { name in
      let name = name.drop { $0 == " " || $0 == "\"" }
      return String(name.reversed().drop { $0 == " " || $0 == "\"" }.reversed())
    }
    let pid = configured["external_pid_file"].map { HBAFiles.directory(of: absolute($0, server)) }
    // Relative names of sockets' directories count from the data directory too, in which the server runs.
    let named = sockets + [configured["log_directory"], pid].compactMap(\.self)
    let wanted = named.filter { !$0.isEmpty && !$0.hasPrefix("@") }.compactMap { name in
      relativePath(absolute(name, server), to: server.dataDirectory)
    }
    return Set(wanted).sorted()
  }

  /// Each path with the links that it leads through, and at the end the file itself; those in the data directory by
  /// its name in the inventory, should that be a link too.
  private static func ways(of paths: [String], _ server: ServerControl) async throws -> [[String]] {
    let text = try await server.ask(
      """
      data=$1; real=$(readlink -f -- "$1"); shift
      say() { case $2 in "$real"/*) printf '%s\t%s\n' "$1" "$data${2#"$real"}" ;; *) printf '%s\t%s\n' "$1" "$2" ;; esac; }
      n=0
      for p in "$@"; do
        q=$p; left=40
        while [ -L "$q" ] && [ "$left" -gt 0 ]; do
          say $n "$q"; l=$(readlink -- "$q"); left=$((left - 1))
          case $l in /*) q=$l ;; *) q=$(dirname -- "$q")/$l ;; esac
        done
        say $n "$q"
        if [ "$q" != "$p" ]; then say $n "$(readlink -f -- "$p")"; fi
        n=$((n + 1))
      done
      """, [server.dataDirectory] + paths, label: "following the configuration's links")
    var ways = [[String]](repeating: [], count: paths.count)
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: "\t", maxSplits: 1)
      guard fields.count == 2, let index = Int(fields[0]), ways.indices.contains(index) else { continue }
      ways[index].append(String(fields[1]))
    }
    return ways
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
  static func files(in directory: String, _ server: ServerControl) async throws -> [String] {
    let listing = try await server.remote.run(
      server.shell(
        "LC_ALL=C; for f in \"$1\"/*.conf; do [ -f \"$f\" ] && printf '%s\\n' \"$f\"; done; true", [directory]
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
