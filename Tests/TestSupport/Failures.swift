/// What a fixture could not do.
package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Runs a body and then what ends its fixture, whether the body throws or not. The body's error goes before that of
/// the end. Nested, fixtures end last in, first out.
package func doing<Value>(
  _ body: () async throws -> Value, finally end: () async throws -> Void
) async throws -> Value {
  let value: Value
  do { value = try await body() } catch {
    try? await end()
    throw error
  }
  try await end()
  return value
}
