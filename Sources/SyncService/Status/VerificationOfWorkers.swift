package import MigrationCore
package import ReplicationModel
package import Verification

extension OnlineVerification {
  /// As `run` with the sync process of this state directory and its workers.
  package static func run(_ context: MigrationContext, database: String? = nil) async throws -> MigrationReport {
    try await context.exchanging {
      try await run(context, database: database) {
        try await isSyncRunning(context)
      } statuses: {
        try await LiveStatus.read(context)
      }
    }
  }
}
