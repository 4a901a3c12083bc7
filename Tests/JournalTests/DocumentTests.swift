import FoundationEssentials
import ReplicationModel
import Testing

@testable import Journal

/// What the servers' record is made of, and a journal made anew from it.
struct DocumentTests {
  private func filled(_ file: JournalFile) throws {
    try file.registerMigration("eu", source: "old", target: "new")
    for nonce in ["00000000aaaa", "00000000bbbb"] {
      let names = HandOffNames(nonce: nonce)
      var record = HandOffRecord(
        names: names, began: Date(timeIntervalSince1970: 1_700_000_000), sourceSystemIdentifier: .max,
        sourceTimeline: 1,
        databases: [
          HandOffDatabase(name: "shop", oid: 16384, names: names),
          HandOffDatabase(name: "Lager \"x\"", oid: 4_294_967_295, names: names),
        ])
      record.handOffLSN = LSN("FFFFFFFF/FFFFFFFE")
      record.targetTimeline = 2
      try file.beginHandOff(record, migration: "eu")
    }
    try file.setState(.copying, of: "eu")
    try file.setFact("/data.pgconvoy-old", forKey: "old_data_directory", migration: "eu")
    try file.serviceStopping(migration: "eu", host: "old", name: "shop", manager: "runit", wasRunning: true)
    try file.serviceStopped(migration: "eu", host: "old", name: "shop", manager: "runit")
    try file.setDesiredSync(.forward, migration: "eu")
    try file.requestSkip(migration: "eu", database: "shop", lsn: LSN("0/16B3748")!)
  }

  @Test func aJournalMadeAnewIsTheSame() throws {
    let (one, other) = (try TemporaryState(), try TemporaryState())
    let (from, to) = (try one.open(), try other.open())
    try filled(from)
    let view = try #require(try from.view(migration: "eu"))
    let text = try JSONEncoder().encode(view.document)
    let document = try JSONDecoder().decode(MigrationDocument.self, from: text)
    #expect(document == view.document)

    let standing = view.standing.next(token: "t1")
    try to.takeOver(document, as: standing, migration: "eu")
    #expect(try to.view(migration: "eu") == JournalView(document: document, standing: standing))
    #expect(try to.handOffs(migration: "eu") == from.handOffs(migration: "eu"))
    #expect(try to.migration("eu")?.handOff == from.migration("eu")?.handOff)
    #expect(try to.servicesToStart(migration: "eu") == from.servicesToStart(migration: "eu"))
  }

  @Test func whatWasThereIsReplacedAndTheGenerationRises() throws {
    let state = try TemporaryState()
    let file = try state.open()
    try filled(file)
    try file.setDatabaseState(.parked, database: "shop", migration: "eu")
    let generation = try #require(try file.generations()["eu"])
    var document = MigrationDocument(source: "old", target: "new", state: .finished)
    document.facts = ["opened_ms": "17"]
    try file.takeOver(document, as: JournalStanding(epoch: 9, token: "t9", lineage: [8: "t8"]), migration: "eu")
    let view = try #require(try file.view(migration: "eu"))
    #expect(view.document == document)
    #expect(view.standing == JournalStanding(epoch: 9, token: "t9", lineage: [8: "t8"]))
    #expect(try file.generations()["eu"]! > generation)
    #expect(try file.migration("eu")?.handOff == nil)
  }

  /// Each thing that decides what comes next makes the journal run ahead; a figure of a report does not.
  @Test func theJournalKnowsWhenItIsAhead() throws {
    let state = try TemporaryState()
    let file = try state.open()
    try filled(file)
    func isAhead() throws -> Bool { try #require(try file.view(migration: "eu")).standing.isAhead }
    func publish() throws {
      let view = try #require(try file.view(migration: "eu"))
      try file.published(view.document, as: view.standing.next(token: "t"), migration: "eu")
      #expect(try !isAhead())
    }
    let changes: [(String, () throws -> Void)] = [
      ("a phase", { try file.setState(.standby, of: "eu") }),
      ("a fact", { try file.setFact(true, forKey: "target_was_running", migration: "eu") }),
      ("a changed fact", { try file.setFact(false, forKey: "target_was_running", migration: "eu") }),
      ("a fact that goes", { try file.removeFact(forKey: "target_was_running", migration: "eu") }),
      ("what should run", { try file.setDesiredSync(.stopped, migration: "eu") }),
      ("a hand-off's position", { try file.updateHandOff(migration: "eu") { $0.reverseLSN = LSN("0/5") } }),
      ("a service", { try file.serviceStarted(migration: "eu", host: "old", name: "shop", manager: "runit") }),
      ("an order", { try file.requestSkip(migration: "eu", database: "shop", lsn: LSN("0/17")!) }),
      ("the end of a hand-off", { try file.endHandOff(migration: "eu") }),
    ]
    for (what, change) in changes {
      try publish()
      try change()
      #expect(try isAhead(), "\(what)")
    }
    try publish()
    try file.setFact("long", forKey: "report", migration: "eu")
    try file.registerMigration("eu", source: "old", target: "new")
    try file.setState(.standby, of: "eu")
    #expect(try !isAhead())
  }

  /// What changed while the servers were being told is still to be told.
  @Test func whatCameMeanwhileIsNotTakenForPublished() throws {
    let state = try TemporaryState()
    let file = try state.open()
    try filled(file)
    let view = try #require(try file.view(migration: "eu"))
    try file.setState(.standby, of: "eu")
    try file.published(view.document, as: view.standing.next(token: "t1"), migration: "eu")
    let now = try #require(try file.view(migration: "eu")).standing
    #expect(now.isAhead && now.epoch == 1 && now.token == "t1")
  }

  @Test func tokensOfTheLatestEpochsAreKept() {
    var standing = JournalStanding()
    for epoch in 1...100 { standing = standing.next(token: "t\(epoch)") }
    #expect(standing.epoch == 100 && standing.token == "t100")
    #expect(standing.lineage.count == JournalStanding.lineageLength)
    #expect(standing.lineage[99] == "t99" && standing.lineage[36] == "t36" && standing.lineage[35] == nil)
  }
}
