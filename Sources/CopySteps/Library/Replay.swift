import HostAdmin
import MigrationCore
import PostgresClient
import Presentation
import ReplicationModel

extension MigrationContext {
  /// How far a standby is, told to whoever watches; another text whenever it has got on, be it with a record that takes
  /// long.
  nonisolated func replay(_ target: ServerControl, _ standby: PostgresSession, _ goal: LSN) async throws -> String {
    let row = try await standby.query(
      "SELECT pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn()"
    ).rows[0]
    if let position = LSN(row.string(0)), position < goal {
      let rest = HumanFormat.bytes(goal.bytes(since: position), .sentence)
      progress("the standby has replayed up to \(position), \(rest) to go")
    }
    return "\(row.string(0)) \(row.string(1)) \(try await target.signOfLife())"
  }
}
