import Inventory
import Journal
import MigrationFixtures
import Playbook
import RemoteHost
import ReplicationModel
import Synchronization
import TestSupport
import Testing

@testable import MigrationCore

/// How deeds are performed and told, by such as need no server.
@Suite struct DeedTests {
  // MARK: order

  @Test func oneAfterTheOtherAndEachInTheJournal() async throws {
    try await withDeeds { deeds in
      let files = try TemporaryDirectory("deeds")
      try await deeds.perform([
        .say("here we go"),
        .command(nil, append("one", files)),
        .aside { _ in deeds.say("aside \(try files.read("log"))") },
        .note(nil, "nothing is done"),
        .wait(nil, "until it is done") { _ in deeds.say("waited") },
        .database("alpha", [.look(nil, "look") { _ in deeds.say("looked") }]),
        .act(nil, "act") { _ in deeds.say("acted") },
        .command(nil, append("two", files)),
      ])
      #expect(deeds.said == ["here we go", "aside one\n", "waited", "looked", "acted"])
      #expect(try files.read("log") == "one\ntwo\n")
      let rows = try await deeds.rows()
      #expect(rows.map(\.kind) == ["command", "wait", "note", "note", "command"])
      #expect(rows.map(\.text)[1...3] == ["until it is done", "look", "act"])
      #expect(rows.allSatisfy { $0.outcome == .done && $0.ended != nil && $0.step == "step" && $0.migration == "one" })
      #expect(zip(rows, rows.dropFirst()).allSatisfy { $0.began <= $1.began })
      #expect(deeds.performer.found.databases.map(\.name) == ["alpha"])
    }
  }

  @Test func whatIsAnnouncedIsWhatTheJournalHas() async throws {
    try await withDeeds { deeds in
      let list: [Deed] = [
        .aside { _ in deeds.say("aside") }, .note(nil, "a remark"), .say("words"),
        .together([[.look(nil, "a") { _ in }], [.look(nil, "b") { _ in }]], atMost: 1),
        .watching([.wait(nil, "c") { _ in }]) {},
        .later(announced: { [.wait(nil, "d") { _ in }] }) { _ in [.wait(nil, "d") { _ in }] },
        .later { [.wait(nil, "e") { _ in }] },
        .holdingOn("f") { [.act(nil, "f") { _ in }] },
      ]
      let told = try await DeedAnnouncer(deeds.context).announce(list)
      #expect(deeds.said == [])
      #expect(told.map(\.text) == ["a remark", "a", "b", "c", "d", "e", "f"])
      try await deeds.perform(list)
      #expect(try await deeds.rows().map(\.text) == ["a", "b", "c", "d", "e", "f"])
    }
  }

  @Test func soManyAtOnceAndNoMore() async throws {
    try await withDeeds { deeds in
      let limit = 3
      let count = Mutex((now: 0, most: 0, begun: 0))
      let body: @Sendable (Findings) async throws -> Void = { _ in
        let turn = count.withLock { count in
          count.now += 1
          count.begun += 1
          count.most = max(count.most, count.now)
          return count.begun
        }
        // Each waits for its neighbours: they are there at the same time.
        let wanted = (turn + limit - 1) / limit * limit
        try await eventually("\(wanted) begun", every: .milliseconds(2)) { count.withLock { $0.begun } >= wanted }
        count.withLock { $0.now -= 1 }
      }
      try await deeds.perform([.together((1...9).map { [.look(nil, "\($0)", body)] }, atMost: limit)])
      #expect(count.withLock { $0.most } == limit)
      #expect(try await Set(deeds.rows().map(\.text)) == Set((1...9).map(String.init)))
    }
  }

  // MARK: what is found

  private static let name = Found<String>("name", placeholder: "<name>")

