package import PostgresClient

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
