import Glibc
public import ReplicationModel

/// The sync process's hold on its state directory: one at a time applies changes from there.
///
/// A lock on `sync.lock` that ends with the process, however it ends; its pid stands inside the file.
public final class SyncProcessLock: Sendable {
  private let file: FileLock

  /// Takes the lock without waiting.
  ///
  /// - Throws: `journal.sync-running` with the pid of the process that has it, `journal.unwritable`.
  public init(stateDirectory directory: StateDirectory) throws(ConvoyError) {
    try directory.prepare()
    guard let file = try FileLock.take(directory.syncLockPath) else {
      let pid = try Self.status(stateDirectory: directory).pid
      throw ConvoyError(
        "journal.sync-running", "a sync process runs already" + (pid.map { " (pid \($0))" } ?? ""),
        at: .path(directory.syncLockPath), hint: "it picks up changes by itself; end it first to run another one here")
    }
    try file.write("\(getpid())\n")
    self.file = file
  }

  /// Gives the lock up before the object goes.
  public func release() {
    try? file.write("")
    file.release()
  }

  /// Whether a sync process runs, and its pid: nil in the moment between its lock and its first word. Takes nothing
  /// and disturbs nobody; needs no journal.
  public static func status(stateDirectory directory: StateDirectory) throws(ConvoyError) -> ConvoyStatus.Sync {
    guard try FileLock.isHeld(directory.syncLockPath) else { return ConvoyStatus.Sync(running: false) }
    let text = readSmallFile(directory.syncLockPath) ?? ""
    return ConvoyStatus.Sync(running: true, pid: Int32(text.prefix { $0 != "\n" }))
  }

  /// The pid of the sync process; nil when none runs (or in its very first moment, see `status`).
  public static func isHeld(stateDirectory directory: StateDirectory) throws(ConvoyError) -> Int32? {
    try status(stateDirectory: directory).pid
  }
}
