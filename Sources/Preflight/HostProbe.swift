import Glibc
import HostAdmin
import Inventory
import LogicalDecoding
import MigrationCore
import PostgresClient
import RemoteHost
import ReplicationModel

/// The questions to the machines. The scripts write nothing: no file, no history, no core.
extension PreflightReader {
  func account(_ side: Side) async -> Reading<AccountFacts> {
    await reading(side) {
      let remote = try await context.remote(side)
      let command = RemoteCommand.shell(
        "date +%s.%N; id -un", user: migration.host(side).postgres.osUser, deadline: Self.deadline, label: "id")
      let asked = Double(millisecondsSince1970()) / 1000
      let lines = try await remote.runChecked(command.asking).text.split(separator: "\n")
      let answered = Double(millisecondsSince1970()) / 1000
      guard lines.count == 2 else {
        throw ConvoyError("host.unexpected-output", "`date; id -un` printed \(lines.count) lines")
      }
      let clock = Double(lines[0]) ?? (asked + answered) / 2
      return AccountFacts(
        name: String(lines[1]), clockOffset: clock - (asked + answered) / 2,
        clockUncertainty: (answered - asked) / 2)
    }
  }

  func control(_ side: Side, _ account: Reading<AccountFacts>) async -> Reading<ServerControl> {
    await reading(side) {
      _ = try account.get()
      do {
        return try await context.server(side)
      } catch let error as ConvoyError
        where migration.host(side).postgres.dataDirectory == nil && error.code.rawValue.hasPrefix("postgres.")
      {
        throw ConvoyError(
          "host.no-data-directory", "the data directory is not known, and the server does not say: \(error.message)",
          hint: "set postgres.data_directory for that host in the inventory", cause: error.message)
      }
    }
  }

  func application(_ side: Side, _ account: Reading<AccountFacts>) async -> Reading<String?> {
    await reading(side) {
      guard let script = migration.versionCheck else { return nil }
      _ = try account.get()
      let result = try await context.remote(side).runChecked(
        .shell(script, deadline: .seconds(60), label: "version_check").asking)
      let line = trimmed(result.text.split(separator: "\n", omittingEmptySubsequences: false).first ?? "")
      guard !line.isEmpty else {
        let words = result.errorText.split(separator: "\n").last.map { ": \($0)" } ?? ""
        throw ConvoyError("host.command-failed", "it printed nothing\(words)")
      }
      return line
    }
  }

  func machine(_ side: Side, _ control: Reading<ServerControl>) async -> Reading<MachineFacts> {
    await reading(side) {
      let control = try control.get()
      var command = control.shell(
        Self.machineScript,
        [
          control.dataDirectory, control.binDirectory, migration.plugin.name, control.host.postgres.address,
          String(control.host.postgres.port),
        ] + HostChecks.neededPrograms + [HostChecks.walReading],
        environment: ["LC_ALL": "C"], deadline: Self.deadline)
      command.label = "looking at the host"
      return MachineFacts(parsing: try await control.remote.runChecked(command.asking).text)
    }
  }

  /// `$1` data directory, `$2` programs' directory, `$3` output plugin, `$4` the server's address, `$5` its port, then
  /// programs. Prints `KEY<TAB>VALUE` lines.
  private static let machineScript = """
    data=$1; bin=$2; plugin=$3; address=$4; port=$5; shift 5
    say() { printf '%s\\t%s\\n' "$1" "$2"; }
    say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
    say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
    say inode "$(stat -L -c %d:%i -- "$data" 2>/dev/null)"
    say version "$("$bin/postgres" --version 2>/dev/null)"
    for p in "$@"; do if [ -x "$bin/$p" ]; then say program "$p"; fi; done
    lib=$("$bin/pg_config" --pkglibdir 2>/dev/null)
    if [ -n "$lib" ]; then
      if [ -e "$lib/$plugin.so" ]; then say plugin present; else say plugin-missing "$lib"; fi
    else
      for d in "$bin/../lib" "$bin/../lib/postgresql" "$bin/../lib/pgsql" "$bin/../lib64/pgsql"; do
        if [ -e "$d/$plugin.so" ]; then say plugin present; fi
      done
    fi
    for f in "$data".pgconvoy-*; do if [ -e "$f" ] || [ -L "$f" ]; then say leftover "$f"; fi; done
    for a in $(getent ahosts "$address" 2>/dev/null | cut -d ' ' -f 1 | sort -u); do say address "$a"; done
    hex=$(printf %04X "$port")
    for f in /proc/net/tcp /proc/net/tcp6; do
      while read -r _ place _ state _; do
        case $state$place in 0A*:"$hex") say listening "${place%:*}" ;; esac
      done <"$f"
    done 2>/dev/null
    if { read -r pid; read -r _; read -r _; read -r p; } 2>/dev/null <"$data/postmaster.pid" && [ -d "/proc/$pid" ]; then
      say own-port "$p"
    fi
    if [ -e "$data/patroni.dynamic.json" ]; then say manager 'trace:patroni'; fi
    grep -azHnE '^(.*/)?(patroni|repmgrd|pg_autoctl)$' /proc/[0-9]*/cmdline 2>/dev/null | tr '\\000' '\\n' |
      while IFS= read -r l; do say manager "$l"; done
    exit 0
    """

