package import Glibc
import ReplicationModel

/// The path without symbolic links; nil when it does not exist.
package func realPath(_ path: String) -> String? {
  guard let pointer = realpath(path, nil) else { return nil }
  defer { free(pointer) }
  return String(cString: pointer)
}

func systemError(_ action: String, _ path: String) -> ConvoyError {
  ConvoyError("lab.file", "cannot \(action): \(String(cString: strerror(errno)))", at: .path(path))
}

/// True for a link that leads nowhere too.
package func fileExists(_ path: String) -> Bool {
  var info = stat()
  return lstat(path, &info) == 0
}

/// True for a directory, or a link to one.
func isDirectory(_ path: String) -> Bool {
  var info = stat()
  return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
}

/// The file as UTF-8.
///
/// - Throws: `ConvoyError` `lab.file`.
package func readText(_ path: String) throws -> String {
  guard let bytes = readBytes(path) else { throw systemError("read", path) }
  return String(decoding: bytes, as: UTF8.self)
}

/// The bytes of a file, of /proc too, where a size says nothing; nil when it cannot be read.
package func readBytes(_ path: String) -> [UInt8]? {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  return readAll(file)
}

func readAll(_ file: Int32) -> [UInt8]? {
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 16 << 10)
  while true {
    let count = read(file, &chunk, chunk.count)
    if count == 0 { return bytes }
    if count < 0 {
      if errno == EINTR { continue }
      return nil
    }
    bytes.append(contentsOf: chunk[..<count])
  }
}

/// Replaces a file in one step: a killed writer leaves the old file or the new one, never half of it.
package func writeFile(_ path: String, _ text: String, mode: mode_t = 0o644, owner: Account? = nil) throws {
  let temporary = path + ".new"
  let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
  guard file >= 0 else { throw systemError("write", path) }
  defer { close(file) }
  fchmod(file, mode)
  if let owner, geteuid() == 0 { fchown(file, owner.uid, owner.gid) }
  var rest = Array(text.utf8)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
    guard count > 0 || errno == EINTR else { throw systemError("write", path) }
    rest = rest.dropFirst(max(0, count))
  }
  guard rename(temporary, path) == 0 else { throw systemError("write", path) }
}

/// Makes one directory, which must not exist, with exactly that mode.
package func makeDirectory(_ path: String, mode: mode_t, owner: Account? = nil) throws {
  guard mkdir(path, mode) == 0, chmod(path, mode) == 0 else { throw systemError("make directory", path) }
  if let owner, geteuid() == 0, chown(path, owner.uid, owner.gid) != 0 { throw systemError("change owner of", path) }
}

/// Makes the directory and its parents where they are missing.
func makeDirectories(_ path: String) throws {
  var prefix = path.hasPrefix("/") ? "" : "."
  for part in path.split(separator: "/") {
    prefix += "/" + part
    if mkdir(prefix, 0o755) != 0 && errno != EEXIST && !isDirectory(prefix) {
      throw systemError("make directory", prefix)
    }
  }
}

/// The names in a directory, sorted, without `.` and `..`; empty when it cannot be read.
package func directoryEntries(_ path: String) -> [String] {
  guard let handle = opendir(path) else { return [] }
  defer { closedir(handle) }
  var names: [String] = []
  while let entry = readdir(handle) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
      pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// Removes a tree, without crossing into other file systems. Nothing there is fine.
package func removeTree(_ path: String) throws {
  let result = try ChildProcess.run("/bin/rm", ["-rf", "--one-file-system", "--", path])
  guard result.status == 0 else {
    throw ConvoyError("lab.file", "cannot remove the directory", at: .path(path), cause: result.output)
  }
}

/// The last lines of a log, for an error's cause.
func tail(_ path: String, lines: Int = 5) -> String? {
  guard let bytes = readBytes(path), !bytes.isEmpty else { return nil }
  return String(decoding: bytes.suffix(8 << 10), as: UTF8.self).split(separator: "\n").suffix(lines)
    .joined(separator: "\n")
}

/// A user of the operating system.
package struct Account: Sendable, Equatable {
  package var name: String
  package var uid: uid_t
  package var gid: gid_t
  var shell: String

  /// The user of that name; nil when there is none.
  package static func named(_ name: String) -> Account? {
    lookUp { getpwnam_r(name, $0, $1, $2, $3) }
  }

  /// The one that this process runs as.
  package static func current() -> Account {
    lookUp { getpwuid_r(geteuid(), $0, $1, $2, $3) }
      ?? Account(name: String(geteuid()), uid: geteuid(), gid: getegid(), shell: "/bin/sh")
  }

  private static func lookUp(
    _ call: (
      UnsafeMutablePointer<passwd>, UnsafeMutablePointer<CChar>, Int,
      UnsafeMutablePointer<UnsafeMutablePointer<passwd>?>
    ) -> Int32
  ) -> Account? {
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16 << 10) { buffer in
      guard let base = buffer.baseAddress, call(&entry, base, buffer.count, &found) == 0, found != nil else {
        return nil
      }
      let shell = entry.pw_shell.map { String(cString: $0) } ?? ""
      return Account(
        name: String(cString: entry.pw_name), uid: entry.pw_uid, gid: entry.pw_gid, shell: shell)
    }
  }
}

/// A word as a POSIX shell takes it.
package func shellQuoted(_ text: String) -> String {
  var quoted = "'"
  for scalar in text.unicodeScalars {
    if scalar == "'" { quoted += "'\\''" } else { quoted.unicodeScalars.append(scalar) }
  }
  return quoted + "'"
}
