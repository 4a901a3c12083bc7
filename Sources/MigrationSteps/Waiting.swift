import BlockingIO
import PostgresClient
import ReplicationModel

/// Looks at a condition again and again until it holds.
///
/// For conditions that the servers do not announce (a standby's replay, a slot becoming inactive). Between two looks
/// it waits a little longer each time, up to `interval`.
func waitUntil(
  within limit: Duration, interval: Duration = .milliseconds(250), orThrow error: () -> ConvoyError,
  _ condition: () async throws -> Bool
) async throws {
  let deadline = Deadline.after(limit)
  var pause = Duration.milliseconds(5)
  while true {
    if try await condition() { return }
    if deadline.hasPassed { throw error() }
    try await Task.sleep(for: min(pause, interval))
    pause = min(pause * 2, interval)
  }
}

extension MigrationContext {
  /// Does what must not stay half done: when a connection breaks under it, or a server is away for a moment, again, from
  /// its beginning, for up to `limit` after it broke first. So it has to be something that can be done twice.
  nonisolated(nonsending) func holdingOn<Value>(
    _ what: String, within limit: Duration = .seconds(60),
    _ body: nonisolated(nonsending) () async throws -> Value
  ) async throws -> Value {
    var end: Deadline?
    while true {
      do {
        return try await body()
      } catch  where saysThatAConnectionBroke(error) {
        let deadline = end ?? .after(limit)
        if deadline.hasPassed { throw error }
        if end == nil { progress("\(what): trying again for \(limit.components.seconds) s, since \(error)".oneLine) }
        end = deadline
        try await Task.sleep(for: .milliseconds(250))
      }
    }
  }
}

/// Whether something was out of reach, and may be there again in a moment.
func saysThatAConnectionBroke(_ error: any Error) -> Bool {
  if let error = error as? PostgresError { return error.reason != .deadline && error.isTransient }
  guard let code = (error as? ConvoyError)?.code else { return false }
  return [
    "ssh.connection-lost", "ssh.closed", "ssh.unreachable", "ssh.timeout", "ssh.tunnel-failed", "postgres.unreachable",
    "postgres.connection-lost",
  ].contains(code)
}

extension String {
  fileprivate var oneLine: String { replacing("\n", with: "; ") }
}

extension Duration {
  /// Whole milliseconds.
  var milliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds) / 1_000_000_000_000_000)
  }
}
