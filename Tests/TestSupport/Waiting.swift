import BlockingIO

/// Waits for what nothing announces, without holding a thread.
///
/// - Parameter what: what was waited for, in the error.
/// - Throws: `TestFailure` when the condition does not hold in time.
package func eventually(
  _ what: String, within limit: Duration = .seconds(40), every pause: Duration = .milliseconds(50),
  _ condition: () async throws -> Bool
) async throws {
  let deadline = Deadline.after(limit)
  while try await !condition() {
    if deadline.hasPassed { throw TestFailure("waited \(limit) for: \(what)") }
    try await Task.sleep(for: pause)
  }
}
