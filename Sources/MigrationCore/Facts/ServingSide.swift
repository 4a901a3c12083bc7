package import Inventory
import Journal
import ReplicationModel

/// A side by name, or the one that serves applications as far as the journal knows.
package enum ServingSide: String, Sendable {
  case source, target, serving

  package func resolved(_ context: MigrationContext) async throws -> Side {
    switch self {
    case .source: .source
    case .target: .target
    case .serving: try await context.record()?.direction.from ?? .source
    }
  }
}
