import Glibc
public import ReplicationModel

/// The directory that holds everything pgconvoy keeps on this machine: the journal, locks, logs.
///
/// Made with mode 0700; its files are made with 0600. A directory that exists keeps its mode, but one that everybody
/// may write to is refused: anybody could put a journal of their own there.
public struct StateDirectory: Sendable, Hashable {
  public let path: String

  public init(path: String) {
    self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
  }

  public var journalPath: String { path + "/journal.sqlite" }
  /// Held by the sync process for as long as it runs; its pid stands inside.
  public var syncLockPath: String { path + "/sync.lock" }
  var openLockPath: String { path + "/journal.lock" }

  /// Held by the run that works on the migration.
  public func lockPath(migration: String) -> String { path + "/migration-" + encoded(migration) + ".lock" }

  /// Held by who writes the servers' record of the migration.
  func publicationLockPath(migration: String) -> String { path + "/record-" + encoded(migration) + ".lock" }

  /// Bytes outside `A-Za-z0-9_-` are written as `%XX`.
  private func encoded(_ migration: String) -> String {
    var encoded = ""
    for byte in migration.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        encoded.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        encoded += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return encoded
  }

  /// What tells it from others, copies of it included: `ws1:/home/admin/.pgconvoy`.
  public var owner: String { hostName() + ":" + path }

  /// Whether a journal has ever been opened here; for commands that only look.
  public var hasJournal: Bool { access(journalPath, F_OK) == 0 }

  /// Makes the directory, and those above it, where they are missing.
  ///
  /// - Throws: `journal.unwritable`, `journal.unsafe-directory`.
  public func prepare() throws(ConvoyError) {
    try makeDirectory(path, mode: 0o700)
    var status = stat()
    guard stat(path, &status) == 0 else { throw unwritable(path, errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw unwritable(path, ENOTDIR) }
    if status.st_mode & S_IWOTH != 0 {
      throw ConvoyError(
        "journal.unsafe-directory", "everybody may write to the state directory", at: .path(path),
        hint: "name a directory of its own with --state, or take the permission away (chmod o-w)")
    }
  }

  private func makeDirectory(_ path: String, mode: mode_t) throws(ConvoyError) {
    if mkdir(path, mode) == 0 { return }
    let failure = errno
    if failure == EEXIST { return }
    guard failure == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else {
      throw unwritable(path, failure)
    }
    try makeDirectory(String(path[..<slash]), mode: 0o777)
    if mkdir(path, mode) != 0 && errno != EEXIST { throw unwritable(path, errno) }
  }
}

/// `journal.unwritable` (or `journal.disk-full`) for a failed system call.
func unwritable(_ path: String, _ code: Int32) -> ConvoyError {
  let reason = String(cString: strerror(code)).lowercased()
  if code == ENOSPC || code == EDQUOT {
    return ConvoyError(
      "journal.disk-full", "the disk of the state directory is full", at: .path(path),
      hint: "make room there and run the same command again", cause: reason)
  }
  return ConvoyError(
    "journal.unwritable", "the state directory cannot be used: \(reason)", at: .path(path),
    hint: "check its owner and mode, or name another directory with --state", cause: reason)
}
