import BlockingIO
import HostAdmin

extension MigrationContext {
  /// Does what must not stay half done: when a connection breaks under it, or a server is away for a moment, again, from
  /// its beginning, for up to `limit` after it broke first. So it has to be something that can be done twice.
  package nonisolated(nonsending) func holdingOn<Value>(
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

extension String {
  var oneLine: String { replacing("\n", with: "; ") }
}
