import BlockingIO
import FoundationEssentials
import Glibc
import ReplicationModel
import Testing

@testable import Journal

@Suite struct RunsAndSteps {
  @Test func aRunAndItsStepsAreKeptWithoutPasswords() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let run = try journal.beginRun(command: "pgconvoy play x --uri postgres://u:geheim@h/d")
    let first = try journal.beginStep(run: run, migration: "eu", name: "stop_services", host: "chef-old")
    try journal.endStep(first, outcome: .changed, summary: "stopped nginx")
    let second = try journal.beginStep(run: run, migration: "eu", name: "fence")
    try journal.endStep(second, outcome: .failed, error: "could not connect: password = 'geheim' refused")
    try journal.endRun(run, outcome: .failed)

    let kept = try #require(try journal.runs().first)
    #expect(kept.command == "pgconvoy play x --uri postgres://u:***@h/d")
    #expect(kept.pid == getpid())
    #expect(kept.outcome == .failed)
    #expect(kept.ended != nil)
    let steps = try journal.steps(migration: "eu")
    #expect(steps.map(\.name) == ["stop_services", "fence"])
    #expect(steps.map(\.outcome) == [.changed, .failed])
    #expect(steps.map(\.host) == ["chef-old", nil])
    #expect(steps[0].summary == "stopped nginx")
    #expect(steps[1].error == "could not connect: password = *** refused")
    #expect(try journal.steps(migration: "us").isEmpty)
    #expect(try journal.steps(run: run).count == 2)
  }

  @Test func aRunWhoseProcessIsGoneIsClosedByTheNextOne() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    let dead = try journal.beginRun(command: "pgconvoy play")
    _ = try journal.beginStep(run: dead, migration: "eu", name: "base_backup")
    let alive = try journal.beginRun(command: "pgconvoy sync")
    try journal.execute("UPDATE runs SET start_ticks = 'another process' WHERE id = \(dead)")
    _ = try journal.beginRun(command: "pgconvoy play")
    let runs = try journal.runs()
    #expect(runs.map(\.outcome) == [nil, nil, .interrupted])
    #expect(runs[1].id == alive)
    #expect(try journal.steps(run: dead).map(\.outcome) == [.interrupted])
  }

  @Test func rowsThatAnEarlierVersionLeftOpenAreClosed() throws {
    let state = try TemporaryState()
    do {
      let journal = try state.open()
      for outcome in [RunOutcome.done, nil] {
        let run = try journal.beginRun(command: "pgconvoy play")
        if let outcome { try journal.endRun(run, outcome: outcome) }
        _ = try journal.beginStep(run: run, migration: "eu", name: "fence")
      }
      try journal.execute("ALTER TABLE steps DROP COLUMN is_undo")
      try journal.execute("DROP TABLE deeds")
      try journal.execute("DELETE FROM grdb_migrations WHERE identifier = 'v5'")
    }
    let steps = try state.open().steps(migration: "eu")
    #expect(steps.map(\.outcome) == [.alreadyDone, nil])
    #expect(steps.map(\.summary) == ["already done, or not meant", nil])
    #expect(steps.map { $0.ended == $0.started } == [true, false])
    #expect(steps.map(\.isUndo) == [false, false])
  }

  @Test(arguments: [
    ("plain text", "plain text"),
    ("postgresql://u:a:b@c@h:5432/d?x=1 tail", "postgresql://u:***@h:5432/d?x=1 tail"),
    ("postgres://h:5432/d", "postgres://h:5432/d"),
    ("postgres://u@h/d", "postgres://u@h/d"),
    ("host=h PASSWORD=x user=u", "host=h PASSWORD=*** user=u"),
    ("password = 'a \\' b' user=u", "password = *** user=u"),
    ("?sslpassword=x&user=u", "?sslpassword=***&user=u"),
    ("password='open", "password=***"),
    ("password authentication failed", "password authentication failed"),
    ("--passfile /etc/pass", "--passfile /etc/pass"),
    ("ends in password=", "ends in password=***"),
    ("ALTER ROLE r PASSWORD 'a''b' LOGIN", "ALTER ROLE r PASSWORD *** LOGIN"),
    ("ALTER ROLE r PASSWORD E'a\\'b' LOGIN", "ALTER ROLE r PASSWORD E*** LOGIN"),
    ("ALTER ROLE r PASSWORD NULL", "ALTER ROLE r PASSWORD NULL"),
    ("ALTER ROLE r PASSWORD", "ALTER ROLE r PASSWORD"),
    ("grüße 🚚 password=ü", "grüße 🚚 password=***"),
  ])
  func passwordsAreReplaced(text: String, expected: String) {
    #expect(redacted(text) == expected)
  }
}

