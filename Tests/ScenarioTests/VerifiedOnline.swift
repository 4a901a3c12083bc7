import FoundationEssentials
import Glibc
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios.Streaming {
  /// Both sides are compared while an application writes; what is planted on the target is named.
  @Suite struct VerifiedOnline {
    static let tables = """
      CREATE TABLE verified_items (id integer PRIMARY KEY, name text, hits integer NOT NULL DEFAULT 0);
      INSERT INTO verified_items SELECT n, md5(n::text) FROM generate_series(1, 3000) n;
      """

    private struct Document: Decodable {
      var version: Int
      var verifications: [MigrationReport]
    }

    @Test func findsWhatIsPlantedWhileTheLoadGoesOn() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      // Other tests of this lab step over transactions, which leaves a difference; TRUNCATE streams.
      try await scenario.script(.sourceApp, "TRUNCATE parked_skips", in: "alpha")
      let stop = Flag()
      let load = Task { try await write(scenario, until: stop) }
      defer { stop.raise() }
      let all = try await scenario.start("verify").result()
      try #require(all.status == 0, "\(all.text)")
      #expect(all.output.contains("3 databases equal on both sides"), "\(all.text)")

      try await scenario.script(
        .target,
        """
        UPDATE verified_items SET name = overlay(name PLACING 'x' FROM 7) WHERE id = 2001;
        DELETE FROM verified_items WHERE id = 2002;
        INSERT INTO verified_items VALUES (-1, 'planted');
        """, in: "alpha")
      let found = try await scenario.start("verify", "--format", "json", "--database", "alpha").result()
      #expect(found.status == 1, "\(found.text)")
      let document = try JSONDecoder().decode(Document.self, from: Data(found.output.utf8))
      let tables = try #require(document.verifications.first?.databases.first?.tables)
      let different = tables.filter { !$0.isEqual }
      #expect(different.map(\.name.name) == ["verified_items"])
      let rows = try #require(different.first?.differences)
      #expect(rows.description() == "missing (id)=(2002); extra (id)=(-1); different (id)=(2001)")
      stop.raise()
      #expect(try await load.value > 20)

      try await scenario.script(
        .target,
        """
        UPDATE verified_items SET name = md5('2001') WHERE id = 2001;
        INSERT INTO verified_items VALUES (2002, md5('2002'));
        DELETE FROM verified_items WHERE id = -1;
        """, in: "alpha")
      // Nothing is left on the servers, and nobody writes to that database any more.
      let quiet = try await scenario.start("verify", "--database", "alpha").result()
      #expect(quiet.status == 0, "\(quiet.text)")
      #expect(try await temporarySlots(scenario).isEmpty)
    }

    /// The slot waits for a transaction, the worker for the verifier; then the verifier is killed.
    @Test func aVerifierThatDiesHoldsNobodyUp() async throws {
      let scenario = try Scenarios.Streaming.scenario()
      let writer = try await scenario.session(.sourceApp, "beta")
      try await writer.script("BEGIN; INSERT INTO killed_heap VALUES (50, 1, 'open')")
      let verifier = try scenario.start("verify", "--database", "beta")
      try await eventually("a slot that waits") { try await !temporarySlots(scenario).isEmpty }
      let second = try await scenario.start("verify", "--database", "beta").result()
      #expect(second.status == 1 && second.output.contains("verify.in-progress"), "\(second.text)")
      verifier.signal(SIGKILL)
      _ = try await verifier.result()
      // The slot still waits; the worker does not.
      try await scenario.drained(["beta"], within: .seconds(10))

      let blocked = try await scenario.start("verify", "--database", "beta").result()
      #expect(blocked.status == 1 && blocked.output.contains("[verify.slot-blocked]"), "\(blocked.text)")
      #expect(blocked.output.contains("INSERT INTO killed_heap"), "\(blocked.text)")
      try await scenario.drained(["beta"], within: .seconds(10))
      try await writer.script("ROLLBACK")
      await writer.close()
      let unknown = try await scenario.start("verify", "--database", "gamma").result()
      #expect(unknown.status == 1 && unknown.errors.contains("[verify.unknown-database]"), "\(unknown.text)")
    }

    private func temporarySlots(_ scenario: Scenario) async throws -> [[String]] {
      try await scenario.sql(
        .source, "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'pgconvoy\\_verify\\_%'")
    }

    /// Transactions whose rows belong together, a rollback now and then, none on the rows that are planted.
    private func write(_ scenario: Scenario, until stop: Flag) async throws -> Int {
      let session = try await scenario.session(.sourceApp, "alpha")
      var count = 0
      while !stop.isRaised {
        count += 1
        try await session.script(
          """
          BEGIN;
          UPDATE verified_items SET hits = hits + 1 WHERE id BETWEEN \(count % 20 * 50) AND \(count % 20 * 50 + 60);
          INSERT INTO verified_items VALUES (\(10_000 + count), 'new');
          DELETE FROM verified_items WHERE id = \(10_000 + count - 7);
          \(count % 7 == 6 ? "ROLLBACK" : "COMMIT")
          """)
        try await Task.sleep(for: .milliseconds(10))
      }
      await session.close()
      return count
    }
  }
}
