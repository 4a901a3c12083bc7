import RemoteHost
import ReplicationModel

/// A server's pg_hba.conf on its host.
package struct HBAFile: Sendable {
  package let server: ServerControl
  /// Absolute.
  package let path: String

  package init(server: ServerControl, path: String) {
    self.server = server
    self.path = path
  }

  package func read() async throws -> HostBasedAuthentication {
    HostBasedAuthentication(try await server.download(path), path: path)
  }

  /// Puts the block on top; owner and mode stay.
  package func fence(
    for role: HBARole, note: String, disabling disabled: [HostBasedAuthentication.SubscriptionName] = []
  ) async throws {
    let fenced = try await read().fenced(for: role, note: note, disabling: disabled)
    try await server.replace(path, with: fenced.text)
  }

  /// Takes the block out again. Nothing happens when there is none.
  ///
  /// - Parameter known: the file's text, where it has just been read.
  package func lift(_ known: HostBasedAuthentication? = nil) async throws {
    let current = if let known { known } else { try await read() }
    guard current.isFenced else { return }
    try await server.replace(path, with: current.unfenced.text)
  }

  /// Why the server's user could not give the file another text, with all else as it is; nil when it could. Only looks.
  ///
  /// - Parameter directory: of files in it only whether they can be read counts.
  package func obstacleToReplacing(unlessIn directory: String = "") async throws -> String? {
    let reason = try await server.ask(Self.replacing, [path, directory], label: "looking at \(path)")
    return reason.isEmpty ? nil : reason
  }

  private static let replacing = """
    u=$(id -un)
    say() { printf '%s\\n' "$1"; exit 0; }
    p=$(readlink -e -- "$1") || say 'it leads nowhere, or somewhere that cannot be looked at'
    d=$(dirname -- "$p")
    [ -f "$p" ] || say 'it is no regular file'
    [ -r "$p" ] || say "$u cannot read $p"
    if [ -n "$2" ]; then case $p in "$(readlink -f -- "$2")"/*) exit 0 ;; esac; fi
    [ -w "$d" ] && [ -x "$d" ] || say "$u cannot write to $d"
    if cut -d ' ' -f 5 /proc/self/mountinfo 2>/dev/null | grep -Fxq -e "$p"; then say "$p is a mount point"; fi
    case $(lsattr -d -- "$p" 2>/dev/null | cut -d ' ' -f 1) in *[ai]*) say "$p is immutable (chattr)" ;; esac
    [ "$(id -u)" != 0 ] || exit 0
    [ "$(stat -c %u -- "$p")" = "$(id -u)" ] || say "$p belongs to $(stat -c %U -- "$p")"
    g=$(stat -c %g -- "$p")
    if ! [ -g "$d" ]; then
      case " $(id -G) " in *" $g "*) ;; *) say "$u is not in its group, $(stat -c %G -- "$p")" ;; esac
    fi
    """

  /// Every file that a text in this file's place points to, directly or not, as far as it is there.
  func filesBeside(_ text: String, serverVersion: Int) async throws -> HBAFiles {
    var found = HBAFiles()
    var due = [(path: path, text: text)]
    while let next = due.popLast() {
      for reference in HostBasedAuthentication(next.text, path: next.path).references(serverVersion) {
        let path = HBAFiles.path(reference.path, in: HBAFiles.directory(of: next.path))
        var paths = [path]
        if reference.isDirectory {
          paths = try await ConfigurationFiles.files(in: path, server)
          found.directories[path] = paths
        }
        for path in paths where found.texts[path] == nil {
          guard try await server.exists(path) else { continue }
          let text = try await server.download(path)
          found.texts[path] = text
          due.append((path, text))
        }
      }
    }
    return found
  }
}
