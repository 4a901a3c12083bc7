package import BlockingIO
package import PostgresClient
import ReplicationModel

/// Connects for a body, and closes the session whatever the body does.
package func withSession<Value>(
  _ parameters: ConnectionParameters, _ body: (PostgresSession) async throws -> Value
) async throws -> Value {
  let session = try await PostgresSession.connect(parameters)
  return try await doing {
    try await body(session)
  } finally: {
    await session.close()
  }
}

/// Does what PostgreSQL refuses for as long as a session that has just been left holds a slot or an origin. Blocks.
package func whenFree<Value>(
  until deadline: Deadline = .after(.seconds(20)), _ body: () throws -> Value
) throws -> Value {
  while true {
    do {
      return try body()
    } catch let error as PostgresError where error.sqlState == .objectInUse && !deadline.hasPassed {
      _ = poll([], until: min(deadline, .after(.milliseconds(5))))
    }
  }
}
