import BlockingIO
import DatabaseSync
import Glibc
import PostgresClient
import ReplicationModel
import TestSupport
import Testing

extension Scenarios {
  /// A database whose stream is broken parks, with the reason in the status; the others go on.
  @Suite(.serialized) struct StartInvariants {
    @Test func brokenDatabasesParkAndTheOthersGoOn() async throws {
      let names = [
        "healthy", "no_slot", "slot_ahead", "replaced", "made_again", "two_phase", "no_origin", "new_origin",
      ]
      try await Scenario.run(databases: names) { scenario in
        try await scenario.play("migrate")
        try await scenario.application("stop")
        try await scenario.drained()
        try await scenario.killSync()

        let slot = { (name: String) in "(SELECT slot_name FROM pg_replication_slots WHERE database = '\(name)')" }
        let origin = try await scenario.value(.source, "SELECT \(slot("no_origin"))")
        let emptied = try await scenario.value(.source, "SELECT \(slot("new_origin"))")
        let again = try await scenario.value(.source, "SELECT \(slot("made_again"))")
        let twoPhase = try await scenario.value(.source, "SELECT \(slot("two_phase"))")
        try await scenario.sql(.source, "SELECT pg_drop_replication_slot(\(slot("no_slot")))")
        try await scenario.script(.sourceApp, "INSERT INTO app_ledger VALUES ('skipped')", in: "slot_ahead")
        try await scenario.sql(
          .source, "SELECT pg_replication_slot_advance(\(slot("slot_ahead")), pg_current_wal_lsn())", in: "slot_ahead")
        try await scenario.script(.source, "DROP DATABASE replaced WITH (FORCE)", in: "postgres")
        try await scenario.script(.source, "CREATE DATABASE replaced", in: "postgres")
        // With a slot of the old one's name, too.
        try await scenario.script(.source, "DROP DATABASE made_again WITH (FORCE)", in: "postgres")
        try await scenario.script(.source, "CREATE DATABASE made_again", in: "postgres")
        try await scenario.sql(
          .source, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", [again], in: "made_again")
        try await scenario.sql(.source, "SELECT pg_drop_replication_slot($1)", [twoPhase])
        try await scenario.sql(
          .source, "SELECT pg_create_logical_replication_slot($1, 'test_decoding', false, true)", [twoPhase],
          in: "two_phase")
        try await scenario.sql(.target, "SELECT pg_replication_origin_drop($1)", [origin])
        try await scenario.sql(.target, "SELECT pg_replication_origin_drop($1)", [emptied])
        try await scenario.sql(.target, "SELECT pg_replication_origin_create($1)", [emptied])

        let sync = try scenario.start("sync")
        let expected = [
          ("no_slot", "sync.slot-missing"), ("slot_ahead", "sync.slot-ahead"), ("replaced", "sync.slot-missing"),
          ("made_again", "sync.database-replaced"), ("two_phase", "sync.slot-two-phase"),
          ("no_origin", "sync.origin-missing"), ("new_origin", "sync.origin-behind"),
        ]
        for (name, code) in expected {
          try await eventually("\(name) parked") { try await scenario.status(name).phase == .parked }
          let error = try await scenario.status(name).lastError ?? ""
          #expect(error.contains("[\(code)]"), "\(name): \(error)")
          #expect(error.contains("migration lab, database \(name): "), "\(error)")
        }
        try await scenario.script(.sourceApp, "INSERT INTO app_ledger VALUES ('goes on')", in: "healthy")
        try await scenario.drained(["healthy", "postgres"])
        #expect(try await scenario.status("healthy").phase == .streaming)
        try await scenario.expectIdentical(["healthy"])

        try await expectOtherServersAreRefused(scenario)
        // A broken database keeps the cutover from starting.
        let cutover = try await scenario.play("cutover", expecting: 1)
        #expect(
          cutover.text.contains("[cutover.parked]") || cutover.text.contains("[cutover.database-gone]"),
          "\(cutover.text)")
        #expect(try await scenario.refusal(.sourceApp) == nil)
        sync.signal(SIGTERM)
        let ended = try await sync.result()
        #expect([0, 3].contains(ended.status), "\(ended.text)")
      }
    }

    /// Addresses that lead to the other server, or to the same one twice, as a worker would meet them.
    private func expectOtherServersAreRefused(_ scenario: Scenario) async throws {
      let name = "healthy"
      let slot = try await scenario.value(
        .source, "SELECT slot_name FROM pg_replication_slots WHERE database = '\(name)'")
      let oid = try await scenario.value(.source, "SELECT oid FROM pg_database WHERE datname = '\(name)'")
      let identifier = try await scenario.value(.source, "SELECT system_identifier FROM pg_control_system()")
      let (source, target) = (try scenario.parameters(.source, name), try scenario.parameters(.target, name))
      func code(_ source: ConnectionParameters, _ target: ConnectionParameters, _ identifier: String) async throws
        -> String?
      {
        let assignment = WorkerAssignment(
          migration: "lab", database: name, databaseOID: try #require(UInt32(oid)), from: source, to: target,
          slot: slot, origin: slot, handOff: LSN(1), systemIdentifier: identifier, fromTimeline: 1, toTimeline: 2)
        let state = try await onDedicatedThread("invariants") {
          try DatabaseSync.StartInvariants.read(
            source: .connect(source), target: .connect(target), assignment: assignment)
        }
        do throws(ConvoyError) {
          _ = try state.startPosition(for: assignment)
          return nil
        } catch {
          return error.code.rawValue
        }
      }
      #expect(try await code(source, target, identifier) == nil)
      #expect(try await code(source, target, "1") == "sync.wrong-server")
      #expect(try await code(source, source, identifier) == "sync.same-server")
      #expect(try await code(target, source, identifier) == "sync.same-server")
      #expect(try await code(target, target, identifier) == "sync.source-timeline")
    }
  }
}