  @Test func whatIsFoundStandsInLaterDeeds() async throws {
    try await withDeeds { deeds in
      let statement = Deed.sql(.source, database: "alpha", "SELECT $1, $2", ["it's", .found(Self.name)])
      let told = try await DeedAnnouncer(deeds.context).announce([statement])
      #expect(told.map(\.text) == ["SELECT 'it''s', '<name>'"])
      #expect(told.map(\.host) == ["old"])
      try await deeds.perform([.aside { found in found[Self.name] = "ada" }])
      let now = try await DeedAnnouncer(deeds.context).announce(statement, deeds.performer.found)
      #expect(now.map(\.text) == ["SELECT 'it''s', 'ada'"])
    }
  }

  @Test func laterDeedsAreMadeOfWhatWasFound() async throws {
    try await withDeeds { deeds in
      let list: [Deed] = [
        .aside { found in found[Self.name] = "ada" },
        .later(announced: { [.look(nil, "look for <name>") { _ in }] }) { found in
          [.look(nil, "look for \(found[Self.name] ?? "nobody")") { found in found[Self.name] = "grace" }]
        },
        .aside { found in deeds.say(found[Self.name] ?? "nobody") },
      ]
      #expect(try await DeedAnnouncer(deeds.context).announce(list).map(\.text) == ["look for <name>"])
      try await deeds.perform(list)
      #expect(try await deeds.rows().map(\.text) == ["look for ada"])
      #expect(deeds.said == ["grace"])
    }
  }

  // MARK: failures

