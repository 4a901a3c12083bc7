internal import ReplicationModel

// Files travel through commands, not SFTP, so that they can belong to another operating-system user and so that both
// transports do the same.

extension RemoteHost {
  public func upload(_ content: [UInt8], to path: String, mode: UInt16, owner: String?, as user: String?) async throws {
    try await put(content, at: path, attributes: [octal(mode), owner ?? ""], as: user)
  }

  public func replace(_ path: String, with content: [UInt8], as user: String?) async throws {
    try await put(content, at: path, attributes: ["keep", ""], as: user)
  }

  private func put(_ content: [UInt8], at path: String, attributes: [String], as user: String?) async throws {
    guard path.utf8.first == UInt8(ascii: "/"), path.utf8.last != UInt8(ascii: "/") else {
      throw ConvoyError("host.file-failed", "cannot write \(path): not the absolute path of a file", at: .host(name))
    }
    let result = try await run(
      .shell(
        uploadScript, arguments: [path, String(content.count)] + attributes, user: user, standardInput: content,
        label: "writing \(path)"))
    guard !result.succeeded else { return }
    throw fileError(result, "cannot write \(path)")
  }

  public func download(_ path: String, as user: String?) async throws -> RemoteFile {
    let result = try await run(
      .shell(downloadScript, arguments: [path], user: user, label: "reading \(path)"))
    guard result.succeeded else { throw fileError(result, "cannot read \(path)") }
    let output = result.standardOutput
    if let end = output.firstIndex(of: UInt8(ascii: "\n")) {
      let fields = output[..<end].split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
      if fields.count == 5, let mode = UInt16(fields[0], radix: 8) {
        return RemoteFile(
          content: Array(output[(end + 1)...]), mode: mode,
          owner: fields[1] == "UNKNOWN" ? fields[3] : fields[1],
          group: fields[2] == "UNKNOWN" ? fields[4] : fields[2])
      }
    }
    throw ConvoyError("host.file-failed", "cannot read \(path): stat gave no answer", at: .host(name))
  }

  private func fileError(_ result: CommandResult, _ words: String) -> ConvoyError {
    switch result.exitStatus {
    case 93: return ConvoyError("host.file-missing", "\(words): no such file", at: .host(name))
    case 94: return ConvoyError("host.file-failed", "\(words): not a regular file", at: .host(name))
    case 95:
      return ConvoyError("host.file-failed", "\(words): the content arrived incomplete", at: .host(name))
    default:
      let reason = lastLine(of: result.standardError) ?? result.endDescription
      return ConvoyError("host.file-failed", "\(words): \(reason)", at: .host(name))
    }
  }
}

/// `$1` path, `$2` size, `$3` mode or `keep`, `$4` owner or nothing. The size is compared before the rename: when the
/// connection is lost, `cat` just sees the end of its input. What is kept is also what only `cp` knows of: access
/// control lists and other extended attributes.
private let uploadScript = """
  set -eu
  umask 077
  p=$1
  [ "$3" != keep ] || [ ! -L "$p" ] || p=$(readlink -e -- "$p") || exit 93
  [ ! -d "$p" ] || exit 94
  [ "$3" != keep ] || [ -f "$p" ] || exit 93
  t=$(mktemp -- "$p.XXXXXXXX")
  trap 'rm -f -- "$t"' EXIT
  trap 'exit 1' HUP INT TERM
  cat >"$t"
  [ "$(wc -c <"$t")" -eq "$2" ] || exit 95
  if [ "$3" = keep ]; then
    cp --attributes-only --preserve=all -- "$p" "$t"
    chown --reference="$p" -- "$t"
    chmod --reference="$p" -- "$t"
    touch -- "$t"
  else
    [ -z "$4" ] || chown -- "$4" "$t"
    chmod -- "$3" "$t"
  fi
  sync -- "$t"
  mv -f -T -- "$t" "$p"
  trap - EXIT
  sync -- "$(dirname -- "$p")"
  """

/// Everything is said about the one file that descriptor 3 holds, even if another takes its place meanwhile.
private let downloadScript = """
  [ -e "$1" ] || [ -L "$1" ] || { d=$(dirname -- "$1"); [ ! -d "$d" ] || [ ! -x "$d" ] || exit 93; }
  [ ! -e "$1" ] || [ -f "$1" ] || exit 94
  exec 3<"$1" || exit 1
  stat -L -c '%a %U %G %u %g' /dev/fd/3 || exit 1
  exec cat <&3
  """

private func octal(_ mode: UInt16) -> String {
  let digits = String(mode & 0o7777, radix: 8)
  return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
