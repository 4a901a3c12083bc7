import RemoteHost
import ReplicationModel

/// One path on a host that something is to be written to.
package struct PathFacts: Sendable, Equatable {
  package enum Kind: String, Sendable { case missing, directory, link, other }

  package var path: String
  package var kind: Kind
  /// A directory with something in it.
  package var isFilled: Bool
  package var isMountPoint: Bool
  /// The nearest directory that exists: the path itself or one above it.
  package var ancestor: String
  /// By the server's operating-system user.
  package var ancestorIsWritable: Bool
  package var device: String
  package var freeBytes: UInt64
  /// Where it is when all links are followed, as far as it exists.
  package var resolved = ""

  /// Whether it lies in a directory, or is that directory itself, by its name or by what links make of it.
  package func isWithin(_ directory: PathFacts) -> Bool {
    let inside = { (path: String, directory: String) in path == directory || path.hasPrefix(directory + "/") }
    return inside(path, directory.path) || (!directory.resolved.isEmpty && inside(resolved, directory.resolved))
  }
}

extension ServerControl {
  /// As many answers as paths, or an error.
  package func facts(ofPaths paths: [String], within limit: Duration) async throws -> [PathFacts] {
    var command = shell(Self.pathScript, paths, environment: ["LC_ALL": "C"], deadline: limit)
    command.label = "looking at directories"
    let lines = try await remote.runChecked(command.asking).text.split(separator: "\n")
    guard lines.count == paths.count else {
      throw ConvoyError(
        "host.unexpected-output", "\(command.displayName) printed \(lines.count) lines for \(paths.count) paths")
    }
    return try zip(paths, lines).map { path, line in
      guard let facts = PathFacts(path: path, parsing: line) else {
        throw ConvoyError("host.unexpected-output", "\(command.displayName) printed '\(line)' for \(path)")
      }
      return facts
    }
  }

  /// For each argument a line `KIND FILLED MOUNT WRITABLE DEVICE BLOCKS BLOCKSIZE RESOLVED ANCESTOR`, separated by tabs.
  private static let pathScript = """
    for p in "$@"; do
      if [ -L "$p" ]; then k=link; elif [ -d "$p" ]; then k=directory; elif [ -e "$p" ]; then k=other
      else k=missing; fi
      f=no; if [ -d "$p" ] && [ -n "$(ls -A -- "$p" 2>/dev/null | head -n 1)" ]; then f=yes; fi
      m=no; if [ "$k" = directory ] && cut -d ' ' -f 5 /proc/self/mountinfo 2>/dev/null |
        grep -Fxq -e "$(readlink -f -- "$p")"; then m=yes; fi
      a=$p; while [ ! -d "$a" ] && [ "$a" != / ]; do a=$(dirname -- "$a"); done
      w=no; if [ -w "$a" ] && [ -x "$a" ]; then w=yes; fi
      printf '%s\\t%s\\t%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' "$k" "$f" "$m" "$w" "$(stat -L -c %d -- "$a")" \
        "$(stat -f -c '%a\t%S' -- "$a")" "$(readlink -m -- "$p")" "$a"
    done
    """
}

extension PathFacts {
  /// From one line of the path script.
  package init?(path: String, parsing line: some StringProtocol) {
    let fields = line.split(separator: "\t", maxSplits: 8, omittingEmptySubsequences: false)
    guard fields.count == 9, let kind = Kind(rawValue: String(fields[0])), let blocks = UInt64(fields[5]),
      let size = UInt64(fields[6])
    else { return nil }
    self.init(
      path: path, kind: kind, isFilled: fields[1] == "yes", isMountPoint: fields[2] == "yes",
      ancestor: String(fields[8]), ancestorIsWritable: fields[3] == "yes", device: String(fields[4]),
      freeBytes: blocks.multipliedReportingOverflow(by: size).partialValue,
      resolved: String(fields[7]))
  }
}