  @Test func aFailureStopsAndIsWrittenDown() async throws {
    try await withDeeds { deeds in
      let error = try await #require(throws: ConvoyError.self) {
        try await deeds.perform([
          .look(nil, "before") { _ in },
          .command(nil, .shell("echo no such luck >&2; exit 3", label: "trying")),
          .look(nil, "behind") { _ in deeds.say("behind") },
        ])
      }
      #expect(error.code == "host.command-failed")
      #expect(deeds.said == [])
      let rows = try await deeds.rows()
      #expect(rows.map(\.outcome) == [.done, .failed])
      #expect(rows[1].error?.contains("no such luck") == true && rows[1].ended != nil)
    }
  }

  /// One of several at a time: the others end, and are not said to be done.
  @Test func aFailureEndsWhatGoesOnBesideIt() async throws {
    try await withDeeds { deeds in
      let isWaiting = Mutex(false)
      await #expect(throws: TestFailure.self) {
        try await deeds.perform([
          .together(
            [
              [
                .wait(nil, "for ever") { _ in
                  isWaiting.withLock { $0 = true }
                  try await Task.sleep(for: .seconds(3600))
                }
              ],
              [
                .act(nil, "fail") { _ in
                  try await eventually("the other one", every: .milliseconds(2)) { isWaiting.withLock { $0 } }
                  throw TestFailure("failed")
                }
              ],
            ], atMost: 2)
        ])
      }
      let outcomes = try await Dictionary(uniqueKeysWithValues: deeds.rows().map { ($0.text, $0.outcome) })
      #expect(outcomes == ["for ever": .interrupted, "fail": .failed])
    }
  }

  @Test func whatIsCancelledIsInterrupted() async throws {
    try await withDeeds { deeds in
      let isWaiting = Mutex(false)
      let task = Task {
        try await deeds.perform([
          .wait(nil, "for ever") { _ in
            isWaiting.withLock { $0 = true }
            try await Task.sleep(for: .seconds(3600))
          },
          .look(nil, "behind") { _ in },
        ])
      }
      try await eventually("the wait", every: .milliseconds(2)) { isWaiting.withLock { $0 } }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      let rows = try await deeds.rows()
      #expect(rows.map(\.outcome) == [.interrupted])
      #expect(rows.allSatisfy { $0.ended != nil })
    }
  }

  @Test func aWatcherEndsWithWhatItWatches() async throws {
    try await withDeeds { deeds in
      let state = Mutex((began: false, ended: false))
      try await deeds.perform([
        .watching([
          .wait(nil, "until it is watched") { _ in
            try await eventually("the watcher", every: .milliseconds(2)) { state.withLock { $0.began } }
          }
        ]) {
          state.withLock { $0.began = true }
          defer { state.withLock { $0.ended = true } }
          try await Task.sleep(for: .seconds(3600))
        }
      ])
      try await eventually("the watcher's end", every: .milliseconds(2)) { state.withLock { $0.ended } }
    }
  }

  // MARK: holding on

  @Test func aBrokenConnectionIsTriedAgain() async throws {
    try await withDeeds { deeds in
      let tries = Mutex(0)
      try await deeds.perform([
        .holdingOn("opening") {
          let number = tries.withLock { tries in
            tries += 1
            return tries
          }
          return [
            .look(nil, "look \(number)") { _ in },
            .act(nil, "act \(number)") { _ in
              if number < 3 { throw ConvoyError("postgres.connection-lost", "gone") }
            },
          ]
        }
      ])
      let rows = try await deeds.rows()
      #expect(rows.map(\.text) == ["look 1", "act 1", "look 2", "act 2", "look 3", "act 3"])
      #expect(rows.map(\.outcome) == [.done, .failed, .done, .failed, .done, .done])
      #expect(deeds.said.count == 1 && deeds.said[0].hasPrefix("opening: trying again for 60 s, since"))
    }
  }

  @Test func anotherFailureIsNot() async throws {
    try await withDeeds { deeds in
      let error = try await #require(throws: ConvoyError.self) {
        try await deeds.perform([
          .holdingOn("opening") { [.act(nil, "act") { _ in throw ConvoyError("cutover.lag", "too far") }] }
        ])
      }
      #expect(error.code == "cutover.lag")
      #expect(try await deeds.rows().map(\.outcome) == [.failed])
      #expect(deeds.said == [])
    }
  }

  // MARK: secrets

  @Test func noPasswordGetsIntoTheJournal() async throws {
    try await withDeeds { deeds in
      try await deeds.perform([
        .command(nil, .shell("true \"$1\"", arguments: ["host=a password=opensesame"])),
        .look(nil, "ALTER ROLE a PASSWORD 'opensesame'") { _ in },
      ])
      await #expect(throws: ConvoyError.self) {
        try await deeds.perform([
          .act(nil, "connect to postgres://a:opensesame@host/b") { _ in
            throw ConvoyError("a.b", "no way in with password=opensesame")
          }
        ])
      }
      let rows = try await deeds.rows()
      #expect(rows.count == 3 && rows[2].error?.contains("no way in") == true)
      for row in rows { #expect(!row.text.contains("opensesame") && row.error?.contains("opensesame") != true) }
    }
  }

  // MARK: pieces

  private func append(_ text: String, _ files: TemporaryDirectory) -> RemoteCommand {
    .shell("echo \"$1\" >> \"$2\"", arguments: [text, files.path + "/log"])
  }

  private func withDeeds(_ body: (PerformedDeeds) async throws -> Void) async throws {
    let deeds = try await PerformedDeeds()
    try await doing {
      try await body(deeds)
    } finally: {
      await deeds.context.close()
    }
  }
}

/// Performs deeds of a migration between two servers that are not there.
private final class PerformedDeeds: Sendable {
  let context: MigrationContext
  let performer: DeedPerformer
  private let directory: TemporaryDirectory
  private let lines: Lines

  private final class Lines: Sendable {
    let all = Mutex<[String]>([])
  }

  init() async throws {
    directory = try TemporaryDirectory("deeds")
    let lines = Lines()
    self.lines = lines
    context = try await migrationContext(migration(in: hostsThatAreNotThere), state: directory.path) { line in
      lines.all.withLock { $0.append(line) }
    }
    performer = DeedPerformer(context, step: "step")
  }

  func perform(_ deeds: [Deed]) async throws { try await performer.perform(deeds) }

  func rows() async throws -> [DeedRow] {
    try await context.journal.perform { file throws(ConvoyError) in try file.deeds(migration: "one") }
  }

  func say(_ line: String) { lines.all.withLock { $0.append(line) } }

  /// What was said to whoever watches, and by the deeds themselves.
  var said: [String] { lines.all.withLock { $0 } }
}
