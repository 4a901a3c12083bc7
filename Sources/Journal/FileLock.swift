import Glibc
import ReplicationModel

/// An exclusive lock on a whole file that ends with the process that took it, however it ends.
///
/// An open-file-description lock (`F_OFD_SETLK`, see fcntl(2)) and not flock(2), because it can be asked about
/// (`F_OFD_GETLK`) without being taken: somebody who only looks never makes somebody who takes it fail. Two locks in
/// one process exclude each other too; programs that the process starts do not inherit it (`O_CLOEXEC`).
final class FileLock: Sendable {
  // Linux's values, which Swift's Glibc module leaves out.
  private static let getLock: Int32 = 36
  private static let setLock: Int32 = 37
  private static let setLockAndWait: Int32 = 38

  let path: String
  /// Whether taking the lock made the file.
  let madeFile: Bool
  private let descriptor: Int32

  private init(path: String, descriptor: Int32, madeFile: Bool) {
    self.path = path
    self.descriptor = descriptor
    self.madeFile = madeFile
  }

  deinit {
    close(descriptor)
  }

  /// Takes the lock; nil when another holder has it and `wait` is false.
  static func take(_ path: String, wait: Bool = false) throws(ConvoyError) -> FileLock? {
    while true {
      var madeFile = true
      var descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      if descriptor < 0 && errno == EEXIST {
        madeFile = false
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        // Somebody removed it in between.
        if descriptor < 0 && errno == ENOENT { continue }
      }
      guard descriptor >= 0 else { throw unwritable(path, errno) }
      let lock = FileLock(path: path, descriptor: descriptor, madeFile: madeFile)
      guard try lock.request(wait: wait) else { return nil }
      if lock.isStillAtItsPath { return lock }
    }
  }

  /// Whether somebody holds the lock of this file. A file that is not there is not locked.
  static func isHeld(_ path: String) throws(ConvoyError) -> Bool {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return false }
      throw unwritable(path, errno)
    }
    defer { close(descriptor) }
    var region = wholeFile(F_WRLCK)
    guard fcntl(descriptor, getLock, &region) == 0 else { throw unwritable(path, errno) }
    return region.l_type != Int16(F_UNLCK)
  }

  /// Gives the lock up before the object goes.
  func release() {
    var region = Self.wholeFile(F_UNLCK)
    _ = fcntl(descriptor, Self.setLock, &region)
  }

  /// Replaces the file's content. Only for a few bytes that others may read while the lock is held.
  func write(_ text: String) throws(ConvoyError) {
    guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, text, text.utf8.count, 0) == text.utf8.count else {
      throw unwritable(path, errno)
    }
  }

  private func request(wait: Bool) throws(ConvoyError) -> Bool {
    var region = Self.wholeFile(F_WRLCK)
    while fcntl(descriptor, wait ? Self.setLockAndWait : Self.setLock, &region) != 0 {
      switch errno {
      case EINTR: continue
      case EAGAIN, EACCES: return false
      default: throw unwritable(path, errno)
      }
    }
    return true
  }

  /// False when the file was removed while the lock was being taken: others would then lock another file.
  private var isStillAtItsPath: Bool {
    var mine = stat()
    var current = stat()
    return fstat(descriptor, &mine) == 0 && stat(path, &current) == 0 && mine.st_ino == current.st_ino
      && mine.st_dev == current.st_dev
  }

  private static func wholeFile(_ type: Int32) -> flock {
    flock(l_type: Int16(type), l_whence: Int16(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0)
  }
}
