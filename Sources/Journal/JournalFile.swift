import FoundationEssentials
import GRDB
import Glibc
public import ReplicationModel

/// The journal: what was done, by which run, what was stopped, what is due. Never the truth about progress, which is
/// the target's replication origins.
///
/// One SQLite file in WAL mode that several processes use at once. Every method is one short transaction; no reader
/// is held open. Calls block, for at most `busyTimeout` when another process writes: use it from dedicated threads,
/// and `Journal` from async code. Safe from any thread.
///
/// Every method throws `journal.corrupt`, `journal.unwritable`, `journal.disk-full`, `journal.busy` or
/// `journal.failed` for what SQLite says, and what its own comment adds.
public final class JournalFile: Sendable {
  public static let busyTimeout: Duration = .seconds(10)

  public let directory: StateDirectory
  private let queue: DatabaseQueue

  /// Opens the journal in a state directory; both are made where they are missing.
  ///
  /// - Throws: besides the above `journal.newer-version`, `journal.foreign` and `journal.unsafe-directory`.
  public init(stateDirectory directory: StateDirectory) throws(ConvoyError) {
    try directory.prepare()
    // Two processes that open at once would both see an old schema, and SQLite's change to WAL mode does not wait.
    let opening = try FileLock.take(directory.openLockPath, wait: true)
    defer { opening?.release() }
    try Self.makeFile(directory.journalPath)
    var configuration = Configuration()
    configuration.busyMode = .timeout(Double(Self.busyTimeout.components.seconds))
    configuration.label = "pgconvoy journal"
    do {
      queue = try DatabaseQueue(path: directory.journalPath, configuration: configuration)
      try queue.writeWithoutTransaction { try Self.check($0, path: directory.journalPath) }
      try JournalSchema.migrator.migrate(queue)
    } catch {
      throw Self.convoyError(error, directory)
    }
    self.directory = directory
  }

  /// SQLite's own new files follow the umask; the WAL and its index take the mode of the file that they belong to.
  ///
  /// A file that is there is not opened here: closing it again would end the locks that another connection of this
  /// process has on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
  private static func makeFile(_ path: String) throws(ConvoyError) {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if descriptor >= 0 {
      close(descriptor)
    } else if errno != EEXIST || access(path, R_OK | W_OK) != 0 {
      throw unwritable(path, errno)
    }
  }

  /// Looks before anything is changed: is it a journal, sound, and not from the future?
  private static func check(_ database: Database, path: String) throws {
    let applicationID = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
    let isEmpty = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") == 0
    guard applicationID == JournalSchema.applicationID || (applicationID == 0 && isEmpty) else {
      throw ConvoyError(
        "journal.foreign", "the file is an SQLite database, but not a journal of pgconvoy", at: .path(path),
        hint: "name another state directory with --state")
    }
    if let fault = try String.fetchOne(database, sql: "PRAGMA quick_check(1)"), fault != "ok" {
      throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: fault)
    }
    if try JournalSchema.migrator.hasBeenSuperseded(database) {
      throw ConvoyError(
        "journal.newer-version", "the journal was written by a newer pgconvoy", at: .path(path),
        hint: "use that version, or a newer one; this one would not know what it must not undo")
    }
    let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
    guard mode == "wal" else {
      throw ConvoyError(
        "journal.unwritable", "the file system cannot share the journal between processes (no WAL mode)",
        at: .path(path), hint: "put the state directory on a local disk with --state")
    }
    // A service that was stopped must be on record after a power failure too.
    try database.execute(sql: "PRAGMA synchronous = FULL")
  }

  /// One read transaction.
  func read<Result>(_ body: (Database) throws -> Result) throws(ConvoyError) -> Result {
    do {
      return try queue.read(body)
    } catch {
      throw Self.convoyError(error, directory)
    }
  }

  /// One immediate transaction: it reads what it then writes, undisturbed by other processes.
  func write<Result>(_ body: (Database) throws -> Result) throws(ConvoyError) -> Result {
    do {
      return try queue.write(body)
    } catch {
      throw Self.convoyError(error, directory)
    }
  }

  /// One immediate transaction that the disk need not have when this returns. It survives this process; after a power
  /// failure it is there as a whole or not at all.
  func writeUnforced<Result>(_ body: (Database) throws -> Result) throws(ConvoyError) -> Result {
    do {
      return try queue.writeWithoutTransaction { database in
        try database.execute(sql: "PRAGMA synchronous = NORMAL")
        let result = Swift.Result {
          var result: Result?
          try database.inTransaction(.immediate) {
            result = try body(database)
            return .commit
          }
          return result
        }
        // Nobody else writes by this connection in between; what follows is forced again, whatever came of this.
        try database.execute(sql: "PRAGMA synchronous = FULL")
        guard let value = try result.get() else { throw DatabaseError(resultCode: .SQLITE_INTERNAL) }
        return value
      }
    } catch {
      throw Self.convoyError(error, directory)
    }
  }

  /// For tests of what a full disk or a newer version does.
  func execute(_ sql: String) throws(ConvoyError) {
    do {
      try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
    } catch {
      throw Self.convoyError(error, directory)
    }
  }

  /// For tests: 2 while what is written is forced to the disk.
  func synchronous() throws(ConvoyError) -> Int? {
    try read { try Int.fetchOne($0, sql: "PRAGMA synchronous") }
  }

  private static func convoyError(_ error: any Error, _ directory: StateDirectory) -> ConvoyError {
    if let error = error as? ConvoyError { return error }
    let path = directory.journalPath
    guard let error = error as? DatabaseError else {
      // A value that does not decode: a wrong type in a column, a broken JSON text.
      return corrupt(path, cause: String(describing: error))
    }
    let cause = error.message ?? String(describing: error.resultCode)
    switch error.resultCode {
    case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT:
      return corrupt(path, cause: cause)
    case .SQLITE_FULL:
      return unwritableCause(unwritable(path, ENOSPC), cause)
    case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
      return unwritableCause(unwritable(path, EACCES), cause)
    case .SQLITE_CANTOPEN:
      return ConvoyError(
        "journal.unwritable", "the journal cannot be opened", at: .path(path),
        hint: "check the owner and mode of the state directory, or name another one with --state", cause: cause)
    case .SQLITE_IOERR:
      return ConvoyError(
        "journal.unwritable", "the disk of the state directory reports errors", at: .path(path),
        hint: "check the disk (the kernel's log says more), then run the same command again", cause: cause)
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      return ConvoyError(
        "journal.busy", "another process has kept the journal locked for \(busyTimeout.components.seconds) seconds",
        at: .path(path), hint: "see which pgconvoy process hangs, end it, and run the same command again",
        cause: cause)
    default:
      return ConvoyError(
        "journal.failed", "the journal refuses the entry", at: .path(path),
        hint: "this is a fault of pgconvoy; run with -v and report what it says", cause: cause)
    }
  }

  private static func corrupt(_ path: String, cause: String) -> ConvoyError {
    ConvoyError(
      "journal.corrupt", "the journal is damaged", at: .path(path),
      hint: "restore the file from a backup, or move it aside; progress is safe, it is kept on the target",
      cause: cause)
  }

  private static func unwritableCause(_ error: ConvoyError, _ cause: String) -> ConvoyError {
    var copy = error
    copy.cause = cause
    return copy
  }
}
