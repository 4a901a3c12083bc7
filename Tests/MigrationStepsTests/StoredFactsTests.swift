import Foundation
import Inventory
import MigrationFixtures
import ReplicationModel
import TestSupport
import Testing

@testable import ClosingReports
@testable import CopySteps
@testable import HostAdmin
@testable import Journal
@testable import MigrationCore
@testable import MigrationSteps

/// What stands in the journals of migrations that are under way: names and JSON of every fact are a contract.
@Suite struct StoredFacts {
  private let context: MigrationContext
  private let directory: TemporaryDirectory

  init() async throws {
    directory = try TemporaryDirectory("facts")
    context = try await migrationContext(
      migration(in: "hosts: { s: {}, t: {} }\nmigrations: { m: { source: s, target: t } }\n"), state: directory.path)
    try context.journal.file.registerMigration("m", source: "s", target: "t")
  }

  /// Reads what stands there, and writes the very same.
  private func expect<Value: Equatable>(
    _ key: FactKey<Value>, _ name: String, _ json: String, is value: Value,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let file = context.journal.file
    try file.execute("INSERT INTO facts (migration, key, value) VALUES ('m', '\(name)', '\(json)')")
    #expect(try await context.fact(key) == value, sourceLocation: sourceLocation)
    try await context.removeFact(key)
    #expect(try file.facts(migration: "m") == [:], sourceLocation: sourceLocation)
    try await context.setFact(key, value)
    #expect(try file.facts(migration: "m") == [name: json], sourceLocation: sourceLocation)
    try await context.removeFact(key)
  }

  @Test func plainValues() async throws {
    try await expect(.targetWasRunning, "target_was_running", "true", is: true)
    try await expect(.oldDataDirectory, "old_data_directory", #""/var/lib/pg.old""#, is: "/var/lib/pg.old")
    try await expect(.slotsMade, "slots_made", #""0123456789ab""#, is: "0123456789ab")
    try await expect(.backupComplete, "backup_complete", #""0123456789ab""#, is: "0123456789ab")
    try await expect(.copyPlaces, "copy_places", #"["/t1","/t2"]"#, is: ["/t1", "/t2"])
    try await expect(.downtimeBegan, "downtime_began_ms", "1764493325123", is: 1_764_493_325_123)
    try await expect(.opened, "opened_ms", "1764493325124", is: 1_764_493_325_124)
    try await expect(.verificationTook, "verification_took_ms", "1400", is: 1400)
  }

  @Test func whatIsKnownOfTheServers() async throws {
    let json = #"{"configFile":"/c.conf","data":"/d","programs":"/p"}"#
    let directories = ServerDirectories(data: "/d", programs: "/p", configFile: "/c.conf")
    try await expect(.targetDirectories, "target_directories", json, is: directories)
    try await expect(
      .sourceRestart, "source_restart", #"{"data":"/d","programs":"/p"}"#,
      is: ServerDirectories(data: "/d", programs: "/p"))
    try await expect(
      .inheritedSubscriptions, "inherited_subscriptions", #"[{"database":"shop","name":"s"}]"#,
      is: [.init(database: "shop", name: "s")])
  }

  @Test func whatWasChangedOnTheSource() async throws {
    try await expect(
      .sourceSettings, "source_settings",
      #"[{"name":"wal_level","value":"logical"},{"before":"5","name":"max_wal_senders","value":"20"}]"#,
      is: [
        .init(name: "wal_level", value: "logical", before: nil),
        .init(name: "max_wal_senders", value: "20", before: "5"),
      ])
    try await expect(
      .sourceRole, "source_role", #"{"before":"LOGIN","role":"pgconvoy"}"#, is: .init(role: "pgconvoy", before: "LOGIN")
    )
    try await expect(
      .replicaIdentities, "replica_identities",
      #"[{"before":"d","database":"shop","table":{"name":"a","schema":"public"}}]"#,
      is: [.init(database: "shop", table: RelationName(schema: "public", name: "a"), before: "d")])
  }

  @Test func whatACutoverFound() async throws {
    try await expect(
      .markers, "markers", #"[{"applier":"a","changes":7,"database":"shop","lsn":"0/10","nonce":"n"}]"#,
      is: [DrainMarker(database: "shop", nonce: "n", lsn: LSN(16), changes: 7, applier: "a")])
    try await expect(
      .writtenReport, "written_report",
      #"{"nonce":"0123456789ab","opened":5,"outcome":"cut_over","path":"/r.json","seal":"00"}"#,
      is: WrittenReport(path: "/r.json", nonce: "0123456789ab", outcome: .cutOver, seal: "00", opened: 5))
    var report = MigrationReport(
      generatedAt: Date(timeIntervalSince1970: 1_764_493_325), migration: "m", source: "s", target: "t",
      outcome: .verified, versions: .init(pgconvoy: "1", source: "12.22", target: "17.5"))
    report.phases = [.init(name: "drain", milliseconds: 900)]
    report.markers = [.init(database: "shop", name: "drain", lsn: LSN(16))]
    try await expect(
      .report, "report",
      #"{"databases":[],"direction":"forward","findings":[],"generated_at":"2025-11-30T09:02:05Z","#
        + #""markers":[{"database":"shop","lsn":"0/10","name":"drain"}],"migration":"m","outcome":"verified","#
        + #""phases":[{"ms":900,"name":"drain"}],"source":"s","target":"t","version":1,"#
        + #""versions":{"pgconvoy":"1","source":"12.22","target":"17.5"}}"#,
      is: report)
  }

  @Test func whatIsKnownOfAClosedSide() async throws {
    try await expect(.openedWholly, "opened_wholly", "false", is: false)
    try await expect(
      .closedSince, "closed_since", #"{"position":{"lsn":"0/10","timeline":"00000001"},"side":"source"}"#,
      is: ClosedSince(side: .source, position: WALPosition(lsn: LSN(16), timeline: "00000001")))
    try await expect(
      .fenceBreaches, "fence_breaches", #"[{"at":5,"commits":1,"side":"target","what":"w"}]"#,
      is: [FenceBreach(side: .target, at: 5, what: "w", commits: 1)])
    try await expect(
      .fencedSubscriptions(.source), "fenced_subscriptions_source", #"[{"database":"shop","name":"s"}]"#,
      is: [.init(database: "shop", name: "s")])
  }

  @Test func aValueOfAnotherTypeIsDamage() async throws {
    try context.journal.file.setFact("yes", forKey: "target_was_running", migration: "m")
    let error = await #expect(throws: ConvoyError.self) { try await context.fact(.targetWasRunning) }
    #expect(error?.code == "journal.corrupt")
  }
}
