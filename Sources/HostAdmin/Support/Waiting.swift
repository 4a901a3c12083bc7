import BlockingIO
import PostgresClient
package import ReplicationModel

/// Looks at a condition again and again until it holds.
///
/// For conditions that the servers do not announce (a standby's replay, a slot becoming inactive). Between two looks
/// it waits a little longer each time, up to `interval`.
///
/// - Parameters:
///   - limit: how long altogether; with `gettingOn`, how long nothing may have got on.
///   - gettingOn: another text whenever something has. Asked every few seconds.
package nonisolated(nonsending) func waitUntil(
  within limit: Duration, interval: Duration = .milliseconds(250),
  gettingOn: (nonisolated(nonsending) () async throws -> String)? = nil, orThrow error: () -> ConvoyError,
  _ condition: nonisolated(nonsending) () async throws -> Bool
) async throws {
  var deadline = Deadline.after(limit)
  var pause = Duration.milliseconds(5)
  var nextLook = Deadline.after(min(betweenLooks, limit / 4))
  var sign: String?
  while true {
    if try await condition() { return }
    if let gettingOn, nextLook.hasPassed {
      let seen = try await gettingOn()
      if seen != sign { deadline = .after(limit) }
      sign = seen
      nextLook = .after(min(betweenLooks, limit / 4))
    }
    if deadline.hasPassed { throw error() }
    try await Task.sleep(for: min(pause, interval))
    pause = min(pause * 2, interval)
  }
}

private let betweenLooks = Duration.seconds(5)

/// Whether something was out of reach, and may be there again in a moment.
package func saysThatAConnectionBroke(_ error: any Error) -> Bool {
  if let error = error as? PostgresError { return error.reason != .deadline && error.isTransient }
  guard let code = (error as? ConvoyError)?.code else { return false }
  return [
    "ssh.connection-lost", "ssh.closed", "ssh.unreachable", "ssh.timeout", "ssh.tunnel-failed", "postgres.unreachable",
    "postgres.no-connection-left", "postgres.connection-lost", "truth.out-of-reach",
  ].contains(code)
}

extension Duration {
  /// Whole milliseconds.
  package var milliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds) / 1_000_000_000_000_000)
  }
}
