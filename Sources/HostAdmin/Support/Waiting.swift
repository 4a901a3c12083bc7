import BlockingIO
import PostgresClient
package import ReplicationModel

/// Looks at a condition again and again until it holds.
///
/// For conditions that the servers do not announce (a standby's replay, a slot becoming inactive). Between two looks
/// it waits a little longer each time, up to `interval`.
package nonisolated(nonsending) func waitUntil(
  within limit: Duration, interval: Duration = .milliseconds(250), orThrow error: () -> ConvoyError,
  _ condition: nonisolated(nonsending) () async throws -> Bool
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

/// Whether something was out of reach, and may be there again in a moment.
package func saysThatAConnectionBroke(_ error: any Error) -> Bool {
  if let error = error as? PostgresError { return error.reason != .deadline && error.isTransient }
  guard let code = (error as? ConvoyError)?.code else { return false }
  return [
    "ssh.connection-lost", "ssh.closed", "ssh.unreachable", "ssh.timeout", "ssh.tunnel-failed", "postgres.unreachable",
    "postgres.connection-lost", "truth.out-of-reach",
  ].contains(code)
}

extension Duration {
  /// Whole milliseconds.
  package var milliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds) / 1_000_000_000_000_000)
  }
}
