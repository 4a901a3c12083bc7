package import MigrationCore

/// What the migration has changed on the source so that it could begin, and what takes it back.
package enum WhatWasPrepared {
  /// What has not been taken back yet, one phrase each.
  package static func left(_ context: MigrationContext) async throws -> [String] {
    try await SourcePreparation.left(context) + ReplicaIdentities.left(context)
  }

  package static func takingBack(_ context: MigrationContext) async throws -> [Deed] {
    try await SourcePreparation.takingBack(context) + ReplicaIdentities.takingBack(context)
  }
}