@Suite struct Migrations {
  @Test func aHandOffIsKeptAsItWas() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "chef-old", target: "chef-new")
    #expect(try journal.migration("eu")?.state == MigrationState.none)
    #expect(try journal.migration("us") == nil)

    let names = HandOffNames(nonce: "0123456789ab")
    var record = HandOffRecord(
      names: names, began: Date(timeIntervalSince1970: 1_700_000_000.125), sourceSystemIdentifier: .max,
      sourceTimeline: 3)
    try journal.beginHandOff(record, migration: "eu")
    record.databases = [
      HandOffDatabase(name: "a\"b 🚚", oid: 4_294_967_295, names: names),
      HandOffDatabase(name: "bookshelf", oid: 16384, names: names, state: .active),
    ]
    record.handOffLSN = LSN(0xFFFF_FFFF_FFFF_FFFF)
    record.targetSystemIdentifier = .max
    record.targetTimeline = 4
    let wanted = record
    try journal.updateHandOff(migration: "eu") { $0 = wanted }

    let another = try state.open()
    #expect(try another.migration("eu")?.handOff == wanted)
    #expect(try another.migrations().map(\.name) == ["eu"])
    #expect(wanted.databases[1].slotName == "pgconvoy_0123456789ab_16384")
  }

  @Test func aNewHandOffReplacesTheOldOneAndItsTracesStay() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    for nonce in ["000000000001", "000000000002"] {
      let record = HandOffRecord(
        names: HandOffNames(nonce: nonce), sourceSystemIdentifier: 1, sourceTimeline: 1)
      try journal.beginHandOff(record, migration: "eu")
      try journal.setDesiredSync(.forward, migration: "eu")
    }
    #expect(try journal.migration("eu")?.handOff?.names.nonce == "000000000002")
    #expect(try journal.handOffs(migration: "eu").map(\.names.nonce) == ["000000000001", "000000000002"])
    try journal.endHandOff(migration: "eu")
    #expect(try journal.migration("eu")?.handOff == nil)
    #expect(try journal.migration("eu")?.desiredSync == .stopped)
    #expect(try journal.handOffs(migration: "eu").count == 2)
  }

  /// Between a new hand-off and its state no run may be cut off: behind a migration that was given up, it would be taken
  /// for one that is over.
  @Test func aHandOffAndItsStateAreRecordedTogether() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    func begin() throws(ConvoyError) {
      let record = HandOffRecord(names: .random(), sourceSystemIdentifier: 1, sourceTimeline: 1)
      try journal.beginHandOff(record, migration: "eu", state: .copying)
    }
    try begin()
    #expect(try journal.migration("eu")?.state == .copying)
    try journal.setState(.finished, of: "eu")
    try journal.endHandOff(migration: "eu")
    try begin()
    #expect(try journal.migration("eu")?.state == .copying)

    // Both or none.
    let before = try journal.migration("eu")
    for state in [MigrationState.standby, .handedOff, .fenced] { try journal.setState(state, of: "eu") }
    #expect(convoyError { try begin() }?.code == "journal.state-conflict")
    #expect(try journal.migration("eu")?.handOff == before?.handOff)
    #expect(try journal.migration("eu")?.state == .fenced)
    #expect(try journal.handOffs(migration: "eu").count == 2)
  }

  @Test func hostsCannotChangeUnderAHandOff() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    try journal.registerMigration("eu", source: "a", target: "c")
    try journal.beginHandOff(
      HandOffRecord(names: .random(), sourceSystemIdentifier: 1, sourceTimeline: 1), migration: "eu")
    try journal.registerMigration("eu", source: "a", target: "c")
    let error = convoyError { try journal.registerMigration("eu", source: "a", target: "d") }
    #expect(error?.code == "journal.hosts-changed")
    #expect(error?.message == "migration eu was handed off from a to c, not from a to d")
  }

  @Test func aStateMovesOnlyToThoseThatFollowIt() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    let early = convoyError { try journal.setState(.cutOver, of: "eu") }
    #expect(early?.message == "migration eu is none and cannot become cut_over")
    for state in [MigrationState.copying, .standby, .handedOff, .fenced] { try journal.setState(state, of: "eu") }
    let error = convoyError { try journal.setState(.finished, of: "eu") }
    #expect(error?.code == "journal.state-conflict")
    #expect(error?.message == "migration eu is fenced and cannot become finished")
    #expect(try journal.migration("eu")?.state == .fenced)
    try journal.setState(.drained, of: "eu")
    #expect(try journal.migration("eu")?.state == .drained)
    #expect(convoyError { try journal.setState(.fenced, of: "us") }?.code == "journal.unknown-migration")
  }

  @Test func factsAreValuesByKey() throws {
    struct Kept: Codable, Equatable, Sendable {
      var path: String
      var lines: [Int]
    }
    let state = try TemporaryState()
    let journal = try state.open()
    let kept = Kept(path: "/var/lib/old", lines: [1, 2])
    try journal.setFact(kept, forKey: "old_data", migration: "eu")
    try journal.setFact("x", forKey: "plain", migration: "eu")
    try journal.setFact("y", forKey: "plain", migration: "eu")
    #expect(try journal.fact(Kept.self, forKey: "old_data", migration: "eu") == kept)
    #expect(try journal.fact(String.self, forKey: "plain", migration: "us") == nil)
    #expect(
      try journal.facts(migration: "eu") == ["old_data": #"{"lines":[1,2],"path":"/var/lib/old"}"#, "plain": "\"y\""])
    #expect(convoyError { _ = try journal.fact(Int.self, forKey: "plain", migration: "eu") }?.code == "journal.corrupt")
    try journal.removeFact(forKey: "plain", migration: "eu")
    #expect(try journal.facts(migration: "eu").count == 1)
  }
}

