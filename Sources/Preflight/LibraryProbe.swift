import HostAdmin
import Inventory
import MigrationCore
import RemoteHost

/// Whether the target has the libraries and extensions that the source's databases name.
extension PreflightReader {
  func libraries(
    _ control: Reading<ServerControl>, _ databases: [DatabaseFacts]
  ) async -> Reading<LibraryFacts> {
    await reading(.target) {
      let control = try control.get()
      let libraries = Set(databases.flatMap(\.libraries)).sorted()
      let extensions = Set(databases.flatMap(\.extensions)).sorted()
      var command = control.shell(
        Self.libraryScript, [control.binDirectory] + libraries + ["--"] + extensions, environment: ["LC_ALL": "C"],
        deadline: Self.deadline)
      command.label = "looking for libraries"
      guard let facts = LibraryFacts(parsing: try await control.remote.runChecked(command.asking).text) else {
        throw CheckNotMade(
          reason: "where PostgreSQL's libraries lie on \(migration.target.name) is not known: no pg_config")
      }
      return facts
    }
  }

  /// `$1` programs' directory, then libraries as the catalog has them, `--`, extensions. Without a pg_config the
  /// directories are the usual ones that hold what every server has: PL/pgSQL.
  private static let libraryScript = """
    bin=$1; shift
    say() { printf '%s\\t%s\\n' "$1" "$2"; }
    lib=$("$bin/pg_config" --pkglibdir 2>/dev/null)
    share=$("$bin/pg_config" --sharedir 2>/dev/null)
    for d in "$bin/../lib" "$bin/../lib/postgresql" "$bin/../lib/pgsql" "$bin/../lib64/pgsql"; do
      if [ -z "$lib" ] && [ -e "$d/plpgsql.so" ]; then lib=$d; fi
    done
    version=$(basename -- "$(dirname -- "$bin")")
    for d in "$bin/../share" "$bin/../share/postgresql" "$bin/../share/pgsql" "/usr/share/postgresql/$version"; do
      if [ -z "$share" ] && [ -e "$d/extension/plpgsql.control" ]; then share=$d; fi
    done
    if [ -z "$lib" ] || [ -z "$share" ]; then exit 0; fi
    say directory "$lib"
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
      case $1 in '$libdir/'*) f=$lib/${1#'$libdir/'} ;; /*) f=$1 ;; *) f=$lib/$1 ;; esac
      if ! [ -e "$f" ] && ! [ -e "$f.so" ]; then say library "$1"; fi
      shift
    done
    shift
    for e in "$@"; do if ! [ -e "$share/extension/$e.control" ]; then say extension "$e"; fi; done
    exit 0
    """
}

extension LibraryFacts {
  /// From the library script's lines; nil where it did not find the directories.
  init?(parsing text: String) {
    var directory: String?
    var (libraries, extensions) = (Set<String>(), Set<String>())
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false)
      guard fields.count == 2 else { continue }
      switch fields[0] {
      case "directory": directory = String(fields[1])
      case "library": libraries.insert(String(fields[1]))
      case "extension": extensions.insert(String(fields[1]))
      default: break
      }
    }
    guard let directory else { return nil }
    self.init(directory: directory, missingLibraries: libraries, missingExtensions: extensions)
  }
}
