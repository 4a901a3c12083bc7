package import Inventory
package import PostgresClient
package import RemoteHost
import ReplicationModel

/// A host's PostgreSQL as an operating-system thing: its programs, its data directory, its life.
///
/// Everything runs as the server's own operating-system user.
package struct ServerControl: Sendable {
  package let host: Inventory.Host
  /// Another one after its connection has ended.
  package var remote: any RemoteHost
  /// Absolute, on the host.
  package let dataDirectory: String
  package let binDirectory: String
  /// Nil: `postgresql.conf` in the data directory.
  package let configFile: String?

  package var user: String { host.postgres.osUser }
  /// What ALTER SYSTEM writes.
  package var settingsFile: String { dataDirectory + "/postgresql.auto.conf" }

  /// Works out what the inventory leaves open: the programs by the usual places, the directories by asking the
  /// server.
  ///
  /// - Parameters:
  ///   - known: what an earlier run wrote down, for a server that cannot be asked.
  ///   - session: connects to the server; called where the inventory does not say where it lives.
  package static func find(
    host: Inventory.Host, remote: any RemoteHost, known: ServerDirectories?,
    session: @Sendable () async throws -> PostgresSession
  ) async throws -> ServerControl {
    let settings = host.postgres
    var dataDirectory = settings.dataDirectory
    var configFile = settings.configFile
    if dataDirectory == nil {
      do {
        let row = try await session().query(
          "SELECT current_setting('data_directory'), current_setting('config_file')"
        ).rows[0]
        dataDirectory = row.string(0)
        if configFile == nil, row.string(1) != row.string(0) + "/postgresql.conf" { configFile = row.string(1) }
      } catch {
        guard let known else { throw error }
        dataDirectory = known.data
        configFile = configFile ?? known.configFile
      }
    }
    guard let dataDirectory, dataDirectory.hasPrefix("/") else {
      throw ConvoyError(
        "host.no-data-directory", "the data directory of host \(host.name) is not known", at: .host(host.name),
        hint: "set postgres.data_directory for that host in the inventory")
    }
    let binDirectory: String
    if let given = settings.binDirectory {
      binDirectory = given
    } else {
      let found = try await remote.run(
        .shell(
          """
          for d in "$(cat "$1/PG_VERSION" 2>/dev/null)"; do v=$d; done
          for d in "/usr/lib/postgresql/$v/bin" "/usr/pgsql-$v/bin" "$(pg_config --bindir 2>/dev/null)"; do
            if [ -x "$d/pg_ctl" ]; then printf '%s' "$d"; exit 0; fi
          done
          exit 1
          """, arguments: [dataDirectory], user: settings.osUser, deadline: .seconds(30)
        ).asking)
      guard let programs = found.succeeded ? found.text : known?.programs else {
        throw ConvoyError(
          "host.no-postgres-programs", "pg_ctl was not found on host \(host.name)", at: .host(host.name),
          hint: "set postgres.bin_directory for that host in the inventory")
      }
      binDirectory = programs
    }
    return ServerControl(
      host: host, remote: remote, dataDirectory: dataDirectory, binDirectory: binDirectory, configFile: configFile)
  }

  package func program(_ name: String) -> String { binDirectory + "/" + name }

  package func shell(
    _ script: String, _ arguments: [String] = [], environment: [String: String] = [:], deadline: Duration = .seconds(60)
  ) -> RemoteCommand {
    .shell(script, arguments: arguments, environment: environment, user: user, deadline: deadline)
  }

  @discardableResult
  package func check(_ script: String, _ arguments: [String] = [], label: String, deadline: Duration = .seconds(60))
    async throws
    -> String
  {
    try await remote.runChecked(command(script, arguments, label: label, deadline: deadline)).text
  }

  package func command(
    _ script: String, _ arguments: [String] = [], label: String, deadline: Duration = .seconds(60)
  ) -> RemoteCommand {
    var command = shell(script, arguments, deadline: deadline)
    command.label = label
    return command
  }

  /// As `check`, for what only asks.
  package func ask(_ script: String, _ arguments: [String] = [], label: String) async throws -> String {
    try await remote.runChecked(command(script, arguments, label: label).asking).text
  }

  package func exists(_ path: String) async throws -> Bool {
    try await remote.run(shell("[ -e \"$1\" ]", [path]).asking).succeeded
  }

  /// Whether a postmaster runs on the directory.
  package func isRunning(_ directory: String? = nil) async throws -> Bool {
    let result = try await remote.run(
      RemoteCommand(
        [program("pg_ctl"), "status", "-D", directory ?? dataDirectory], user: user, deadline: .seconds(30)
      ).asking)
    return result.exitStatus == 0
  }

  /// What stops the server: `pg_ctl`, or the manager that runs it, which would start it again behind `pg_ctl`.
  package func stopCommand(within limit: Duration = Self.patience) -> RemoteCommand {
    if let unit { return unit.stopCommand }
    return RemoteCommand(
      [program("pg_ctl"), "stop", "-D", dataDirectory, "-m", "fast", "-w", "-t", String(limit.components.seconds)],
      user: user, deadline: limit + .seconds(15))
  }

  package func startCommand(within limit: Duration = Self.patience) -> RemoteCommand {
    if let unit { return unit.startCommand }
    var words = [program("pg_ctl"), "start", "-D", dataDirectory, "-l", startLog]
    words += ["-w", "-t", String(limit.components.seconds)]
    if let configFile { words += ["-o", "-c config_file=" + shellQuoted(configFile)] }
    var command = shell("\"$@\" >/dev/null 2>&1 </dev/null", words, deadline: limit + .seconds(15))
    // A standby's connection to its source would go by them.
    command.withheld = overrulingVariables
    return command
  }

  var startLog: String { host.postgres.logFile ?? dataDirectory + ".pgconvoy-start.log" }

  /// The manager that runs the server, where the inventory names one.
  var unit: ServiceControl? {
    host.postgres.service.map { ServiceControl(service: $0, host: host, remote: remote) }
  }

  /// Settings as the configuration files have them, whether the server runs or not; all in one round trip.
  package func configuredValues(_ names: [String], directory: String? = nil) async throws -> [String: String] {
    let script = """
      postgres=$1; directory=$2; config=$3
      shift 3
      for name in "$@"; do
        if [ -n "$config" ]; then
          value=$("$postgres" -D "$directory" -C "$name" -c "config_file=$config") || exit 1
        else
          value=$("$postgres" -D "$directory" -C "$name") || exit 1
        fi
        printf '%s\\n' "$value"
      done
      """
    let text = try await ask(
      script, [program("postgres"), directory ?? dataDirectory, configFile ?? ""] + names,
      label: "reading the configuration")
    // `text` has lost its last newlines, and with them values that are empty.
    var values = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    while values.count < names.count { values.append("") }
    return Dictionary(zip(names, values), uniquingKeysWith: { first, _ in first })
  }

  /// What would keep the server from starting with its configuration files as they are now, in the server's words; nil
  /// where nothing would, or where nobody says where they are. A server that runs does not notice before it reloads, and
  /// then changes nothing.
  ///
  /// - Parameter running: the configuration file of the server that runs, where one does.
  package func configurationError(running: String? = nil) async throws -> String? {
    guard try await exists(dataDirectory + "/PG_VERSION") else { return nil }
    let inside = dataDirectory + "/postgresql.conf"
    let file = configFile ?? running ?? inside
    if file == inside, try await !exists(file) { return nil }
    var words = [program("postgres"), "-D", dataDirectory, "-C", "data_directory"]
    if file != inside { words += ["-c", "config_file=" + file] }
    var command = RemoteCommand(words, environment: ["LC_ALL": "C"], user: user, deadline: .seconds(30))
    command.label = "reading the configuration"
    let result = try await remote.run(command.asking)
    guard !result.succeeded else { return nil }
    let lines = result.errorText.split(separator: "\n").map(String.init)
    // The last one only says that there were others.
    for mark in ["LOG:", "FATAL:", "ERROR:"] {
      guard let line = lines.first(where: { $0.contains(mark) }), let range = line.firstRange(of: mark) else {
        continue
      }
      return String(line[range.upperBound...].drop { $0 == " " })
    }
    return lines.last ?? result.endDescription
  }

  /// A file's text, whatever its encoding: what `upload` and `replace` write back is every byte of it.
  package func download(_ path: String) async throws -> String {
    ByteText.string(try await remote.download(path, as: user).content)
  }

  package func upload(_ text: String, to path: String, mode: UInt16 = 0o600) async throws {
    try await remote.upload(ByteText.bytes(text), to: path, mode: mode, owner: nil, as: user)
  }

  /// Gives a file that exists another text; all else of it stays.
  package func replace(_ path: String, with text: String) async throws {
    try await remote.replace(path, with: ByteText.bytes(text), as: user)
  }
}

/// What a server that does not run cannot be asked.
package struct ServerDirectories: Codable, Sendable, Equatable {
  package var data: String
  package var programs: String
  package var configFile: String?

  package init(data: String, programs: String, configFile: String? = nil) {
    self.data = data
    self.programs = programs
    self.configFile = configFile
  }
}
