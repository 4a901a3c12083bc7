import HostAdmin
import Inventory
import MigrationCore
import PostgresClient
import RemoteHost

/// What lies in a data directory and would get in a copy's way.
struct DataFiles: Sendable, Equatable {
  /// A symbolic link that is none of the server's own.
  struct Link: Sendable, Equatable {
    var path: String
    var destination: String
  }

  /// Relative paths of files and directories that the server's user cannot read.
  var unreadable: [String] = []
  /// Relative paths.
  var links: [Link] = []
  /// Whether there was more than is listed.
  var isCut = false
}

extension PreflightReader {
  func configurationError(
    _ side: Side, _ control: Reading<ServerControl>, _ role: Reading<RoleFacts>
  ) async -> Reading<String?> {
    await reading(side) {
      let control = try control.get()
      var running: String?
      if role.value != nil { running = try await context.session(side).query("SHOW config_file").first }
      return try await control.configurationError(running: running)
    }
  }

  /// As the server's own user, who also sends the base backup; what that leaves out is not looked at.
  func sourceFiles(_ control: Reading<ServerControl>) async -> Reading<DataFiles> {
    await reading(.source) {
      let control = try control.get()
      var command = control.shell(
        Self.filesScript, [control.dataDirectory, String(Self.listed)], environment: ["LC_ALL": "C"],
        deadline: .seconds(300))
      command.label = "looking at the files of the data directory"
      return DataFiles(parsing: try await control.remote.runChecked(command.asking).text)
    }
  }

  private static let listed = 50

  /// What the copy keeps of the target. Nil: it has no cluster.
  func keptFiles(_ control: Reading<ServerControl>) async -> Reading<DataFiles?> {
    await reading(.target) {
      let control = try control.get()
      guard try await control.configurationError() == nil else {
        throw CheckNotMade(reason: "the configuration has an error")
      }
      guard let files = try await ConfigurationFiles.find(control) else { return nil }
      guard !files.inside.isEmpty else { return DataFiles() }
      var command = control.shell(
        """
        cd -- "$1" || exit 1; shift
        find -- "$@" \\( ! -type l ! -readable -o -type d ! -executable \\) -printf 'unreadable\\t%p\\n' 2>/dev/null; true
        """, [control.dataDirectory] + files.inside.map { "./" + $0 }, deadline: Self.deadline)
      command.label = "looking at the configuration files"
      return DataFiles(parsing: try await control.remote.runChecked(command.asking).text)
    }
  }

  /// `$1` data directory, `$2` how many lines at most.
  private static let filesScript = """
    cd -- "$1" || exit 1
    {
      find . \\( -path ./pg_wal -o -path ./pg_replslot -o -path ./pg_stat_tmp -o -path ./pg_dynshmem -o -path ./pg_notify \\
        -o -path ./pg_serial -o -path ./pg_snapshots -o -path ./pg_subtrans -o -name 'pgsql_tmp*' \\
        -o -path ./postmaster.pid -o -path ./postmaster.opts -o -path ./postgresql.auto.conf.tmp \\) -prune \\
        -o -type l ! -path './pg_tblspc/*' -printf 'link\\t%p\\t%l\\n' \\
        -o \\( -type f ! -readable -o -type d \\( ! -readable -o ! -executable \\) \\) -printf 'unreadable\\t%p\\n'
      for t in pg_tblspc/*/PG_*; do
        if [ -d "$t" ]; then find "$t/" \\( -type f ! -readable -o -type d \\( ! -readable -o ! -executable \\) \\) \\
          -printf 'unreadable\\t%p\\n'; fi
      done
    } 2>/dev/null | head -n "$2"
    """
}

extension DataFiles {
  init(parsing text: String) {
    var count = 0
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: "\t", maxSplits: 2).map(String.init)
      guard fields.count >= 2 else { continue }
      count += 1
      let path = fields[1].hasPrefix("./") ? String(fields[1].dropFirst(2)) : fields[1]
      if fields[0] == "unreadable" { unreadable.append(path) }
      if fields[0] == "link", fields.count == 3 { links.append(Link(path: path, destination: fields[2])) }
    }
    isCut = count >= 50
  }
}
