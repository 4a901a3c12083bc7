import HostAdmin
package import Inventory
import PostgresClient
import ReplicationModel

package let dropSlotSQL = "SELECT pg_catalog.pg_drop_replication_slot($1)"

/// Drops slots that exist, waiting for the walsender of one that has just been left.
///
/// - Parameter cuttingOff: ends the walsender of one that somebody still reads, instead of waiting for its end.
package func dropSlots(
  _ context: MigrationContext, _ side: Side, names: [String], cuttingOff: Bool = false
) async throws {
  let session = try await context.session(side)
  for name in names {
    try await waitUntil(
      within: .seconds(30),
      orThrow: {
        ConvoyError(
          "slot.in-use", "slot \(name) is still in use", at: .host(context.migration.host(side).name),
          hint: "is a pg_basebackup, a standby or a sync worker of an earlier run still connected?")
      }
    ) {
      let row = try await session.query(
        "SELECT active, active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", [name]
      ).rows.first
      guard let row else { return true }
      if row.bool(0) {
        if cuttingOff { try await session.query("SELECT pg_catalog.pg_terminate_backend($1)", [row.string(1)]) }
        return false
      }
      do {
        try await session.query(dropSlotSQL, [name])
        return true
      } catch let error as PostgresError where error.sqlState == .undefinedObject || error.sqlState == .objectInUse {
        // A creation that was given up takes its slot away itself, between the two statements.
        return error.sqlState == .undefinedObject
      }
    }
  }
}
