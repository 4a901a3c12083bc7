import Inventory
import Journal
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

@testable import MigrationRecord

/// The record's table on a real server: who may write over whom, and what counts as a server's own.
@Suite(.serialized, .sharedCluster(Cluster.Options())) struct RecordTableTests {
  private let document = MigrationDocument(source: "old", target: "new", state: .handedOff)

  private func standing(_ tokens: String) -> JournalStanding {
    tokens.reduce(JournalStanding()) { $0.next(token: String($1)) }
  }

  /// A database of the test's own.
  private func withServer(_ body: (PostgresSession) async throws -> Void) async throws {
    let cluster = try #require(Cluster.current)
    let database = "record_\(HandOffNames.random().nonce)"
    try await withSession(cluster.parameters()) { _ = try await $0.query("CREATE DATABASE \(database)") }
    var parameters = cluster.parameters(database)
    parameters.settings = canonicalTextSettings
    try await withSession(parameters, body)
  }

  private func table(_ session: PostgresSession, _ side: Side = .source) -> RecordTable {
    RecordTable(session, side, at: .host("old"))
  }

  private func write(_ table: RecordTable, _ tokens: String, over former: String?) async throws -> Bool {
    try await table.write(
      document, as: standing(tokens), of: "lab", over: former.map { standing($0) }, by: "admin@ws1")
  }

  @Test func onlyWhoKnowsTheRecordReplacesIt() async throws {
    try await withServer { session in
      let table = table(session)
      #expect(try await table.read("lab") == nil)
      #expect(try await write(table, "a", over: nil))
      #expect(try await !write(table, "x", over: nil), "another one began beside it")
      #expect(try await write(table, "ab", over: "a"))
      #expect(try await !write(table, "ac", over: "a"), "it was replaced meanwhile")
      #expect(try await !write(table, "xyz", over: "xy"), "of the same number, by another hand")
      let record = try #require(try await table.read("lab"))
      #expect(record.standing == standing("ab") && record.document == document && record.writtenBy == "admin@ws1")
      #expect(try await table.read("other") == nil)
    }
  }

  /// Finished from another machine: what is gone does not come again.
  @Test func whoKnewARecordThatIsGoneDoesNotBringItBack() async throws {
    try await withServer { session in
      let table = table(session)
      #expect(try await write(table, "a", over: nil))
      try await session.query("DELETE FROM pgconvoy_record.migration")
      #expect(try await !write(table, "ab", over: "a"))
      try await session.query("DROP SCHEMA pgconvoy_record CASCADE")
      #expect(try await !write(table, "ab", over: "a"))
      #expect(try await table.exists() == false)
    }
  }

  /// It came with a physical copy, or in a dump.
  @Test(arguments: ["side = 'target'", "timeline = 7", "system_identifier = '17'"])
  func anotherServersRowIsNotItsOwn(_ difference: String) async throws {
    try await withServer { session in
      let table = table(session)
      #expect(try await write(table, "abc", over: nil))
      try await session.query("UPDATE pgconvoy_record.migration SET \(difference)")
      #expect(try await table.read("lab") == nil)
      #expect(try await write(table, "a", over: nil))
      #expect(try await table.read("lab")?.standing == standing("a"))
    }
  }

  /// Whoever owns it could have a superuser run what they put there.
  @Test func aSchemaOfSomebodyElsesIsRefused() async throws {
    try await withServer { session in
      try await session.script("CREATE ROLE somebody; CREATE SCHEMA pgconvoy_record AUTHORIZATION somebody")
      for body in [
        { _ = try await table(session).read("lab") }, { _ = try await write(table(session), "a", over: nil) },
      ] {
        let error = await #expect(throws: ConvoyError.self) { try await body() }
        #expect(error?.code == "truth.foreign-schema")
      }
    }
  }

  @Test func theLastRecordTakesTheSchemaAlong() async throws {
    try await withServer { session in
      let table = table(session)
      #expect(try await write(table, "a", over: nil))
      try await session.query(
        """
        INSERT INTO pgconvoy_record.migration
        SELECT 'other', version, side, system_identifier, timeline, epoch, token, lineage, phase, direction, nonce, document,
               written_by FROM pgconvoy_record.migration
        """)
      #expect(try await table.removal(of: "lab").count == 1)
      #expect(try await table.removal(of: "lab").contains { "\($0)".contains("DROP SCHEMA") } == false)
      try await session.query("DELETE FROM pgconvoy_record.migration WHERE name = 'other'")
      #expect(try await table.removal(of: "lab").contains { "\($0)".contains("DROP SCHEMA") })
    }
  }
}
