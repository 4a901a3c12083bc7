import Glibc
import ReplicationModel
import Testing

extension Scenarios {
  /// A database whose stream is broken parks, with the reason in the status; the others go on.
  @Suite(.serialized) struct StartInvariants {
    @Test func brokenDatabasesParkAndTheOthersGoOn() async throws {
      let names = ["healthy", "no_slot", "slot_ahead", "replaced", "no_origin"]
      try await Scenario.run(databases: names) { scenario in
        try await scenario.play("migrate")
        try await scenario.application("stop")
        try await scenario.drained()
        try await scenario.killSync()

        let slot = { (name: String) in "(SELECT slot_name FROM pg_replication_slots WHERE database = '\(name)')" }
        let origin = try await scenario.value(
          .source, "SELECT \(slot("no_origin"))")
        try await scenario.sql(.source, "SELECT pg_drop_replication_slot(\(slot("no_slot")))")
        try await scenario.script(.sourceApp, "INSERT INTO app_ledger VALUES ('skipped')", in: "slot_ahead")
        try await scenario.sql(
          .source, "SELECT pg_replication_slot_advance(\(slot("slot_ahead")), pg_current_wal_lsn())", in: "slot_ahead")
        try await scenario.script(.source, "DROP DATABASE replaced WITH (FORCE)", in: "postgres")
        try await scenario.script(.source, "CREATE DATABASE replaced", in: "postgres")
        try await scenario.sql(.target, "SELECT pg_replication_origin_drop($1)", [origin])

        let sync = try scenario.start("sync")
        let expected: [(String, Set<String>)] = [
          ("no_slot", ["sync.slot-missing"]), ("slot_ahead", ["sync.slot-ahead"]),
          ("replaced", ["sync.slot-missing", "sync.database-replaced"]), ("no_origin", ["sync.origin-missing"]),
        ]
        for (name, codes) in expected {
          try await eventually("\(name) parked") { try await scenario.status(name).phase == .parked }
          let error = try await scenario.status(name).lastError ?? ""
          #expect(codes.contains { error.contains("[\($0)]") }, "\(name): \(error)")
          #expect(error.contains("migration lab, database \(name): "), "\(error)")
        }
        try await scenario.script(.sourceApp, "INSERT INTO app_ledger VALUES ('goes on')", in: "healthy")
        try await scenario.drained(["healthy", "postgres"])
        #expect(try await scenario.status("healthy").phase == .streaming)
        try await scenario.expectIdentical(["healthy"])

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
  }
}