@Suite struct Services {
  @Test func onlyWhatWasRunningIsStartedAgainInTheReverseOrder() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    for (name, running) in [("erchef", true), ("old-job", false), ("nginx", true)] {
      try journal.serviceStopping(migration: "eu", host: "old", name: name, manager: "systemd", wasRunning: running)
      try journal.serviceStopped(migration: "eu", host: "old", name: name, manager: "systemd")
    }
    #expect(try journal.servicesToStart(migration: "eu").map(\.name) == ["nginx", "erchef"])
    #expect(try journal.servicesToStart(migration: "eu", host: "new").isEmpty)

    try journal.serviceStarted(migration: "eu", host: "old", name: "nginx", manager: "systemd")
    #expect(try state.open().servicesToStart(migration: "eu").map(\.name) == ["erchef"])
  }

  @Test func aSecondRunThatFindsItStoppedDoesNotForgetThatItRan() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.serviceStopping(migration: "eu", host: "old", name: "nginx", manager: "runit", wasRunning: true)
    // The workstation died here; the next run finds the service stopped.
    try state.open().serviceStopping(
      migration: "eu", host: "old", name: "nginx", manager: "runit", wasRunning: false)
    let service = try #require(try journal.stoppedServices(migration: "eu").first)
    #expect(service.wasRunning)
    #expect(service.stopped == nil)
    try journal.serviceStarted(migration: "eu", host: "old", name: "nginx", manager: "runit")
    // The next cutover is a new story.
    try journal.serviceStopping(migration: "eu", host: "old", name: "nginx", manager: "runit", wasRunning: false)
    #expect(try journal.servicesToStart(migration: "eu").isEmpty)
    #expect(try journal.stoppedServices(migration: "eu").count == 1)
  }
}

