import FoundationEssentials
import GRDB
import Glibc
public import ReplicationModel

/// One run's hold on one migration. Ends with `release()`, with the object, or with the process, however that ends.
///
/// Two things make it: a lock on a file, which the kernel gives up when the process dies, and a row in the journal,
/// which says who holds it. The file is the truth on one machine; the row is all there is when a state directory came
/// from another one.
public final class MigrationLock: Sendable {
  public let holder: LockHolder
  private let file: FileLock
  private let journal: JournalFile

  init(holder: LockHolder, file: FileLock, journal: JournalFile) {
    self.holder = holder
    self.file = file
    self.journal = journal
  }

  /// Gives the migration free for other runs. The row is removed first, so that nobody reads a holder that has gone.
  public func release() throws(ConvoyError) {
    defer { file.release() }
    try journal.write { database in
      try database.execute(
        sql: "DELETE FROM locks WHERE migration = ? AND run = ?",
        arguments: [holder.migration, holder.run.rawValue])
    }
  }
}

/// The right to write the servers' record of one migration from one state directory, for a moment. A play and a sync process
/// both do.
public final class PublicationLock: Sendable {
  private let file: FileLock

  private init(_ file: FileLock) { self.file = file }

  /// Nil while another process, or another task of this one, has it.
  public static func take(
    _ directory: StateDirectory, migration: String
  ) throws(ConvoyError) -> PublicationLock? {
    try FileLock.take(directory.publicationLockPath(migration: migration)).map(PublicationLock.init)
  }

  public func release() { file.release() }
}

extension JournalFile {
  /// Whether a run works on the migration from this state directory, this process's own included.
  public func isHeld(migration: String) throws(ConvoyError) -> Bool {
    try FileLock.isHeld(directory.lockPath(migration: migration))
  }

  /// Whether something of a migration is not on its servers yet; one small question.
  public func isAhead(migration name: String) throws(ConvoyError) -> Bool {
    try read { try Bool.fetchOne($0, sql: "SELECT is_ahead FROM migrations WHERE name = ?", arguments: [name]) }
      ?? false
  }

  /// Takes a migration for a run, or says who has it. Never waits for the holder.
  ///
  /// What a process left behind that is gone is taken over. One that another machine left behind is not, because
  /// nobody here can tell whether it still runs; removing the lock file, as the hint says, is the operator's word that
  /// it does not.
  ///
  /// - Throws: `journal.locked`, `journal.locked-elsewhere`.
  public func acquireLock(migration: String, run: RunID) throws(ConvoyError) -> MigrationLock {
    let path = directory.lockPath(migration: migration)
    guard let file = try FileLock.take(path) else {
      throw locked(migration, try lockHolder(migration: migration))
    }
    let me = ProcessIdentity.current()
    let holder = try write { database in
      if let row = try Row.fetchOne(database, sql: "SELECT * FROM locks WHERE migration = ?", arguments: [migration]) {
        try self.checkLeftOver(row, observer: me, file: file)
      }
      guard
        let command = try String.fetchOne(
          database, sql: "SELECT command FROM runs WHERE id = ?", arguments: [run.rawValue])
      else {
        throw ConvoyError(
          "journal.unknown-run", "run \(run) is not in the journal", at: .path(self.directory.journalPath),
          hint: "was the journal moved away while a command ran? run the command again")
      }
      let now = Moment.now
      try database.execute(
        sql: """
          INSERT OR REPLACE INTO locks (migration, run, command, user, host, pid, boot, start_ticks, since)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          migration, run.rawValue, command, userName(), me.host, me.pid, me.boot, me.startTicks, now,
        ])
      return LockHolder(
        migration: migration, run: run, command: command, user: userName(), host: me.host, pid: me.pid,
        since: now.date)
    }
    return MigrationLock(holder: holder, file: file, journal: self)
  }

  /// Who holds the migration; nil when nobody on this machine does and no other machine has left a word.
  public func lockHolder(migration: String) throws(ConvoyError) -> LockHolder? {
    let isHeld = try FileLock.isHeld(directory.lockPath(migration: migration))
    return try read { database in
      guard
        let row = try Row.fetchOne(database, sql: "SELECT * FROM locks WHERE migration = ?", arguments: [migration]),
        try isHeld || row.decoded(as: ProcessIdentity.self).life() == .unknown
      else { return nil }
      return try row.decoded()
    }
  }

  /// We have the file; what does the row of somebody who had it say?
  private func checkLeftOver(_ row: Row, observer: ProcessIdentity, file: FileLock) throws {
    let identity: ProcessIdentity = try row.decoded()
    // Our own, left behind when a release could not write.
    if identity == observer { return }
    switch identity.life(seenFrom: observer) {
    case .dead: return
    case .alive:
      // It gave the file up without a word; unless somebody removed the file that it still holds. Then ours must not
      // stay: the next one to come would believe that the holder gave it up.
      if file.madeFile {
        unlink(file.path)
        let holder: LockHolder = try row.decoded()
        throw locked(holder.migration, holder)
      }
    case .unknown:
      // On one kernel the file would still be locked; and who removed the file has answered the question.
      if identity.boot == observer.boot || file.madeFile { return }
      let holder: LockHolder = try row.decoded()
      throw ConvoyError(
        "journal.locked-elsewhere",
        "migration \(holder.migration) was taken on another machine by \(holder.summary)",
        at: .path(file.path),
        hint: "end that run on \(holder.host); if the machine is gone for good, remove \(file.path) and try again")
    }
  }

  private func locked(_ migration: String, _ holder: LockHolder?) -> ConvoyError {
    ConvoyError(
      "journal.locked", "migration \(migration) is held by \(holder?.summary ?? "another run")",
      at: .path(directory.lockPath(migration: migration)),
      hint: "wait until that run ends, or end it; it is safe to end a run at any moment")
  }
}

extension LockHolder {
  /// `pid 4711 of admin on ws1 since 2026-03-01T10:00:00Z (pgconvoy play migrate.yml)`
  public var summary: String {
    "pid \(pid) of \(user) on \(host) since \(since.formatted(.iso8601)) (\(command))"
  }
}
