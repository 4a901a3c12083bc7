import FoundationEssentials
import ReplicationModel
import Testing

@testable import Journal

@Suite struct Deeds {
  @Test func aDeedIsKeptWithoutPasswords() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "pgconvoy play")
    let deed = try journal.beginDeed(
      run: run, migration: "eu", step: "prepare_source", host: "old", kind: "sql",
      text: "ALTER ROLE pgconvoy PASSWORD 'geheim'")
    // Another process sees it while it is under way.
    let open = try #require(try state.open().deeds(migration: "eu").first)
    #expect(open.id == deed && open.run == run && open.ended == nil && open.outcome == nil && !open.isUndo)
    #expect(open.host == "old" && open.kind == "sql" && open.text == "ALTER ROLE pgconvoy PASSWORD ***")
    try journal.endDeed(deed, outcome: .failed, error: "postgres://u:geheim@h said no")
    let ended = try #require(try journal.deeds(run: run).first)
    #expect(ended.outcome == .failed && ended.error == "postgres://u:***@h said no")
    #expect(try #require(ended.ended) >= ended.began)
  }

  @Test func aDeedThatIsOverIsOneInsert() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    var row = DeedRow(
      run: nil, migration: "eu", step: "fence", isUndo: true, kind: "wait", text: "until nobody is left",
      began: Date(timeIntervalSince1970: 1_700_000_000.125), ended: Date(timeIntervalSince1970: 1_700_000_000.5),
      outcome: .done)
    row.id = try journal.recordDeed(row)
    try journal.recordDeed(DeedRow(run: nil, migration: "eu", step: "drain", kind: "command", text: "true"))
    try journal.recordDeed(DeedRow(run: nil, migration: "us", step: "fence", kind: "command", text: "true"))
    #expect(try journal.deeds(migration: "eu", step: "fence") == [row])
    #expect(try journal.deeds(migration: "eu").map(\.step) == ["fence", "drain"])
    #expect(try journal.deeds(step: "fence").map(\.migration) == ["eu", "us"])
    #expect(try journal.deeds().count == 3)
  }

  @Test func noDeedOfAnEndedRunIsOpen() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    func begin() throws -> RunID {
      let run = try journal.beginRun(command: "pgconvoy play")
      _ = try journal.beginDeed(run: run, migration: "eu", step: "fence", kind: "command", text: "true")
      return run
    }
    let ended = try begin()
    try journal.endRun(ended, outcome: .done)
    let killed = try begin()
    #expect(try journal.deeds().map(\.outcome) == [.interrupted, nil])
    try journal.execute("UPDATE runs SET start_ticks = 'another process' WHERE id = \(killed)")
    let running = try begin()
    #expect(try journal.deeds().map(\.outcome) == [.interrupted, .interrupted, nil])
    #expect(try journal.deeds(run: running).map(\.ended) == [nil])
  }

  @Test func onlyTheNewestRunsOfAMigrationKeepTheirDeeds() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    func write(_ migration: String, _ run: RunID?, _ count: Int = 1) throws {
      for number in 0..<count {
        try journal.recordDeed(DeedRow(run: run, migration: migration, step: "s", kind: "note", text: "\(number)"))
      }
    }
    let first = try journal.beginRun(command: "play")
    try write("us", first, 3)
    try write("us", nil, JournalFile.deedsOfNoRun + 2)
    var runs: [RunID] = []
    for _ in 0..<JournalFile.runsWithDeeds + 2 {
      let run = try journal.beginRun(command: "play")
      runs.append(run)
      try write("eu", run, 2)
    }
    // Those of the run before the last are looked at when the last begins.
    #expect(try journal.deeds(migration: "eu").count == 2 * (JournalFile.runsWithDeeds + 1))
    _ = try journal.beginRun(command: "play")
    #expect(
      try journal.deeds(migration: "eu").map(\.run)
        == runs.suffix(JournalFile.runsWithDeeds).flatMap { [$0, $0] })
    // Another migration's old run is its newest.
    let others = try journal.deeds(migration: "us")
    #expect(others.count { $0.run == first } == 3)
    #expect(others.filter { $0.run == nil }.map(\.text) == (2..<JournalFile.deedsOfNoRun + 2).map { "\($0)" })
  }

  /// A deed does not wait for the disk; what follows it does again.
  @Test func whatIsNotADeedIsStillForced() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    #expect(try journal.synchronous() == 2)
    let row = DeedRow(run: nil, migration: "eu", step: "s", kind: "note", text: "x")
    try journal.recordDeed(row)
    #expect(try journal.synchronous() == 2)
    try journal.execute("CREATE TRIGGER no BEFORE INSERT ON deeds BEGIN SELECT raise(ABORT, 'no'); END")
    #expect(convoyError { _ = try journal.recordDeed(row) }?.code == "journal.failed")
    #expect(try journal.synchronous() == 2)
    #expect(try journal.deeds().count == 1)
  }

  @Test func anUnknownOutcomeIsDamage() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.recordDeed(DeedRow(run: nil, migration: "eu", step: "s", kind: "note", text: "x"))
    try journal.execute("UPDATE deeds SET outcome = 'flying'")
    #expect(convoyError { _ = try journal.deeds() }?.code == "journal.corrupt")
  }
}