  func sourceWAL(_ control: Reading<ServerControl>) async -> Reading<PathFacts> {
    await reading(.source) {
      let control = try control.get()
      return try await control.facts(ofPaths: [control.dataDirectory + "/pg_wal"], within: Self.deadline)[0]
    }
  }

  // MARK: replication

  /// The password travels as base backups' does not: in the environment of one short process of the server's own user.
  func replication(
    _ control: Reading<ServerControl>, _ role: Reading<RoleFacts>
  ) async -> Reading<ReplicationAnswer> {
    await reading(.target) {
      let control = try control.get()
      _ = try role.get()
      var environment = ["PGPASSFILE": "/nonexistent", "PGCONNECT_TIMEOUT": "10"]
      if let password = try await context.session(.source).passwordInUse() { environment["PGPASSWORD"] = password }
      let connection = Quarantine.connectionString(migration.source.replicationKeywords + [("replication", "true")])
      let result = try await control.remote.run(
        RemoteCommand(
          [control.program("psql"), "-X", "-w", "-A", "-t", "-F", "|", "-d", connection, "-c", "IDENTIFY_SYSTEM"],
          environment: environment, user: control.user, deadline: Self.deadline, label: "psql"
        ).connecting.asking)
      guard result.succeeded else { return .refused(result.errorText) }
      return .identified(systemIdentifier: String(result.text.prefix { $0 != "|" }))
    }
  }
}

/// An address as /proc/net/tcp has it, `0100007F`, in 32-bit words of the machine's byte order; nil for what is none.
func kernelAddress(_ hex: some StringProtocol) -> String? {
  guard hex.utf8.count == 8 || hex.utf8.count == 32 else { return nil }
  var bytes: [UInt8] = []
  var rest = hex[...]
  while !rest.isEmpty {
    guard let word = UInt32(rest.prefix(8), radix: 16) else { return nil }
    withUnsafeBytes(of: word) { bytes += $0 }
    rest = rest.dropFirst(8)
  }
  var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
  guard inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil else { return nil }
  return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

extension MachineFacts {
  /// From the machine script's lines.
  init(parsing text: String) {
    self.init()
    var managers: Set<String> = []
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false)
      guard fields.count == 2 else { continue }
      let value = String(fields[1])
      switch fields[0] {
      case "boot": bootID = value
      case "libc": cLibrary = value
      case "inode": dataInode = value
      case "version": postgresVersion = value
      case "program": programs.insert(value)
      case "plugin": outputPlugin = .present
      case "plugin-missing": outputPlugin = .missing(directory: value)
      case "leftover": leftovers.append(value)
      case "address": ownAddresses.insert(value)
      case "listening": if let address = kernelAddress(value) { listening.insert(address) }
      case "own-port": ownPort = Int(value)
      case "manager": if let name = Self.clusterManager(value) { managers.insert(name) }
      default: break
      }
    }
    clusterManagers = managers.sorted()
  }

  /// `/proc/812/cmdline:2:/usr/bin/patroni`: the argument's number and the argument. The first is the program; a later
  /// one is a script that an interpreter runs only when its whole path stands there (`less patroni` is nobody's manager).
  private static func clusterManager(_ line: String) -> String? {
    if line.hasPrefix("trace:") { return String(line.dropFirst("trace:".count)) }
    let fields = line.split(separator: ":", maxSplits: 2)
    guard fields.count == 3, fields[1] == "1" || (fields[1] == "2" && fields[2].hasPrefix("/")) else { return nil }
    return fields[2].split(separator: "/").last.map(String.init)
  }
}
