import HostAdmin
package import Playbook

/// Does something for every database, some at a time.
///
/// - Parameter limit: how many at a time.
/// - Returns: what came of it and how long each took, for the recap, in the order of the names.
package func timedConcurrently<Value: Sendable>(
  _ names: [String], limit: Int, _ body: @escaping @Sendable (String) async throws -> Value
) async throws -> [(value: Value, record: DatabaseRecord)] {
  try await mapConcurrently(names, limit: limit) { name in
    let began = ContinuousClock.now
    let value = try await body(name)
    return (value, DatabaseRecord(name, duration: began.duration(to: .now)))
  }
}