@Suite struct Sync {
  @Test func theGenerationRisesWithWhatShouldRunAndOnlyThen() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    let names = HandOffNames.random()
    func generation() throws -> Int64 { try #require(try state.open().generations()["eu"]) }
    var last = try generation()
    func expectRise(_ rises: Bool = true, _ body: () throws -> Void) throws {
      try body()
      let now = try generation()
      #expect(rises ? now > last : now == last)
      last = now
    }
    try expectRise {
      try journal.beginHandOff(
        HandOffRecord(names: names, sourceSystemIdentifier: 1, sourceTimeline: 1), migration: "eu")
    }
    try expectRise {
      try journal.updateHandOff(migration: "eu") {
        $0.databases = [HandOffDatabase(name: "d", oid: 5, names: names, state: .active)]
      }
    }
    try expectRise(false) { try journal.updateHandOff(migration: "eu") { _ in } }
    try expectRise { try journal.setDesiredSync(.forward, migration: "eu") }
    try expectRise(false) { try journal.setDesiredSync(.forward, migration: "eu") }
    try expectRise(false) {
      try journal.setDatabaseState(.parked, reason: "duplicate key", database: "d", migration: "eu")
    }
    #expect(try journal.migration("eu")?.handOff?.databases.first?.state == .parked)
    #expect(try !journal.setDatabaseState(.parked, database: "other", migration: "eu"))
    try expectRise { try journal.requestSkip(migration: "eu", database: "d", lsn: LSN(16)) }
    try expectRise(false) { try journal.requestSkip(migration: "eu", database: "d", lsn: LSN(16)) }
    try expectRise { try journal.wakeSync(migration: "eu") }
    try expectRise(false) { try journal.setState(.copying, of: "eu") }
    try expectRise { try journal.setDesiredSync(.reverse, migration: "eu") }
  }

  @Test func skipsAreDueUntilTheyAreDone() throws {
    let state = try TemporaryState()
    let journal = try state.open()
    try journal.registerMigration("eu", source: "a", target: "b")
    try journal.requestSkip(migration: "eu", database: "d", lsn: LSN(0x16_B374_D848), requestedBy: "admin@ws1")
    let skip = try #require(try journal.skips(migration: "eu", database: "d", pendingOnly: true).first)
    #expect(skip.lsn == LSN(0x16_B374_D848))
    #expect(skip.requestedBy == "admin@ws1")
    #expect(skip.outcome == nil)
    try journal.skipDone(skip.id, outcome: "xid 7, no changes")
    #expect(try journal.skips(migration: "eu", pendingOnly: true).isEmpty)
    #expect(try journal.skips(migration: "eu").first?.done != nil)
    #expect(try journal.skips(migration: "eu").first?.outcome == "xid 7, no changes")
  }

  @Test func statusesAreKeptForOthersToShow() throws {
    let state = try TemporaryState()
    var status = DatabaseStatus(migration: "eu", database: "b", phase: .streaming)
    status.lagBytes = .max
    status.appliedLSN = LSN(7)
    let journal = try state.open()
    try journal.recordStatuses([status, DatabaseStatus(migration: "eu", database: "a", phase: .pending)])
    status.rowsApplied = 9
    try journal.recordStatuses([status])
    let kept = try state.open().recordedStatuses(migration: "eu")
    #expect(kept.map(\.status.database) == ["a", "b"])
    #expect(kept[1].status == status)
    #expect(try journal.recordedStatuses(migration: "us").isEmpty)
  }

  @Test func severalProcessesWriteAtOnce() async throws {
    let state = try TemporaryState()
    let directory = state.directory
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<4 {
        group.addTask {
          try await onDedicatedThread("writer") {
            // Opened at once, too: each of them may be the one that makes the tables.
            let journal = try JournalFile(stateDirectory: directory)
            let run = try journal.beginRun(command: "writer \(writer)")
            for step in 0..<25 { _ = try journal.beginStep(run: run, migration: "eu", name: "step \(step)") }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try state.open().steps(migration: "eu").count == 100)
  }

  @Test func aCancelledTasksLastWordIsKept() async throws {
    let state = try TemporaryState()
    let journal = try await Journal.open(stateDirectory: state.directory)
    let run = try await journal.perform { file throws(ConvoyError) in try file.beginRun(command: "play") }
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      #expect(Task.isCancelled)
      try await journal.perform { file throws(ConvoyError) in try file.endRun(run, outcome: .interrupted) }
    }
    try await task.value
    #expect(try state.open().runs().first?.outcome == .interrupted)
  }
}
