import Foundation
import Glibc
import ReplicationModel
import Testing

@testable import Journal

@Suite struct Trouble {
  @Test func theFilesAreForTheirOwnerOnly() throws {
    let state = try TemporaryState()
    #expect(!state.directory.hasJournal)
    let journal = try state.open()
    _ = try journal.beginRun(command: "play")
    #expect(state.directory.hasJournal)
    #expect(state.mode(state.directory.path) == 0o700)
    for file in try FileManager.default.contentsOfDirectory(atPath: state.directory.path) {
      #expect(state.mode(state.directory.path + "/" + file) == 0o600, "\(file)")
    }
    #expect(FileManager.default.fileExists(atPath: state.directory.journalPath + "-wal"))
  }

  @Test(arguments: [0, 4096, 5000, 100_000])
  func aDamagedJournalIsSaidToBeDamaged(size: Int) throws {
    let state = try TemporaryState()
    try state.directory.prepare()
    let garbage = Data(repeating: 0x41, count: size)
    #expect(FileManager.default.createFile(atPath: state.directory.journalPath, contents: garbage))
    let error = convoyError { _ = try state.open() }
    guard size > 0 else {
      #expect(error == nil)
      return
    }
    #expect(error?.code == "journal.corrupt")
    #expect(
      error?.description == """
        error: \(state.directory.journalPath): the journal is damaged [journal.corrupt]
        hint: restore the file from a backup, or move it aside; progress is safe, it is kept on the target
        """)
  }

  @Test func aPageThatWasOverwrittenIsFound() throws {
    let state = try TemporaryState()
    do {
      let journal = try state.open()
      for _ in 0..<50 { _ = try journal.beginRun(command: String(repeating: "x", count: 500)) }
      try journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    }
    let handle = try #require(FileHandle(forUpdatingAtPath: state.directory.journalPath))
    let size = try handle.seekToEnd()
    for page in stride(from: 4096, to: size, by: 4096) {
      try handle.seek(toOffset: page)
      try handle.write(contentsOf: Data(repeating: 0xFF, count: 64))
    }
    try handle.close()
    #expect(convoyError { _ = try state.open() }?.code == "journal.corrupt")
  }

  @Test func aValueThatNobodyWroteIsDamageNotACrash() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    try journal.execute("UPDATE migrations SET state = 'flying'")
    #expect(convoyError { _ = try journal.migration("eu") }?.code == "journal.corrupt")
    try journal.execute("UPDATE migrations SET state = 'none', generation = 'many'")
    #expect(convoyError { _ = try journal.generations() }?.code == "journal.corrupt")
    #expect(convoyError { _ = try journal.migrations() }?.code == "journal.corrupt")
  }

  @Test(arguments: [
    "ended = 'never'", "outcome = 'flying'", "pid = 'many'", "user = x'FF'", "started = 'once'",
  ])
  func aDamagedRunIsDamageNotACrash(change: String) throws {
    let state = try TemporaryState()
    let journal = try state.open()
    _ = try journal.beginRun(command: "play")
    try journal.execute("UPDATE runs SET \(change)")
    let error = try #require(convoyError { _ = try journal.runs() })
    #expect(error.code == "journal.corrupt")
    #expect(error.message == "the journal is damaged")
  }

  @Test(arguments: [
    "hand_offs SET lsn = 'far'", "hand_offs SET reverse_lsn = 7", "hand_offs SET source_system_identifier = '-1'",
    "hand_offs SET source_timeline = 'x'", "hand_off_databases SET state = 'gone'", "hand_off_databases SET oid = -1",
  ])
  func aDamagedHandOffIsDamageNotACrash(change: String) throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    let names = HandOffNames.random()
    let record = HandOffRecord(
      names: names, sourceSystemIdentifier: 1, sourceTimeline: 1,
      databases: [HandOffDatabase(name: "d", oid: 5, names: names)])
    try journal.beginHandOff(record, migration: "eu")
    #expect(try journal.migration("eu")?.handOff?.databases.count == 1)
    try journal.execute("UPDATE \(change)")
    #expect(convoyError { _ = try journal.migration("eu") }?.code == "journal.corrupt")
  }

  @Test func aNewerVersionsJournalIsLeftAlone() throws {
    let state = try TemporaryState()
    try state.open().execute("INSERT INTO grdb_migrations VALUES ('v999')")
    let error = try #require(convoyError { _ = try state.open() })
    #expect(
      error.description == """
        error: \(state.directory.journalPath): the journal was written by a newer pgconvoy [journal.newer-version]
        hint: use that version, or a newer one; this one would not know what it must not undo
        """)
  }

  @Test func anotherProgramsDatabaseIsLeftAlone() throws {
    let state = try TemporaryState()
    try state.open().execute("PRAGMA application_id = 0")
    #expect(convoyError { _ = try state.open() }?.code == "journal.foreign")
  }

  @Test func aFullDiskIsSaidToBeFullAndNothingIsHalfWritten() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.execute("PRAGMA max_page_count = 1")
    let error = try #require(
      convoyError { for _ in 0..<500 { _ = try journal.beginRun(command: String(repeating: "x", count: 9000)) } })
    #expect(
      error.description == """
        error: \(state.directory.journalPath): the disk of the state directory is full [journal.disk-full]
        hint: make room there and run the same command again
        """)
    try journal.execute("PRAGMA max_page_count = 1000000")
    _ = try journal.beginRun(command: "play")
  }

  @Test func aStateDirectoryThatCannotBeOneIsSaidSo() throws {
    let state = try TemporaryState()
    try state.directory.prepare()
    let file = state.directory.path + "/file"
    #expect(FileManager.default.createFile(atPath: file, contents: Data()))
    for path in [file, file + "/below", "/proc/pgconvoy-state", String(repeating: "x", count: 300)] {
      let error = convoyError { _ = try JournalFile(stateDirectory: StateDirectory(path: path)) }
      #expect(error?.code == "journal.unwritable", "\(path)")
      #expect(error?.hint == "check its owner and mode, or name another directory with --state")
    }
  }

  @Test(.enabled(if: geteuid() != 0, "root may write everywhere"))
  func aReadOnlyStateDirectoryIsSaidSo() throws {
    let state = try TemporaryState()
    try state.directory.prepare()
    chmod(state.directory.path, 0o500)
    defer { chmod(state.directory.path, 0o700) }
    #expect(convoyError { _ = try state.open() }?.code == "journal.unwritable")
  }

  @Test func aReadOnlyJournalIsSaidSo() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.execute("PRAGMA query_only = 1")
    let error = convoyError { _ = try journal.beginRun(command: "play") }
    #expect(error?.code == "journal.unwritable")
    #expect(error?.message == "the state directory cannot be used: permission denied")
  }

  @Test func aDirectoryThatEverybodyMayWriteToIsRefused() throws {
    let state = try TemporaryState()
    try state.directory.prepare()
    chmod(state.directory.path, 0o777)
    #expect(convoyError { _ = try state.open() }?.code == "journal.unsafe-directory")
  }
}
