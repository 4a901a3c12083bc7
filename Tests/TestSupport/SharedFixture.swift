package import Testing

/// One fixture for all tests of a suite: made before the first of them, ended after the last.
///
/// The suite's tests find it in a task-local value, such as `Cluster.current`.
package struct SharedFixture<Fixture: Sendable>: SuiteTrait, TestScoping {
  private let current: TaskLocal<Fixture?>
  private let making: @Sendable (_ body: @Sendable (Fixture) async throws -> Void) async throws -> Void

  /// - Parameters:
  ///   - current: where the tests find it.
  ///   - making: makes the fixture, gives it to the body, and ends it whatever the body does.
  package init(
    _ current: TaskLocal<Fixture?>,
    making: @escaping @Sendable (_ body: @Sendable (Fixture) async throws -> Void) async throws -> Void
  ) {
    self.current = current
    self.making = making
  }

  /// Once around the suite, not around each of its tests.
  package var isRecursive: Bool { false }

  package func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await making { fixture in
      try await current.withValue(fixture) { try await function() }
    }
  }
}
