import Foundation
import Glibc
import ReplicationModel
import TestSupport
import Testing

@testable import Journal

@Suite struct Locks {
  @Test func aSecondRunIsRefusedAndToldWhoHoldsIt() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let other = try state.open()
    let run = try journal.beginRun(command: "pgconvoy play migrate.yml")
    let lock = try journal.acquireLock(migration: "eu", run: run)
    #expect(lock.holder.pid == getpid())
    #expect(try other.lockHolder(migration: "eu")?.run == run)

    let second = try other.beginRun(command: "pgconvoy play cutover.yml")
    let error = try #require(convoyError { _ = try other.acquireLock(migration: "eu", run: second) })
    #expect(
      error.description == """
        error: \(state.directory.path)/migration-eu.lock: migration eu is held by pid \(getpid()) of \(userName()) on \
        \(hostName()) since \(lock.holder.since.formatted(.iso8601)) (pgconvoy play migrate.yml) [journal.locked]
        hint: wait until that run ends, or end it; it is safe to end a run at any moment
        """)
    // Another migration is free.
    let another = try other.acquireLock(migration: "eu/ü", run: second)
    #expect(state.directory.lockPath(migration: "eu/ü").hasSuffix("/state/migration-eu%2F%C3%BC.lock"))
    try another.release()

    try lock.release()
    #expect(try other.lockHolder(migration: "eu") == nil)
    let taken = try other.acquireLock(migration: "eu", run: second)
    #expect(taken.holder.run == second)
  }

  @Test func aLockWhoseHolderVanishedIsTakenOver() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "play")
    // The object goes without a release, as it does with a crash: the file is free, the row stays.
    do { _ = try journal.acquireLock(migration: "eu", run: run) }
    let me = ProcessIdentity.current()
    try journal.execute("UPDATE locks SET pid = \(try deadPID()), start_ticks = '1'")
    #expect(try journal.lockHolder(migration: "eu") == nil)
    let lock = try journal.acquireLock(migration: "eu", run: run)
    #expect(lock.holder.pid == me.pid)
    try lock.release()
  }

  @Test func aLockFromBeforeARebootIsTakenOver() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "play")
    do { _ = try journal.acquireLock(migration: "eu", run: run) }
    try journal.execute("UPDATE locks SET boot = 'before', pid = 1")
    _ = try journal.acquireLock(migration: "eu", run: run)
  }

  @Test func aLockFromAnotherMachineIsNotTakenOverUntilSomebodySaysSo() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "pgconvoy play")
    do { _ = try journal.acquireLock(migration: "eu", run: run) }
    try journal.execute("UPDATE locks SET boot = 'another', host = 'ws2', pid = 1, user = 'admin', since = 0")
    let error = try #require(convoyError { _ = try journal.acquireLock(migration: "eu", run: run) })
    let path = state.directory.lockPath(migration: "eu")
    #expect(
      error.description == """
        error: \(path): migration eu was taken on another machine by pid 1 of admin on ws2 since 1970-01-01T00:00:00Z \
        (pgconvoy play) [journal.locked-elsewhere]
        hint: end that run on ws2; if the machine is gone for good, remove \(path) and try again
        """)
    #expect(try journal.lockHolder(migration: "eu")?.host == "ws2")
    try FileManager.default.removeItem(atPath: path)
    _ = try journal.acquireLock(migration: "eu", run: run)
  }

  @Test func removingTheFileOfALivingHolderDoesNotGiveItAway() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "play")
    let lock = try journal.acquireLock(migration: "eu", run: run)
    try FileManager.default.removeItem(atPath: lock.holder.path(in: state.directory))
    // A process that certainly lives and is not this one.
    let living = getppid()
    let ticks = try #require(startTicks(of: living))
    try journal.execute("UPDATE locks SET pid = \(living), start_ticks = '\(ticks)'")
    for _ in 0..<2 {
      #expect(convoyError { _ = try journal.acquireLock(migration: "eu", run: run) }?.code == "journal.locked")
    }
  }

  @Test func aLivingProcessThatGaveTheFileUpWithoutAWordIsNotInTheWay() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "play")
    do { _ = try journal.acquireLock(migration: "eu", run: run) }
    let ticks = try #require(startTicks(of: getppid()))
    try journal.execute("UPDATE locks SET pid = \(getppid()), start_ticks = '\(ticks)'")
    _ = try journal.acquireLock(migration: "eu", run: run)
  }

  @Test func theSyncLockSaysWhoHoldsIt() throws {
    let state = try TemporaryState()
    #expect(try SyncProcessLock.status(stateDirectory: state.directory) == .init(running: false))
    let lock = try SyncProcessLock(stateDirectory: state.directory)
    #expect(try SyncProcessLock.status(stateDirectory: state.directory) == .init(running: true, pid: getpid()))
    #expect(try SyncProcessLock.isHeld(stateDirectory: state.directory) == getpid())
    let error = try #require(convoyError { _ = try SyncProcessLock(stateDirectory: state.directory) })
    #expect(error.code == "journal.sync-running")
    #expect(error.message == "a sync process runs already (pid \(getpid()))")
    #expect(state.mode(state.directory.syncLockPath) == 0o600)
    lock.release()
    #expect(try SyncProcessLock.isHeld(stateDirectory: state.directory) == nil)
    _ = try SyncProcessLock(stateDirectory: state.directory)
    #expect(try SyncProcessLock.status(stateDirectory: state.directory) == .init(running: false))
  }

  /// Another process holds the lock and is killed: nothing stays locked.
  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/python3")))
  func aKilledHoldersLockIsFree() async throws {
    let state = try TemporaryState()
    try state.directory.prepare()
    let holder = try Program([
      "/usr/bin/python3", "-c",
      """
      import fcntl, os, struct, sys, signal
      fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
      fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
      os.write(fd, b"%d\\n" % os.getpid())
      os.write(1, b"locked")
      signal.pause()
      """, state.directory.syncLockPath,
    ])
    #expect(try await holder.says("locked"))
    #expect(
      try SyncProcessLock.status(stateDirectory: state.directory)
        == .init(running: true, pid: holder.pid))
    #expect(
      convoyError { _ = try SyncProcessLock(stateDirectory: state.directory) }?.code == "journal.sync-running")
    holder.signal(SIGKILL)
    _ = try await holder.result()
    #expect(try SyncProcessLock.status(stateDirectory: state.directory) == .init(running: false))
    _ = try SyncProcessLock(stateDirectory: state.directory)
  }

  @Test func aProcessIsKnownByMoreThanItsNumber() throws {
    var process = ProcessIdentity.current()
    #expect(process.life() == .alive)
    process.startTicks = "1"
    #expect(process.life() == .dead)
    process = .current()
    process.pid = try deadPID()
    #expect(process.life() == .dead)
    process = .current()
    process.host = "elsewhere"
    #expect(process.life() == .unknown)
    process.boot = "another"
    #expect(process.life() == .unknown)
    process.host = hostName()
    #expect(process.life() == .dead)
  }

  /// The pid of a process that has ended and been waited for.
  private func deadPID() throws -> Int32 {
    let program = try Program(["true"])
    _ = program.wait()
    return program.pid
  }

  private func startTicks(of pid: Int32) -> String? {
    guard let line = readSmallFile("/proc/\(pid)/stat"), let end = line.lastIndex(of: ")") else { return nil }
    return String(line[end...].split(separator: " ")[20])
  }
}

extension LockHolder {
  fileprivate func path(in directory: StateDirectory) -> String { directory.lockPath(migration: migration) }
}
